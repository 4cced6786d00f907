//! Counts two workloads side by side for the judgement of a run: blocks that wait to be taken.
//!
//! Pure but for the call that wakes whoever takes them. Nothing here outlives the process: a
//! restart loses the open block and what was not taken, and never counts anything twice.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fairlead_rollout::Counted;
use fairlead_rollout::judgement::{Arm, Block, Pairing, Reading, Record, Terms};
use tokio::time::Instant;

use super::counts::Target;
use super::window::Snapshot;

/// How often blocks are handed over when they show nothing: each time costs a look at the Canary
/// and a write of its status.
const HAND_OVER: Duration = Duration::from_secs(2);
/// Blocks that wait at most; whoever is so late has other trouble.
const MOST_BLOCKS: usize = 256;

/// Two workloads to be compared while a split is in effect.
#[derive(Clone)]
pub struct Comparison {
    /// The run that it is for.
    pub run: u64,
    /// The canary's weight: blocks of two weights are never one.
    pub weight: u32,
    /// The new version.
    pub canary: Target,
    /// The promoted version.
    pub primary: Target,
    /// The label that the pods of both have, with its values.
    pub pods: Pods,
    /// How long a block is.
    pub block_length: Duration,
    /// How long after a pod became ready nothing is counted.
    pub warmup: Duration,
    /// What harm is.
    pub terms: Terms,
    /// What was learned and stored already.
    pub record: Record,
    /// Called when there are blocks to be taken: at once where they show harm.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// What the pods of both workloads are selected by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    /// The label.
    pub key: String,
    /// Its value at the canary's and at the primary's.
    pub values: [String; 2],
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparison")
            .field("run", &self.run)
            .field("weight", &self.weight)
            .field("canary", &self.canary)
            .finish_non_exhaustive()
    }
}

/// Whether the pods of a comparison have been up for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warmth {
    /// All of them.
    Warm,
    /// At least one is new: what it counts is not comparable, and it cannot be told apart.
    WarmingUp,
}

/// A comparison in progress.
#[derive(Debug)]
struct Entry {
    comparison: Comparison,
    pairing: Pairing,
    blocks: VecDeque<Block>,
    handed_over: Option<Instant>,
    trouble: Option<String>,
}

/// All comparisons in progress, by the uid of their Canary.
#[derive(Debug, Default)]
pub(super) struct Comparisons(HashMap<String, Entry>);

impl Comparisons {
    /// Begins a comparison, or goes on with it; says whether it is new.
    ///
    /// What the record holds already is no longer kept here.
    pub(super) fn keep(&mut self, canary: &str, comparison: Comparison) -> bool {
        let known = self.0.get_mut(canary).filter(|entry| {
            let known = &entry.comparison;
            known.run == comparison.run && known.block_length == comparison.block_length
        });
        let Some(entry) = known else {
            let length = i64::try_from(comparison.block_length.as_millis()).unwrap_or(i64::MAX);
            let entry = Entry {
                comparison,
                pairing: Pairing::new(length),
                blocks: VecDeque::new(),
                handed_over: None,
                trouble: None,
            };
            self.0.insert(canary.to_owned(), entry);
            return true;
        };
        let last = comparison.record.last_block();
        entry
            .blocks
            .retain(|block| last.is_none_or(|last| block.id > last));
        entry.comparison = comparison;
        false
    }

    /// Ends a comparison; what was not taken is lost.
    pub(super) fn end(&mut self, canary: &str) {
        self.0.remove(canary);
    }

    /// What is there to be taken.
    pub(super) fn counted(&self, canary: &str) -> Option<Counted> {
        self.0.get(canary).map(|entry| Counted {
            run: entry.comparison.run,
            blocks: entry.blocks.iter().cloned().collect(),
            trouble: entry.trouble.clone(),
        })
    }

    /// What is compared, with the Canary.
    pub(super) fn all(&self) -> Vec<(String, Comparison)> {
        let all = self.0.iter();
        all.map(|(canary, entry)| (canary.clone(), entry.comparison.clone()))
            .collect()
    }

    /// The shortest block, which says how often proxies are read.
    pub(super) fn shortest(&self) -> Option<Duration> {
        let lengths = self.0.values().map(|entry| entry.comparison.block_length);
        lengths.min()
    }

    /// Takes in what the proxies said.
    pub(super) fn read(&mut self, canary: &str, snapshot: &Snapshot, warmth: Warmth) {
        if let Some(entry) = self.0.get_mut(canary) {
            entry.trouble = None;
            entry.read(snapshot, warmth);
        }
    }

    /// Notes why they said nothing.
    pub(super) fn miss(&mut self, canary: &str, trouble: &str) {
        if let Some(entry) = self.0.get_mut(canary) {
            entry.trouble = Some(trouble.to_owned());
        }
    }
}

impl Entry {
    fn read(&mut self, snapshot: &Snapshot, warmth: Warmth) {
        if warmth == Warmth::WarmingUp {
            self.pairing.drop_open_block();
            self.trouble = Some("pods are in their warm-up".to_owned());
            return;
        }
        let readings = readings(&self.comparison, snapshot);
        let Some(block) = self.pairing.read(self.comparison.weight, &readings) else {
            return;
        };
        self.blocks.push_back(block);
        if self.blocks.len() > MOST_BLOCKS {
            self.blocks.pop_front();
        }
        let is_due = self
            .handed_over
            .is_none_or(|last| snapshot.at.saturating_duration_since(last) >= HAND_OVER);
        if is_due || self.shows_harm() {
            self.handed_over = Some(snapshot.at);
            (self.comparison.wake)();
        }
    }

    /// Whether what is stored and what waits show harm together.
    fn shows_harm(&self) -> bool {
        let Comparison { terms, record, .. } = &self.comparison;
        let mut record = record.clone();
        for block in &self.blocks {
            record.add(block, terms);
        }
        record.harm(terms).is_some()
    }
}

/// The counters of both workloads at each proxy.
fn readings(comparison: &Comparison, snapshot: &Snapshot) -> Vec<Reading> {
    let arms = [
        (Arm::Canary, &comparison.canary),
        (Arm::Primary, &comparison.primary),
    ];
    let mut readings = Vec::new();
    for (process, said) in &snapshot.readings {
        for (arm, target) in arms {
            if let Some(counts) = said.counts.get(target) {
                readings.push(Reading {
                    arm,
                    series: format!("{}/{}", process.pod, process.restarts),
                    at: snapshot.time.as_millisecond(),
                    counters: counts.sample(),
                });
            }
        }
    }
    readings
}

#[cfg(test)]
mod tests;
