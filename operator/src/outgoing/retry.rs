//! When to try a call again, by what the other side says. Pure.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The first pause between two attempts, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The pauses between the attempts of one call.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
    left: u32,
}

impl Backoff {
    /// At most so many more attempts, and no pause longer than `longest`.
    pub const fn new(retries: u32, longest: Duration) -> Self {
        Self {
            next: FIRST_PAUSE,
            longest,
            left: retries,
        }
    }

    /// The next pause, as long as the other side asks for within the limit; `None` when the
    /// attempts are used up.
    pub fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = asked.unwrap_or(self.next).min(self.longest);
        self.next = (self.next * 2).min(self.longest);
        Some(pause)
    }
}

/// Whether the other side may answer better later.
pub fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// The pause that an answer asks for (RFC 9110, section 10.2.3): seconds, or a date.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_end() {
        let mut backoff = Backoff::new(4, Duration::from_secs(3));
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.pause(None))
            .map(|pause| pause.as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 3, 3]);
    }

    #[test]
    fn the_other_side_sets_the_pause_within_the_limit() {
        let mut backoff = Backoff::new(2, Duration::from_secs(60));
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(backoff.pause(asked(7)), asked(7));
        assert_eq!(backoff.pause(asked(7200)), asked(60));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-03-02T10:00:00Z".parse().unwrap();
        let check = |text: &str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            let pause = retry_after(&headers, now);
            assert_eq!(pause, expected.map(Duration::from_secs), "{text}");
        };
        check("30", Some(30));
        check("Mon, 02 Mar 2026 10:01:00 GMT", Some(60));
        check("Mon, 02 Mar 2026 09:00:00 GMT", Some(0));
        check("soon", None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
