//! How requests were really divided between two versions. Pure.
//!
//! Clients that are kept on their version, or chosen for one, divide them otherwise than the
//! weights do.

use tokio::time::Instant;

use super::counts::Target;
use super::window::History;

/// Requests to two versions over the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Those to the canary.
    pub canary: u64,
    /// Those to both.
    pub total: u64,
}

impl Share {
    /// The canary's share in percent, to a tenth; `None` without requests.
    pub fn percent(self) -> Option<f64> {
        let tenths = (u128::from(self.canary) * 1000 + u128::from(self.total) / 2)
            .checked_div(u128::from(self.total))?;
        // At most 1000, unless someone made a share that is none.
        u32::try_from(tenths)
            .ok()
            .map(|tenths| f64::from(tenths) / 10.0)
    }
}

/// What came since a time, as far as both were read about together; `None` when they were not.
pub(super) fn share(
    history: &History,
    canary: &Target,
    primary: &Target,
    since: Instant,
) -> Option<Share> {
    let last = history.last()?.at;
    let known = history.span(canary).min(history.span(primary));
    let window = last.saturating_duration_since(since).min(known);
    if window.is_zero() {
        return None;
    }
    let requests = |target| history.window(target, window).requests;
    let [canary, primary] = [canary, primary].map(requests);
    Some(Share {
        canary,
        total: canary.saturating_add(primary),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use fairlead_runtime::clock;
    use jiff::Timestamp;

    use super::*;
    use crate::analysis::mesh::counts::Counts;
    use crate::analysis::mesh::window::{Process, Reading, Snapshot};

    fn target(role: &str) -> Target {
        Target {
            namespace: "test".to_owned(),
            workload: Some(format!("podinfo-{role}")),
            service: format!("podinfo-{role}"),
        }
    }

    /// A proxy that is read every ten seconds: requests to the canary and to the primary so far.
    fn history(start: Instant, readings: &[[Option<u64>; 2]]) -> History {
        let mut history = History::default();
        for (number, counted) in (0..).zip(readings) {
            let passed = Duration::from_secs(10 * number);
            let targets = ["canary", "primary"].map(target).into_iter().zip(counted);
            let counts = targets.filter_map(|(target, requests)| {
                let counts = Counts::for_tests((*requests)?, 0, &[]);
                Some((target, counts))
            });
            let process = Process {
                pod: "caller".to_owned(),
                restarts: 0,
            };
            let reading = Reading {
                started: Timestamp::UNIX_EPOCH,
                counts: counts.collect(),
            };
            let snapshot = Snapshot {
                at: start + passed,
                time: Timestamp::UNIX_EPOCH + passed,
                readings: BTreeMap::from([(process, reading)]),
                silent: Vec::new(),
            };
            history.push(snapshot, Duration::from_secs(900));
        }
        history
    }

    fn check(readings: &[[Option<u64>; 2]], seconds: u64, expected: Option<[u64; 2]>) {
        let start = clock::instant();
        let history = history(start, readings);
        let since = start + Duration::from_secs(seconds);
        let found = share(&history, &target("canary"), &target("primary"), since);
        let found = found.map(|share| [share.canary, share.total]);
        assert_eq!(found, expected, "{readings:?}");
    }

    #[test]
    fn only_what_came_since_the_weight_is_counted() {
        let readings = [
            [Some(0), Some(100)],
            [Some(0), Some(200)],
            [Some(30), Some(270)],
            [Some(60), Some(340)],
        ];
        check(&readings, 10, Some([60, 200]));
        check(&readings, 20, Some([30, 100]));
        check(&readings, 25, Some([0, 0]));
        check(&readings, 30, None);
    }

    #[test]
    fn both_are_counted_over_the_same_time() {
        let readings = [
            [Some(0), None],
            [Some(50), Some(1000)],
            [Some(80), Some(1070)],
        ];
        check(&readings, 0, Some([30, 100]));
        check(&[[Some(0), None], [Some(50), None]], 0, None);
        check(&[], 0, None);
    }

    #[test]
    fn a_share_is_told_to_a_tenth_of_a_percent() {
        let percent = |canary, total| Share { canary, total }.percent();
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(1, 3), Some(33.3));
        assert_eq!(percent(2, 3), Some(66.7));
        assert_eq!(percent(u64::MAX, u64::MAX), Some(100.0));
    }
}
