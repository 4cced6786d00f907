//! Probes: the questions a rollout asks of hooks and metrics, and their answers. Pure data.

use std::fmt;

use jiff::SignedDuration;

use crate::stage::Selection;

/// When a hook is called, and what its answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookKind {
    /// Before a run begins; a refusal holds it.
    ConfirmRollout,
    /// Once the canary is ready, before its first traffic; a refusal is a failed check.
    PreRollout,
    /// In each check, before the metrics; a refusal is a failed check.
    Rollout,
    /// Before each increase of the weight, and before promotion; a refusal holds.
    ConfirmTrafficIncrease,
    /// Before the primary gets the revision; a refusal holds.
    ConfirmPromotion,
    /// After the end of a run; a refusal is only reported.
    PostRollout,
    /// In each check; an *approval* rolls back.
    Rollback,
}

impl HookKind {
    /// The name that manifests use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfirmRollout => "confirm-rollout",
            Self::PreRollout => "pre-rollout",
            Self::Rollout => "rollout",
            Self::ConfirmTrafficIncrease => "confirm-traffic-increase",
            Self::ConfirmPromotion => "confirm-promotion",
            Self::PostRollout => "post-rollout",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Ask a hook.
    Hook {
        /// Its kind.
        kind: HookKind,
        /// Its name.
        name: String,
    },
    /// Ask metrics.
    Metrics {
        /// All or some.
        which: Selection,
        /// What they are asked about.
        of: Subject,
    },
}

/// What metrics are asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// The revision on its way.
    #[default]
    Canary,
    /// What was promoted.
    Primary,
}

impl Probe {
    /// The name under which the status remembers that it passed.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Hook { kind, name } => format!("{kind}/{name}"),
            Self::Metrics { .. } => "metrics".to_owned(),
        }
    }
}

/// Names one question for ever: the idempotency key of a hook, the same for every leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeKey {
    /// The run.
    pub run: u64,
    /// The step of the run.
    pub step: u32,
    /// The attempt within the step.
    pub attempt: u32,
    /// What is asked: `<kind>/<name>`, or `metrics`.
    pub probe: String,
}

impl fmt::Display for ProbeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.run, self.step, self.probe, self.attempt
        )
    }
}

/// What came back.
///
/// Only the first is a success: an error and missing data never count as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The limit is kept, or the hook approved.
    Passed,
    /// The limit is broken, or the hook refused.
    Failed(String),
    /// The question could not be asked or the answer not read.
    Error(String),
    /// The question was answered with nothing.
    NoData(String),
    /// The hook gives the rollout up.
    Abort(String),
    /// The hook wants to be asked again later.
    Later {
        /// Why.
        why: String,
        /// How long it wants to be left alone, when it says so.
        pause: Option<SignedDuration>,
    },
}

impl Verdict {
    /// Why it is not a success, in words for people; `None` for a success.
    pub fn objection(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(why)
            | Self::Error(why)
            | Self::NoData(why)
            | Self::Abort(why)
            | Self::Later { why, .. } => Some(why),
        }
    }

    /// The word for it, as `.status` has it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed(_) => "Failed",
            Self::Error(_) => "Error",
            Self::NoData(_) => "NoData",
            Self::Abort(_) => "Abort",
            Self::Later { .. } => "Later",
        }
    }
}
