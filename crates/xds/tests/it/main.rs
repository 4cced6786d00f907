//! Properties of sessions and of the protobuf form.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod protobuf;
mod sessions;
