//! What a decision asks its caller to do, as data. Pure data.

use jiff::Timestamp;

use crate::event::Event;
use crate::observation::Revision;
use crate::probe::{Probe, ProbeKey};
use crate::state::State;
use crate::weight::Split;

/// One thing to do.
///
/// # Guarantees
/// Each is safe to run again after a crash: it names the state it leads to, or carries a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make or repair the objects that carry no traffic by themselves: the Services of the two
    /// roles and their traffic policies.
    Prepare,
    /// Make the primary workload with the configs it needs, running `revision`.
    CreatePrimary {
        /// What it is to run.
        revision: Revision,
        /// The replicas that it had before it was deleted, if it was; else as many as the target.
        replicas: Option<u32>,
    },
    /// Make or repair the routes and lead the apex Service to the primary, with this split.
    Route {
        /// The split that the routes hold afterwards.
        split: Split,
    },
    /// Change the split in the routes, only if they still hold `from`.
    SetSplit {
        /// What was observed.
        from: Split,
        /// What they hold afterwards.
        to: Split,
    },
    /// Set the replicas of the target workload.
    ScaleCanary {
        /// How many.
        replicas: u32,
    },
    /// Give the primary the template and the configs of `revision`, and of no other.
    PromotePrimary {
        /// What was analysed.
        revision: Revision,
        /// What the primary can be given back later, template and configs: of these, the one that
        /// it runs is kept first. Whatever else was kept is forgotten.
        keeping: Vec<Revision>,
    },
    /// Give the primary the template and the configs that were kept of `revision`.
    RestorePrimary {
        /// What it ran before.
        revision: Revision,
        /// As in a promotion.
        keeping: Vec<Revision>,
    },
    /// Write onto the primary, and not onto its pods, which revision it runs.
    MarkPrimary {
        /// What it is known to run.
        revision: Revision,
    },
    /// Ask a hook or metrics, and hand the answer to the next step.
    Ask {
        /// The idempotency key.
        key: ProbeKey,
        /// The question.
        probe: Probe,
    },
    /// Lead the apex Service and the routes to the target as before, and let the Canary go.
    GiveBack,
}

impl Effect {
    /// The key of the question, if it is one.
    pub const fn question(&self) -> Option<&ProbeKey> {
        match self {
            Self::Ask { key, .. } => Some(key),
            Self::Prepare
            | Self::CreatePrimary { .. }
            | Self::Route { .. }
            | Self::SetSplit { .. }
            | Self::ScaleCanary { .. }
            | Self::PromotePrimary { .. }
            | Self::RestorePrimary { .. }
            | Self::MarkPrimary { .. }
            | Self::GiveBack => None,
        }
    }

    /// How traffic is divided from then on, if that is what changes. Making routes, or bringing them
    /// up to date, moves nothing.
    pub const fn new_split(&self) -> Option<Split> {
        match self {
            Self::SetSplit { to, .. } => Some(*to),
            Self::Prepare
            | Self::CreatePrimary { .. }
            | Self::Route { .. }
            | Self::ScaleCanary { .. }
            | Self::PromotePrimary { .. }
            | Self::RestorePrimary { .. }
            | Self::MarkPrimary { .. }
            | Self::Ask { .. }
            | Self::GiveBack => None,
        }
    }
}

/// When to look again if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// At this time.
    At(Timestamp),
    /// Only when something changes.
    OnChange,
}

/// What a step decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// To be stored before the first effect.
    pub state: State,
    /// To be run in order, stopping at the first failure.
    pub effects: Vec<Effect>,
    /// To be told to people.
    pub events: Vec<Event>,
    /// The answers that were taken; one that comes during a pause is not, and is asked for again.
    pub heard: Vec<ProbeKey>,
    /// When to look again.
    pub requeue: Requeue,
    /// What is going on, in one sentence for the status.
    pub message: String,
    /// Whether the rollout is held by something it cannot change.
    pub held: bool,
}
