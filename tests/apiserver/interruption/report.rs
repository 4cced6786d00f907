//! What became of all cases: counts for people, and the same as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fairlead_runtime::clock;
use fairlead_tests::console::say;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::case::{Interruption, Rollout};
use super::play::Told;

/// How often the count is told while cases are played.
const TOLD_EVERY: usize = 100;

/// The counts of a matrix.
pub(super) struct Report {
    begun: Instant,
    /// Writes of each rollout without interruption.
    writes: BTreeMap<Rollout, usize>,
    /// Cases by what they have in common.
    cases: BTreeMap<(&'static str, String), usize>,
    played: usize,
    /// The rollout had fewer writes than in rehearsal.
    unreached: usize,
    versions: usize,
    failures: Vec<String>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            begun: clock::instant(),
            writes: BTreeMap::new(),
            cases: BTreeMap::new(),
            played: 0,
            unreached: 0,
            versions: 0,
            failures: Vec::new(),
        }
    }

    pub(super) fn rehearsed(&mut self, rollout: Rollout, writes: usize) {
        self.writes.insert(rollout, writes);
    }

    pub(super) fn told(
        &mut self,
        rollout: Rollout,
        interruption: Interruption,
        told: Result<Told>,
    ) {
        self.played += 1;
        match told {
            Ok(told) => {
                self.versions += told.versions;
                match told.interrupted {
                    Some(phase) => {
                        self.count("strategy", format!("{:?}", rollout.strategy));
                        self.count("target", format!("{:?}", rollout.target));
                        self.count("outcome", format!("{:?}", rollout.outcome));
                        self.count("phase", phase.to_string());
                        self.count("fault", format!("{:?}", interruption.kind));
                        let edit = interruption.edit.map(|edit| format!("{edit:?} in {phase}"));
                        self.count("edit", edit.unwrap_or_else(|| "none".to_owned()));
                    }
                    None => self.unreached += 1,
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                say(format!("FAILED {error}"));
                self.failures.push(error);
            }
        }
        if self.played.is_multiple_of(TOLD_EVERY) {
            let (played, failed) = (self.played, self.failures.len());
            let elapsed = self.begun.elapsed();
            say(format!(
                "{played} cases after {elapsed:.0?}, {failed} failed"
            ));
        }
    }

    fn count(&mut self, by: &'static str, name: String) {
        *self.cases.entry((by, name)).or_default() += 1;
    }

    fn interrupted(&self) -> usize {
        self.played - self.unreached - self.failures.len()
    }

    /// Prints the counts; an error when a case failed.
    pub(super) fn conclude(&self) -> Result<()> {
        for (rollout, writes) in &self.writes {
            say(format!("{rollout}: {writes} writes"));
        }
        for ((by, name), cases) in &self.cases {
            let name = if name.is_empty() { "(none yet)" } else { name };
            say(format!("{by} {name}: {cases} interruptions"));
        }
        say(format!(
            "{} rollouts, {} interruptions survived with the same end, {} not reached, \
             {} versions judged, {} failed, in {:.0?}",
            self.writes.len(),
            self.interrupted(),
            self.unreached,
            self.versions,
            self.failures.len(),
            self.begun.elapsed()
        ));
        ensure!(self.failures.is_empty(), "{} failed", self.failures.len());
        ensure!(self.interrupted() > 0, "nothing was interrupted");
        Ok(())
    }

    /// Writes the counts to `target/suite/NAME.json`.
    pub(super) fn write(&self, name: &str) -> Result<()> {
        let mut cases = BTreeMap::<&str, BTreeMap<&str, usize>>::new();
        for ((by, name), count) in &self.cases {
            cases.entry(by).or_default().insert(name, *count);
        }
        let writes = self.writes.iter();
        let writes: BTreeMap<String, usize> = writes
            .map(|(rollout, writes)| (rollout.to_string(), *writes))
            .collect();
        let json: Value = json!({
            "suite": name,
            "seconds": self.begun.elapsed().as_secs(),
            "rollouts": writes.len(),
            "interruptions": self.interrupted(),
            "not_reached": self.unreached,
            "versions_judged": self.versions,
            "failures": self.failures,
            "writes": writes,
            "interruptions_by": cases,
        });
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suite");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&json)?;
        std::fs::write(&file, text).with_context(|| format!("failed to write `{}`", file.display()))
    }
}
