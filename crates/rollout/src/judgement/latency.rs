//! Latency as a rate: requests that took longer than one bound of the histogram.
//!
//! Pure. A histogram knows nothing between its bounds, so neither does a verdict: what the buckets
//! cannot tell apart is inconclusive.

use super::{Block, Criteria, CriteriaError, Effect, Evidence, Progress, Sample, Unclear, Verdict};

/// Requests beyond the quantile that are needed to speak about it: 1,000 requests for a p99.
const BEYOND: f64 = 10.0;

/// The largest ratio of two neighbouring bounds between which a quantile still counts as known.
const WIDEST: f64 = 2.5;

/// The upper bounds of a histogram's buckets: finite, ascending, without the infinite last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds(Vec<f64>);

impl Bounds {
    /// The bounds in the order of the counts of each [`Sample`]; `None` if they are no ascending
    /// positive numbers.
    pub fn new(bounds: Vec<f64>) -> Option<Self> {
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let usable = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
        (!bounds.is_empty() && ascending && usable).then_some(Self(bounds))
    }

    /// The bound below and the bound above the quantile of a sample.
    fn around(&self, quantile: Quantile, sample: &Sample) -> Bracket {
        let allowed = sample.requests * (1.0 - quantile.0);
        let kind = (0..self.0.len()).find(|kind| sample.bad(*kind) <= allowed);
        let below = kind.unwrap_or(self.0.len()).checked_sub(1);
        Bracket {
            kind,
            above: below.map_or(0.0, |below| self.0[below]),
            upto: kind.map_or(f64::INFINITY, |kind| self.0[kind]),
        }
    }
}

/// The quantile that a latency metric is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile(f64);

impl Quantile {
    /// A quantile of at least 0.5 and below 1.
    pub fn new(quantile: f64) -> Result<Self, CriteriaError> {
        if (0.5..1.0).contains(&quantile) {
            Ok(Self(quantile))
        } else {
            Err(CriteriaError::Quantile(quantile))
        }
    }

    /// The canary's requests below which nothing is said about this quantile.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive"
    )]
    pub fn minimum_samples(self) -> u64 {
        (BEYOND / (1.0 - self.0)).round() as u64
    }

    /// The default effect: three times as many slow requests, at most ten points more.
    pub fn effect(self) -> Result<Effect, CriteriaError> {
        Effect::new((2.0 * (1.0 - self.0)).min(0.1))
    }
}

/// Where the primary's quantile lies.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bracket {
    /// The index of the bound above it.
    kind: Option<usize>,
    above: f64,
    upto: f64,
}

impl Bracket {
    fn is_narrow(&self) -> bool {
        self.upto <= self.above * WIDEST
    }
}

/// What was learned about the latency in this run.
///
/// The bound is chosen once, from the primary's first requests, before anything is bet on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyEvidence {
    /// The index of the bound that requests are compared at.
    pub kind: Option<usize>,
    /// The primary's requests from which the bound is chosen.
    pub calibration: Sample,
    /// The last block of the calibration.
    pub calibrated: Option<u64>,
    /// What was learned about requests slower than the bound.
    pub evidence: Evidence,
}

impl LatencyEvidence {
    /// Adds a block whose bad requests of kind `i` took longer than bound `i`.
    pub fn add(&mut self, block: &Block, quantile: Quantile, bounds: &Bounds, criteria: &Criteria) {
        if let Some(kind) = self.kind {
            self.evidence.add(block, kind, criteria);
        } else if self.calibrated.is_none_or(|last| block.id > last) {
            self.calibrated = Some(block.id);
            self.calibrate(block, quantile, bounds);
        }
    }

    /// Chooses the bound as soon as a few of the primary's requests lie beyond the quantile.
    fn calibrate(&mut self, block: &Block, quantile: Quantile, bounds: &Bounds) {
        if !block.is_usable() {
            return;
        }
        self.calibration.add(&block.primary);
        #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
        let enough = quantile.minimum_samples() as f64 / 2.0;
        if self.calibration.requests >= enough {
            self.kind = bounds.around(quantile, &self.calibration).kind;
            self.evidence.last_block = Some(block.id);
        }
    }

    /// The bound that requests are compared at, once it is chosen.
    pub fn bound(&self, bounds: &Bounds) -> Option<f64> {
        bounds.0.get(self.kind?).copied()
    }

    /// What the evidence says so far.
    ///
    /// Harm is said with any buckets; no harm only where the buckets can tell.
    pub fn verdict(
        &self,
        quantile: Quantile,
        bounds: &Bounds,
        criteria: &Criteria,
        progress: Progress,
    ) -> Verdict {
        let criteria = criteria.with_at_least(quantile.minimum_samples());
        let verdict = self.evidence.verdict(&criteria, progress);
        let bracket = bounds.around(quantile, &self.calibration);
        let unresolved = match &verdict {
            Verdict::NoHarmShown { .. } => !bracket.is_narrow(),
            Verdict::Inconclusive(Unclear::NoData) => {
                self.calibration.requests > 0.0 && bracket.kind.is_none()
            }
            Verdict::Harm(_) | Verdict::Inconclusive(_) => false,
        };
        if unresolved {
            Verdict::Inconclusive(Unclear::Buckets {
                above: bracket.above,
                upto: bracket.upto,
            })
        } else {
            verdict
        }
    }
}
