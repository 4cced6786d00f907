//! Before, between and after runs: making the primary, standing still, beginning. Pure.

use super::{Last, Machine, Pause, Turn, held, wait};
use crate::effect::Effect;
use crate::event::{Reason, Severity};
use crate::observation::{Readiness, Revision};
use crate::phase::Phase;
use crate::probe::HookKind;
use crate::weight::{Split, Weight};

/// What a Canary says that has nothing to do.
pub(super) const AT_REST: &str = "waiting for a new revision";

impl Machine<'_> {
    /// Makes the primary, then the routes to it, then lets the target rest.
    pub(super) fn initialize(&mut self) -> Last {
        if self.seen.canary.is_none() && self.seen.primary.is_none() {
            return held("the target does not exist");
        }
        self.prepare()?;
        let primary = self.primary()?;
        if !primary.is_ready()
            && self.seen.split.is_none()
            && let Some(current) = self.seen.current().cloned()
            && primary.revision.as_ref() != Some(&current)
        {
            // Nothing depends on this primary yet, and a fix of the target may be its cure.
            let message = format!("giving the new revision {current} to the primary");
            let primary = Effect::CreatePrimary {
                revision: current,
                replicas: None,
            };
            return self.act(primary, message);
        }
        // The target goes on serving: a primary that does not come up costs nothing here.
        match &primary.readiness {
            Readiness::Stuck(why) => return held(format!("the primary is not coming up: {why}")),
            Readiness::Pending(why) => return wait(format!("waiting for the primary: {why}")),
            Readiness::Ready if !primary.can_take_more() => {
                return wait(format!(
                    "waiting for the primary: {} of {} ready endpoints",
                    primary.endpoints,
                    primary.needed.max(1)
                ));
            }
            Readiness::Ready => {}
        }
        self.settle(Split::PRIMARY)?;
        self.scale_down()?;
        self.state.promoted.clone_from(&primary.revision);
        self.alert(
            Severity::Info,
            Reason::Initialized,
            "the primary serves; the next revision of the target starts a rollout",
        );
        self.become_phase(Phase::Initialized)
    }

    /// Keeps things as they are after the last run, until a new revision comes.
    pub(super) fn rest(&mut self) -> Last {
        let primary = self.primary()?;
        self.release_lost_canary();
        let want = match self.seen.split {
            _ if !self.state.retained => Split::PRIMARY,
            // It grows first, as long as somebody else answers.
            Some(split) if primary.serves() && !self.is_full() => Split::to_canary(split.canary),
            Some(_) | None => Split::to_canary(Weight::FULL),
        };
        if let Some(run) = &mut self.state.run {
            run.weight = want.canary;
        }
        let settled = self.settle(want);
        // Traffic first; but a primary that nobody can send traffic to needs this to recover.
        if !matches!(settled, Err(Pause::Act(_))) {
            self.restore_primary()?;
        }
        settled?;
        let next = self.new_revision();
        if self.state.retained {
            self.grow()?;
        } else if next.is_none() {
            self.scale_down()?;
        }
        self.close()?;
        if let Some(revision) = next {
            if !primary.is_ready() {
                // Nothing starts beside such a primary, so that this must be able to help it.
                self.bake(&primary)?;
            }
            return self.start(revision);
        }
        self.forgive()?;
        self.prepare()?;
        self.bake(&primary)?;
        if self.seen.canary.is_none() {
            return held("the target does not exist; the primary goes on serving");
        }
        if let Some(why) = Self::shortfall(&primary) {
            return wait(format!("the primary is not ready: {why}"));
        }
        wait(AT_REST)
    }

    /// A canary kept after a failed promotion is let go when it no longer serves.
    pub(super) fn release_lost_canary(&mut self) {
        let primary_serves = self.seen.primary.as_ref().is_some_and(super::Role::serves);
        if self.state.retained && !self.canary().serves() && primary_serves {
            self.state.retained = false;
            self.alert(
                Severity::Error,
                Reason::Withdrawn,
                "the canary that was kept has no ready endpoint: traffic goes to the primary",
            );
        }
    }

    /// The target's revision, when it is neither what the primary runs nor what failed.
    pub(super) fn new_revision(&self) -> Option<Revision> {
        let current = self.seen.current()?;
        let is_promoted = self.state.promoted.as_ref() == Some(current) && !self.state.retained;
        let is_refused = self.state.refused.contains(current);
        (!is_promoted && !is_refused).then(|| current.clone())
    }

    /// After a failure, a target that went back to the promoted revision is at peace again, and
    /// the failed revision may be tried anew.
    fn forgive(&mut self) -> Turn {
        let back = self
            .seen
            .current()
            .is_some_and(|now| Some(now) == self.state.promoted.as_ref());
        if self.state.phase != Some(Phase::Failed) || self.state.retained || !back {
            return Ok(());
        }
        self.absolve();
        self.tell(
            Reason::Reverted,
            "the target is back at the promoted revision",
        );
        self.become_phase(Phase::Succeeded)
    }

    fn start(&mut self, revision: Revision) -> Last {
        if !self.state.retained
            && let Some(primary) = &self.seen.primary
            && !primary.is_ready()
        {
            return held(format!(
                "revision {revision} waits for the primary to be ready"
            ));
        }
        if self.is_baking() {
            let note = format!("revision {revision} comes before the one before has baked");
            self.tell(Reason::BakeEnded, note);
        }
        self.alert(
            Severity::Info,
            Reason::NewRevision,
            format!("new revision {revision}: starting a rollout"),
        );
        let gated = !self.strategy.probes(HookKind::ConfirmRollout).is_empty();
        self.begin(
            revision,
            if gated {
                Phase::Waiting
            } else {
                Phase::Progressing
            },
        );
        Err(Pause::Again)
    }

    /// Asks the `confirm-rollout` hooks until they agree.
    pub(super) fn await_confirmation(&mut self) -> Last {
        self.primary()?;
        let retained = self.state.retained;
        self.release_lost_canary();
        if retained && !self.state.retained {
            self.run()?.weight = Weight::ZERO;
        }
        let run = self.run()?.clone();
        self.settle(run.split())?;
        if let Some(current) = self.seen.current().cloned()
            && current != run.revision
        {
            if self.is_promoted(&current) {
                self.tell(
                    Reason::Reverted,
                    "the target is back at the promoted revision",
                );
                self.state.paused = false;
                return self.become_phase(Phase::Succeeded);
            }
            self.begin(current, Phase::Waiting);
            return Err(Pause::Again);
        }
        self.heed_pause()?;
        if let Some(due) = self.asked_again(&run)
            && self.now < due
        {
            self.wake_at(due);
            let why = run.objection;
            return held(why.unwrap_or_else(|| "waiting for confirmation".to_owned()));
        }
        let agenda = self.strategy.probes(HookKind::ConfirmRollout);
        if let Some(objection) = self.consult(&agenda)? {
            self.hold(Reason::RolloutHeld, &objection.why)?;
            return held(objection.why);
        }
        let run = self.run()?;
        run.step = run.step.saturating_add(1);
        run.round = crate::state::Round::default();
        run.checked_at = None;
        run.postponed = None;
        run.held_by = None;
        run.objection = None;
        self.become_phase(Phase::Progressing)
    }

    /// Whether the primary is proven to run `revision`.
    pub(super) fn is_promoted(&self, revision: &Revision) -> bool {
        let primary = self
            .seen
            .primary
            .as_ref()
            .and_then(|primary| primary.revision.as_ref());
        !self.state.retained
            && self.state.promoted.as_ref() == Some(revision)
            && primary.is_none_or(|given| given == revision)
    }

    /// Calls the post-rollout hooks; one that fails ends the list and is only reported.
    fn close(&mut self) -> Turn {
        if !self.state.closing || self.state.run.is_none() {
            return Ok(());
        }
        let agenda = self.strategy.probes(HookKind::PostRollout);
        if let Some(objection) = self.consult(&agenda)? {
            self.tell(Reason::PostRolloutFailed, objection.why);
        }
        self.state.closing = false;
        Ok(())
    }

    /// Scales the canary to nothing; only called with its traffic at zero and in effect.
    pub(super) fn scale_down(&mut self) -> Turn {
        if !self.strategy.sized || self.canary().desired == 0 {
            return Ok(());
        }
        self.act(
            Effect::ScaleCanary { replicas: 0 },
            "scaling the canary to zero",
        )
    }
}
