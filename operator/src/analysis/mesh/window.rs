//! Turns counters of many proxies, which come and go, into what happened in a window. Pure.
//!
//! Counters only ever tell how much since some beginning; a proxy that restarts begins again at
//! nothing, and one that goes takes its counters with it.
//! So the window is the sum of what each proxy counted between neighbouring readings.
//! It is never negative, and never more than what really happened.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::counts::{Counts, Target};

/// One life of a proxy: the pod, and how often its container was restarted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Process {
    /// The pod's uid.
    pub(super) pod: String,
    /// Restarts of the proxy's container.
    pub(super) restarts: i32,
}

/// What one proxy said.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// When its counters were at nothing.
    pub(super) started: Timestamp,
    /// What it has counted since, for each target that it was asked about.
    pub(super) counts: BTreeMap<Target, Counts>,
}

/// What all proxies said at about the same time.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// When the first of them was asked.
    pub(super) at: Instant,
    /// The same by the wall clock, which starts of containers are told by.
    pub(super) time: Timestamp,
    /// What they said.
    pub(super) readings: BTreeMap<Process, Reading>,
    /// Proxies that are there and did not answer.
    pub(super) silent: Vec<Process>,
}

/// Snapshots of the past are kept at this distance at least, however often proxies are read.
const SPACING: Duration = Duration::from_secs(2);

/// The snapshots of the last minutes, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Snapshot>);

impl History {
    /// Adds the newest snapshot and forgets those that are older than `longest`.
    ///
    /// A proxy that did not answer is taken to stand where it stood: what it counted meanwhile
    /// comes with its next answer.
    pub(super) fn push(&mut self, mut snapshot: Snapshot, longest: Duration) {
        if let Some(last) = self.0.back() {
            for process in &snapshot.silent {
                if let Some(reading) = last.readings.get(process) {
                    snapshot.readings.insert(process.clone(), reading.clone());
                }
            }
        }
        let now = snapshot.at;
        // Only the newest may be close to the one before it.
        let is_crowded =
            |[before, last]: [&Snapshot; 2]| last.at.saturating_duration_since(before.at) < SPACING;
        let last_two = self.0.len().checked_sub(2);
        if last_two.is_some_and(|first| is_crowded([&self.0[first], &self.0[first + 1]])) {
            self.0.pop_back();
        }
        self.0.push_back(snapshot);
        // The one before the window's start is needed too.
        while self
            .0
            .get(1)
            .is_some_and(|second| now.saturating_duration_since(second.at) >= longest)
        {
            self.0.pop_front();
        }
    }

    /// The newest snapshot.
    pub(super) fn last(&self) -> Option<&Snapshot> {
        self.0.back()
    }

    /// For how long `target` has been asked about.
    pub(super) fn span(&self, target: &Target) -> Duration {
        let first = self.0.iter().find(|snapshot| snapshot.knows(target));
        match (first, self.0.back()) {
            (Some(first), Some(last)) => last.at.saturating_duration_since(first.at),
            _ => Duration::ZERO,
        }
    }

    /// What happened to `target` in the last `window`, or in as much of it as is known.
    pub(super) fn window(&self, target: &Target, window: Duration) -> Counts {
        let mut total = Counts::default();
        let Some(last) = self.0.back() else {
            return total;
        };
        let neighbours = self.0.iter().zip(self.0.iter().skip(1));
        for (before, after) in neighbours {
            let is_inside = last.at.saturating_duration_since(before.at) <= window;
            if !is_inside || !before.knows(target) {
                continue;
            }
            for (process, reading) in &after.readings {
                if let Some(counts) = increase(process, reading, before, target) {
                    total.add(&counts);
                }
            }
        }
        total
    }
}

impl Snapshot {
    /// Whether the proxies were asked about `target`; one without any proxy knows nothing.
    pub(super) fn knows(&self, target: &Target) -> bool {
        self.readings
            .values()
            .any(|reading| reading.counts.contains_key(target))
    }
}

/// What one proxy counted since the snapshot `before`.
fn increase(
    process: &Process,
    reading: &Reading,
    before: &Snapshot,
    target: &Target,
) -> Option<Counts> {
    let now = reading.counts.get(target)?;
    match before.readings.get(process) {
        Some(known) => {
            let then = known.counts.get(target)?;
            // Less than before: it restarted unseen, and all of it is new.
            Some(now.since(then).unwrap_or_else(|| now.clone()))
        }
        // All that a new proxy has counted is new; of an old one it is not known how much.
        None => (reading.started >= before.time).then(|| now.clone()),
    }
}

#[cfg(test)]
mod tests;
