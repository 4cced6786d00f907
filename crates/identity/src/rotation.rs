//! When certificates are renewed: early enough for many attempts, and not all at once.

use jiff::{SignedDuration, Timestamp};

/// The jitter moves a renewal by at most this share of the certificate's life, either way.
const JITTER_SHARE: f64 = 0.01;
/// A root is replaced when this share of its life is left.
const ROOT_SHARE: f64 = 0.2;

/// When a certificate is to be renewed: at half of its life, moved by `jitter` in `-1.0..=1.0`.
pub fn renew_at(not_before: Timestamp, not_after: Timestamp, jitter: f64) -> Timestamp {
    let share = 0.5 + JITTER_SHARE * jitter.clamp(-1.0, 1.0);
    at_share(not_before, not_after, share)
}

/// Whether a root is to be replaced at `now`.
pub fn is_root_due(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    now >= at_share(not_before, not_after, 1.0 - ROOT_SHARE)
}

fn at_share(from: Timestamp, to: Timestamp, share: f64) -> Timestamp {
    let life = to.duration_since(from).max(SignedDuration::ZERO);
    from.checked_add(life.mul_f64(share)).unwrap_or(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_around_half_of_its_life() {
        let (from, to) = (time("2026-03-01T00:00:00Z"), time("2026-03-02T00:00:00Z"));
        assert_eq!(renew_at(from, to, 0.0), time("2026-03-01T12:00:00Z"));
        assert_eq!(renew_at(from, to, 1.0), time("2026-03-01T12:14:24Z"));
        assert_eq!(renew_at(from, to, -9.0), time("2026-03-01T11:45:36Z"));
    }

    #[test]
    fn a_certificate_without_life_is_renewed_at_once() {
        let (from, to) = (time("2026-03-01T00:00:00Z"), time("2026-02-01T00:00:00Z"));
        assert_eq!(renew_at(from, to, 1.0), from);
    }

    #[test]
    fn a_root_is_replaced_in_the_last_fifth_of_its_life() {
        let (from, to) = (time("2026-01-01T00:00:00Z"), time("2026-01-11T00:00:00Z"));
        assert!(!is_root_due(from, to, time("2026-01-08T23:59:59Z")));
        assert!(is_root_due(from, to, time("2026-01-09T00:00:00Z")));
    }
}
