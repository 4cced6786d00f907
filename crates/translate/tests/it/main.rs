//! Goldens, properties and, where an Envoy is at hand, its verdict on translations.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod case;
mod envoy;
mod fields;
mod golden;
mod properties;
