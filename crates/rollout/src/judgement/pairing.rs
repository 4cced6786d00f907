//! From readings of counters to blocks in which both roles were counted over the same time.
//!
//! Pure: the time is that of the readings. What is lost with a restart of ours is the block that
//! was open.

use std::collections::BTreeMap;

use super::{Block, Sample};

/// A block waits for late readings until it is so many times as long as planned.
const PATIENCE: i64 = 3;

/// Which version a series of counters belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// The new version.
    Canary,
    /// The promoted version.
    Primary,
}

/// The counters of one pod, as scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The version of the pod.
    pub arm: Arm,
    /// What tells the pod from others.
    pub series: String,
    /// When the pod was scraped, in milliseconds.
    pub at: i64,
    /// Its counters, which only grow until they begin anew.
    pub counters: Sample,
}

/// A pod's counters since the open block began.
#[derive(Clone, Debug)]
struct Window {
    /// Where the counters stood when the block, or this window of it, began.
    start: Sample,
    latest: Sample,
    at: i64,
    /// A restart lost counts of this block, so the pod is left out of it.
    broken: bool,
}

/// Makes blocks of readings.
///
/// # Guarantees
/// No count is negative or counted twice. A block has both roles up to the same moment: a pod whose
/// reading is late delays the block, and one that stays late is left out of it.
#[derive(Clone, Debug)]
pub struct Pairing {
    length: i64,
    step: Option<u32>,
    opened: i64,
    windows: BTreeMap<(Arm, String), Window>,
}

impl Pairing {
    /// Blocks of `length` milliseconds, which should be at least four scrapes.
    pub const fn new(length: i64) -> Self {
        Self {
            length,
            step: None,
            opened: 0,
            windows: BTreeMap::new(),
        }
    }

    /// Takes the newest reading of each pod, and gives the block that they complete.
    ///
    /// A new step drops the open block: no block has two weights.
    pub fn read(&mut self, step: u32, readings: &[Reading]) -> Option<Block> {
        let now = readings.iter().map(|reading| reading.at).max()?;
        if self.step != Some(step) {
            self.step = Some(step);
            self.opened = now;
            self.windows.clear();
        }
        for reading in readings {
            self.update(reading);
        }
        let due = self.opened + self.length;
        let given_up = self.opened + PATIENCE * self.length;
        let is_closed = now >= given_up || now >= due && self.is_complete(due, readings);
        is_closed.then(|| self.close(step, now, due))
    }

    /// Forgets the open block: what was read in it cannot be compared.
    pub fn drop_open_block(&mut self) {
        self.step = None;
    }

    /// Whether no pod that is still read is behind.
    fn is_complete(&self, due: i64, readings: &[Reading]) -> bool {
        let is_read = |(arm, series): &(Arm, String)| {
            readings
                .iter()
                .any(|reading| reading.arm == *arm && reading.series == *series)
        };
        self.windows
            .iter()
            .all(|(key, window)| window.at >= due || !is_read(key))
    }

    fn update(&mut self, reading: &Reading) {
        let window = self
            .windows
            .entry((reading.arm, reading.series.clone()))
            .or_insert_with(|| Window {
                start: reading.counters.clone(),
                latest: reading.counters.clone(),
                at: reading.at,
                broken: false,
            });
        if reading.at <= window.at {
            return;
        }
        if !reading.counters.is_since(&window.latest) {
            window.broken = true;
        }
        window.latest = reading.counters.clone();
        window.at = reading.at;
    }

    /// Sums the windows that reach `due`, and begins the next block where they end.
    fn close(&mut self, step: u32, now: i64, due: i64) -> Block {
        let mut block = Block {
            id: u64::try_from(now).unwrap_or_default(),
            step,
            canary: Sample::default(),
            primary: Sample::default(),
        };
        // A pod that is behind begins a new window with its next reading.
        self.windows.retain(|_, window| window.at >= due);
        for ((arm, _), window) in &mut self.windows {
            let sum = match arm {
                Arm::Canary => &mut block.canary,
                Arm::Primary => &mut block.primary,
            };
            if !window.broken {
                sum.add(&window.latest.since(&window.start));
            }
            window.start = window.latest.clone();
            window.broken = false;
        }
        self.opened = now;
        block
    }
}
