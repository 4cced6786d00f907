//! What a decision may rely on: what is known, or what has been read just then.

use std::time::Duration;

use fairlead_rollout::{Decision, Effect, Probe, State, step};
use fairlead_runtime::clock;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::look::{Look, micros};
use super::observe::Heard;
use super::sight::Known;
use super::{Result, steer};

/// How long what was read of pods counts as read just now: far longer than the write of a status
/// takes, unless the API server is slow.
const FRESH_FOR: Duration = Duration::from_millis(250);

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

    /// Whether what is about to be done to the traffic is right by pods that were read just now.
    ///
    /// Between the look at them and the change of the weights stands the write of the intent. Where
    /// that took long, they are read once more.
    pub(super) async fn still_holds(
        &self,
        decision: &Decision,
        deleting: bool,
        read_at: Instant,
    ) -> Result<bool> {
        let new_split = |decision: &Decision| decision.effects.iter().find_map(Effect::new_split);
        let split = new_split(decision);
        if split.is_none() || read_at.elapsed() < FRESH_FOR {
            return Ok(true);
        }
        let state = &decision.state;
        let known = self.known(Grounds::Pods, state);
        let heard = Heard {
            command: steer::request(&self.canary, self.context.stamps),
            ..Heard::default()
        };
        let seen = self.observe(heard, deleting, state, known, None);
        let world = seen.await?;
        let now = micros(clock::now());
        let again = step(&self.plan().strategy, state, &world.observation, now);
        Ok(new_split(&again) == split)
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
