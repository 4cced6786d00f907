//! What a decision may rely on: what is known, or what has been read just then.

use fairlead_rollout::{Decision, Effect, Probe, State};
use kube::ResourceExt as _;

use super::look::Look;
use super::sight::Known;

/// What a round relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grounds {
    /// What is known, as long as no watch has told of a change.
    Known,
    /// The same, with workloads and endpoints as they have just been read.
    Pods,
    /// What has just been read.
    Fresh,
}

impl Look<'_> {
    /// What a decision must rely on.
    ///
    /// One that changes nothing in the cluster does no harm should the world be another one by now,
    /// if what it asks and tells follows a write that the Canary's version guards; nor does it to
    /// read metrics once more. A change of weights is guarded by both objects' versions: only what
    /// pods can take must have been read just now.
    pub(super) fn grounds_for(&self, before: &State, decision: &Decision) -> Grounds {
        let uid = self.canary.uid().unwrap_or_default();
        let is_guarded = decision.state != *before;
        let of_effect = |effect: &Effect| match effect {
            Effect::Ask {
                probe: Probe::Metrics { .. },
                ..
            } => Grounds::Known,
            Effect::Ask { key, .. } if is_guarded || self.context.desk.has(&uid, key) => {
                Grounds::Known
            }
            Effect::SetSplit { .. } if is_guarded => Grounds::Pods,
            Effect::Ask { .. }
            | Effect::SetSplit { .. }
            | Effect::Prepare
            | Effect::CreatePrimary { .. }
            | Effect::Route { .. }
            | Effect::ScaleCanary { .. }
            | Effect::PromotePrimary { .. }
            | Effect::RestorePrimary { .. }
            | Effect::MarkPrimary { .. }
            | Effect::GiveBack => Grounds::Fresh,
        };
        let of_events = if is_guarded || decision.events.is_empty() {
            Grounds::Known
        } else {
            Grounds::Fresh
        };
        let of_effects = decision.effects.iter().map(of_effect).max();
        of_effects.unwrap_or(Grounds::Known).max(of_events)
    }

    /// What need not be read in this round.
    pub(super) fn known(&self, grounds: Grounds, state: &State) -> Known {
        let known = self.context.memory.recollect(&self.reference, &self.canary);
        if !self.may_be_known(state) {
            return Known::default();
        }
        match grounds {
            Grounds::Known => known,
            Grounds::Pods => known.without_pods(),
            Grounds::Fresh => Known::default(),
        }
    }

    /// Whether anything need not be read.
    pub(super) fn may_be_known(&self, state: &State) -> bool {
        // Cookies of another run make other routes of the same object.
        self.plan().route.affinity.is_none() && !state.is_foreign()
    }
}

/// Whether a decision leads to questions to metrics at most, and to nothing that people are told.
pub(super) fn only_asks(before: &State, decision: &Decision) -> bool {
    let asks_metrics = |effect: &Effect| {
        let question = |probe: &Probe| matches!(probe, Probe::Metrics { .. });
        matches!(effect, Effect::Ask { probe, .. } if question(probe))
    };
    decision.state.phase == before.phase
        && decision.events.is_empty()
        && decision.effects.iter().all(asks_metrics)
}
