//! What a user asked for, validated: the plan, its pace and its hooks. Pure data.

use jiff::SignedDuration;

use crate::judgement::Terms;
use crate::probe::{HookKind, Probe};
use crate::stage::Stage;
use crate::weight::{Ladder, Weight};

/// A validated strategy: nobody below reads the raw spec.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub struct Strategy {
    /// How traffic moves to the canary.
    pub plan: Plan,
    /// The pause between two checks.
    pub interval: SignedDuration,
    /// The number of failed checks in a run that rolls it back; at least 1.
    pub threshold: u32,
    /// How much traffic goes back to the primary at a time in promotion; `None` is all at once.
    pub promotion_step: Option<Weight>,
    /// How long a workload may take to become ready.
    pub progress_deadline: SignedDuration,
    /// Promote after readiness, without traffic to the canary.
    pub skip_analysis: bool,
    /// Whether traffic can be divided; otherwise the canary is judged without any, and the primary
    /// has all of it until it runs the revision itself.
    pub divides_traffic: bool,
    /// Whether the canary has a size to set: it rests at none, and is scaled up for a run.
    pub sized: bool,
    /// How large it is then, where no explicit step says so.
    pub capacity: Capacity,
    /// Whether clients that got the canary are led to it again.
    pub sticky: bool,
    /// Whether nothing is to be done at all.
    pub suspended: bool,
    /// Whether a check has metrics to look at.
    pub has_metrics: bool,
    /// What the canary is compared with the primary by, beside what checks ask.
    pub judgement: Option<Terms>,
    /// How long what was promoted is checked for, as the primary.
    pub bake: Option<SignedDuration>,
    /// The hooks, in the order of the spec.
    pub hooks: Vec<Hook>,
    /// How long to wait for the proxies' word that a weight is in effect.
    pub ack_timeout: SignedDuration,
}

impl Strategy {
    /// The questions to the hooks of one kind, in order.
    pub(crate) fn probes(&self, kind: HookKind) -> Vec<Probe> {
        let hooks = self.hooks.iter().filter(|hook| hook.kind == kind);
        hooks
            .map(|hook| Probe::Hook {
                kind,
                name: hook.name.clone(),
            })
            .collect()
    }
}

/// How many replicas a canary has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capacity {
    /// As many as the primary, or what its autoscaler asks for.
    #[default]
    Full,
    /// Its weight's share of the primary's, rounded up: there before the weight rises.
    Proportional,
}

/// How traffic moves to the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Step by step, by weight.
    Weighted {
        /// The weights.
        ladder: Ladder,
        /// Whether requests are mirrored for one interval before the first weight.
        mirror: bool,
    },
    /// By explicit steps, each with its own rules.
    Staged {
        /// The steps; no weight is below the one before.
        stages: Vec<Stage>,
        /// Whether requests are mirrored for one interval before the first step.
        mirror: bool,
    },
    /// For a number of checks: matched requests to the canary (A/B), or none until the end
    /// (blue/green).
    Iterations {
        /// The number of checks.
        count: u32,
        /// Whether a `match` selects requests for the canary.
        matched: bool,
        /// Whether requests are mirrored during the checks; blue/green only.
        mirror: bool,
    },
}

/// A hook: its address and payload are the caller's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Unique among the hooks of its kind.
    pub name: String,
    /// When it is called, and what its answer means.
    pub kind: HookKind,
}
