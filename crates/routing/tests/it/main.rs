//! Properties of matching against a naive oracle.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod properties;
