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
    ///
    /// Where lists were relied on, what a watch has told since they were made was not looked at: that
    /// does for waiting and for questions to metrics.
    pub(super) fn grounds_for(
        &self,
        before: &State,
        decision: &Decision,
        is_briefed: bool,
    ) -> Grounds {
        let least = if is_briefed {
            Grounds::Pods
        } else {
            Grounds::Known
        };
        let uid = self.canary.uid().unwrap_or_default();
        let is_guarded = decision.state != *before;
        let of_effect = |effect: &Effect| match effect {
            Effect::Ask {
                probe: Probe::Metrics { .. },
                ..
            } => Grounds::Known,
            Effect::Ask { key, .. } if is_guarded || self.context.desk.has(&uid, key) => least,
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
        let of_events = match (decision.events.is_empty(), is_guarded) {
            (true, _) => Grounds::Known,
            (false, true) => least,
            (false, false) => Grounds::Fresh,
        };
        let of_phase = if decision.state.phase == before.phase {
            Grounds::Known
        } else {
            least
        };
        let of_effects = decision.effects.iter().map(of_effect).max();
        of_effects
            .unwrap_or(Grounds::Known)
            .max(of_events)
            .max(of_phase)
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
