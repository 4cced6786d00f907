//! What a user wants judged, and by what; validated. Pure data.

use std::fmt;

use super::{Bounds, Confidence, Criteria, Effect, Quantile};

/// Something both versions are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests that failed.
    Failures,
    /// Requests that took longer than a bound.
    Latency,
}

impl Metric {
    /// The name that manifests use: the one of the check that asks about the same.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "request-success-rate",
            Self::Latency => "request-duration",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How users come to one version or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cohorts {
    /// By chance: what differs between them is the version.
    Random,
    /// By a header or a cookie: the difference may be theirs, and each verdict says so.
    Chosen,
}

/// What latency is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyTerms {
    /// The quantile that it is about.
    pub quantile: Quantile,
    /// The smallest excess of slow requests worth a rollback.
    pub effect: Effect,
    /// The bounds of the histogram, in milliseconds.
    pub bounds: Bounds,
}

/// What a run is judged by. Blocks count failed requests as kind 0, and those that took longer
/// than bound `i` of the histogram as kind `i + 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The smallest excess of failed requests worth a rollback, when they are judged.
    pub failures: Option<Effect>,
    /// What latency is judged by, when it is.
    pub latency: Option<LatencyTerms>,
    /// The canary's requests below which nothing passes.
    pub minimum_samples: u64,
    /// How sure harm is, over all metrics, steps and looks of a run.
    pub confidence: Confidence,
    /// How users come to a version.
    pub cohorts: Cohorts,
}

impl Terms {
    /// The criteria of one metric, which shares the confidence with the others.
    pub(super) fn criteria(&self, effect: Effect) -> Criteria {
        let metrics = u32::from(self.failures.is_some()) + u32::from(self.latency.is_some());
        Criteria::new(effect, self.minimum_samples, self.confidence, metrics)
    }
}
