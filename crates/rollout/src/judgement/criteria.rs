//! What counts as harm and how sure one wants to be.
//!
//! Parsed once, into values that cannot be wrong. Pure.

use thiserror::Error;

/// The part of the smallest effect that is tolerated as noise between two equal versions.
///
/// Two sets of pods are never quite equal: another node, another cache. A tenth leaves most
/// of the effect as the distance that the test has to see.
const TOLERATED: f64 = 0.1;

/// A setting that cannot be judged by.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum CriteriaError {
    /// The confidence is not a probability that leaves any doubt.
    #[error("confidence `{0}` must be at least 0.5 and below 1, as in 0.95")]
    Confidence(f64),
    /// The effect is not a difference of two shares.
    #[error("minimum effect `{0}` must be above 0 and below 1, as in 0.02 for two points")]
    Effect(f64),
    /// The quantile is not inside the distribution.
    #[error("quantile `{0}` must be at least 0.5 and below 1, as in 0.99")]
    Quantile(f64),
}

/// How sure "harm" is, for the whole run: over all metrics, all steps and all looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence(f64);

impl Confidence {
    /// The default: one false alarm in twenty runs at most.
    pub const DEFAULT: Self = Self(0.95);

    /// A confidence of at least 0.5 and below 1.
    pub fn new(confidence: f64) -> Result<Self, CriteriaError> {
        if (0.5..1.0).contains(&confidence) {
            Ok(Self(confidence))
        } else {
            Err(CriteriaError::Confidence(confidence))
        }
    }

    /// The confidence itself.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The probability of a false alarm that each of `metrics` comparisons may spend.
    fn alpha(self, metrics: u32) -> f64 {
        (1.0 - self.0) / f64::from(metrics.max(1))
    }
}

/// The smallest difference worth a rollback, as a share of requests: 0.02 is two points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect(f64);

impl Effect {
    /// The default: two points, as from 1 % to 3 % errors.
    pub const DEFAULT: Self = Self(0.02);

    /// A difference above 0 and below 1.
    pub fn new(share: f64) -> Result<Self, CriteriaError> {
        if share > 0.0 && share < 1.0 {
            Ok(Self(share))
        } else {
            Err(CriteriaError::Effect(share))
        }
    }

    /// The difference itself.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The difference that two equal versions may show.
    pub fn tolerance(self) -> f64 {
        self.0 * TOLERATED
    }
}

/// What one comparison is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criteria {
    /// The smallest difference worth a rollback.
    pub effect: Effect,
    /// The canary's requests below which there is no success.
    pub minimum_samples: u64,
    /// The probability of a false alarm that this comparison may spend.
    alpha: f64,
}

impl Criteria {
    /// The criteria of one of `metrics` comparisons that share the confidence of a run.
    pub fn new(effect: Effect, minimum_samples: u64, confidence: Confidence, metrics: u32) -> Self {
        Self {
            effect,
            minimum_samples,
            alpha: confidence.alpha(metrics),
        }
    }

    /// The same criteria with no fewer than `samples` as the minimum.
    pub(super) fn with_at_least(self, samples: u64) -> Self {
        Self {
            minimum_samples: self.minimum_samples.max(samples),
            ..self
        }
    }

    /// The wealth at which harm is shown.
    pub fn proof(&self) -> f64 {
        1.0 / self.alpha
    }
}
