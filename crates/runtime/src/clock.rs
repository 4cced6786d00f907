//! The only place that reads the clock; everything else takes the time as an argument.

use jiff::Timestamp;
use tokio::time::Instant;

/// The wall clock's time, for statuses, events and logs.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The monotonic time, for measuring how long something took.
///
/// Tests stop and advance it with `tokio::time::pause`.
pub fn instant() -> Instant {
    Instant::now()
}
