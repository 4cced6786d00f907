//! When a push begins: after a short quiet, and after a bounded wait however many changes follow.
//!
//! Pure: time is an argument. Changes of endpoints alone wait for next to nothing, since a pod that
//! ends must leave the balancers before it stops answering.

use std::time::Duration;

use tokio::time::Instant;

/// How much a change asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Only addresses of workloads.
    Endpoints,
    /// Anything that may change routes, clusters or listeners.
    Config,
}

/// Gathers changes until it is time to push them.
#[derive(Debug, Clone)]
pub struct Debounce {
    quiet: Duration,
    max: Duration,
    pending: Option<Pending>,
    /// No push begins before, so that pushes never take all of the processor.
    not_before: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Instant,
    last: Instant,
    change: Change,
}

/// Enough for the slices of one rollout step to arrive together.
const ENDPOINTS_QUIET: Duration = Duration::from_millis(3);
const ENDPOINTS_MAX: Duration = Duration::from_millis(15);

impl Debounce {
    /// With no change pending.
    pub fn new(quiet: Duration, max: Duration) -> Self {
        Self {
            quiet,
            max,
            pending: None,
            not_before: None,
        }
    }

    /// Notes a change.
    pub fn record(&mut self, change: Change, now: Instant) {
        let pending = self.pending.get_or_insert(Pending {
            first: now,
            last: now,
            change,
        });
        pending.last = now;
        pending.change = pending.change.max(change);
    }

    /// When to push, if anything is pending.
    pub fn deadline(&self) -> Option<Instant> {
        let Pending {
            first,
            last,
            change,
        } = self.pending?;
        let (quiet, max) = match change {
            Change::Endpoints => (ENDPOINTS_QUIET.min(self.quiet), ENDPOINTS_MAX.min(self.max)),
            Change::Config => (self.quiet, self.max),
        };
        let deadline = (last + quiet).min(first + max);
        Some(
            self.not_before
                .map_or(deadline, |earliest| deadline.max(earliest)),
        )
    }

    /// Notes that a push has taken some time: the next one waits at least as long.
    pub fn pushed(&mut self, now: Instant, taken: Duration) {
        self.not_before = Some(now + taken);
    }

    /// Forgets what was pending: it is being pushed.
    pub fn clear(&mut self) {
        self.pending = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn debounce() -> Debounce {
        Debounce::new(20 * MS, 200 * MS)
    }

    #[test]
    fn waits_for_quiet() {
        let (mut debounce, start) = (debounce(), Instant::now());
        assert_eq!(debounce.deadline(), None);
        debounce.record(Change::Config, start);
        debounce.record(Change::Config, start + 15 * MS);
        assert_eq!(debounce.deadline(), Some(start + 35 * MS));
    }

    #[test]
    fn pushes_at_the_latest_after_the_longest_wait() {
        let (mut debounce, start) = (debounce(), Instant::now());
        for step in 0..100 {
            debounce.record(Change::Config, start + step * 10 * MS);
        }
        assert_eq!(debounce.deadline(), Some(start + 200 * MS));
    }

    #[test]
    fn endpoints_wait_less_until_something_else_joins_them() {
        let (mut debounce, start) = (debounce(), Instant::now());
        debounce.record(Change::Endpoints, start);
        assert!(debounce.deadline().unwrap() < start + 20 * MS);
        debounce.record(Change::Config, start);
        assert_eq!(debounce.deadline(), Some(start + 20 * MS));
    }

    #[test]
    fn a_push_starts_over() {
        let (mut debounce, start) = (debounce(), Instant::now());
        debounce.record(Change::Config, start);
        debounce.clear();
        assert_eq!(debounce.deadline(), None);
    }

    #[test]
    fn pushes_that_take_long_come_less_often() {
        let (mut debounce, start) = (debounce(), Instant::now());
        debounce.pushed(start, 500 * MS);
        debounce.record(Change::Endpoints, start);
        assert_eq!(debounce.deadline(), Some(start + 500 * MS));
    }
}
