//! The local cluster itself: what it gives, and that it leaves nothing on the machine.

#![expect(
    clippy::unwrap_used,
    reason = "a test says by panicking what went wrong"
)]

mod apiserver;
mod leaves_nothing;
