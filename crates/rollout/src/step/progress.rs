//! A run in progress: readiness, checks, weights, and the ways out. Pure.

use super::agenda::{Move, Objection, approvals, next_move, questions};
use super::{Last, Machine, Pause, Turn, after, held, wait};
use crate::event::{Reason, Severity};
use crate::observation::{Readiness, Role};
use crate::phase::Phase;
use crate::probe::HookKind;
use crate::state::Run;
use crate::weight::Weight;

impl Machine<'_> {
    /// Progressing and WaitingPromotion: the same rules, but for who is waited for.
    pub(super) fn progress(&mut self) -> Last {
        let primary = self.primary()?;
        self.follow_revision()?;
        self.judge()?;
        self.withdraw(&primary)?;
        let wanted = self.wanted()?;
        if self
            .seen
            .split
            .is_some_and(|split| !split.raises_canary(wanted))
        {
            self.settle(wanted)?;
        }
        // A canary whose Service is gone has no endpoints to become ready by.
        self.prepare()?;
        self.scale_up()?;
        self.grow()?;
        let ready = self.canary_is_ready()?;
        if ready {
            self.restore()?;
        }
        let wanted = self.wanted()?;
        let rises = self
            .seen
            .split
            .is_some_and(|split| split.raises_canary(wanted));
        if ready || !rises {
            self.settle(wanted)?;
            self.shrink()?;
        }
        if !ready {
            return self.unready();
        }
        if let Err(why) = &self.seen.revision {
            return wait(why.clone());
        }
        if !primary.is_ready() && !self.state.retained {
            return held("the primary is not ready: the rollout stands still");
        }
        self.heed_pause()?;
        if self.strategy.skip_analysis {
            return self.make(Move::Promote);
        }
        if let Some(shortcut) = self.run()?.shortcut {
            return self.promote_early(shortcut);
        }
        self.check()
    }

    /// A newer revision starts over; the promoted one ends the run.
    fn follow_revision(&mut self) -> Turn {
        let Some(current) = self.seen.current().cloned() else {
            return Ok(());
        };
        let revision = self.run()?.revision.clone();
        if current == revision {
            return Ok(());
        }
        if self.is_promoted(&current) {
            self.alert(
                Severity::Warn,
                Reason::Reverted,
                format!("the target is back at the promoted revision: {revision} is given up"),
            );
            self.run()?.weight = Weight::ZERO;
            return self.end(Phase::Succeeded);
        }
        self.alert(
            Severity::Info,
            Reason::RevisionSuperseded,
            format!("revision {current} takes the place of {revision}: starting over"),
        );
        self.begin(current, Phase::Progressing);
        Ok(())
    }

    /// Takes the traffic from a canary that cannot answer it, if the primary can.
    pub(super) fn withdraw(&mut self, primary: &Role) -> Turn {
        let canary_serves = self.canary().serves();
        let run = self.run()?;
        let carries = run.split().reaches_canary();
        if carries && !canary_serves && primary.serves() {
            run.withdrawn = true;
            self.alert(
                Severity::Warn,
                Reason::Withdrawn,
                "the canary has no ready endpoint: its traffic goes to the primary until it has",
            );
        }
        Ok(())
    }

    /// Returns to the step that a withdrawal interrupted.
    fn restore(&mut self) -> Turn {
        let run = self.run()?;
        if run.withdrawn {
            run.withdrawn = false;
            let split = run.split();
            self.tell(
                Reason::Restored,
                format!("the canary is ready again: back to {split}"),
            );
        }
        Ok(())
    }

    /// Whether the canary is ready; one that will not be ends the run.
    fn canary_is_ready(&mut self) -> Turn<bool> {
        let canary = self.canary();
        if canary.is_ready() {
            self.state.unready_since = None;
            return Ok(true);
        }
        let why = match &canary.readiness {
            Readiness::Stuck(why) => why.clone(),
            Readiness::Pending(why) if self.deadline_is_over() => {
                format!("not ready within the progress deadline: {why}")
            }
            Readiness::Ready if self.deadline_is_over() => format!(
                "not ready within the progress deadline: {} of {} ready endpoints",
                canary.endpoints, canary.needed
            ),
            Readiness::Pending(_) | Readiness::Ready => return Ok(false),
        };
        self.roll_back(&format!("the canary is not coming up: {why}"))
    }

    /// Says what an unready canary lacks.
    fn unready(&self) -> Last {
        let canary = self.canary();
        match canary.readiness {
            Readiness::Ready => wait(format!(
                "waiting for the canary: {} of {} ready endpoints",
                canary.endpoints,
                canary.needed.max(1)
            )),
            Readiness::Pending(why) | Readiness::Stuck(why) => {
                wait(format!("waiting for the canary: {why}"))
            }
        }
    }

    /// One check, when it is due: ask everything, then move, hold, count or roll back.
    fn check(&mut self) -> Last {
        let run = self.run()?.clone();
        if let Some(due) = self.due(&run)
            && self.now < due
        {
            self.wake_at(due);
            return self.idle();
        }
        let stay = self.stay(&run);
        let reservation = self.reservation(stay)?;
        let mut agenda = questions(self.strategy, &run);
        // Those who must agree to a move are asked only before one.
        if stay.is_none() && reservation.is_none() {
            agenda.extend(approvals(self.strategy, &run));
        }
        if let Some(objection) = self.consult(&agenda)? {
            return self.object(objection);
        }
        if !run.warmed {
            self.warm()?;
            if run.has_begun() {
                self.end_attempt()?;
                return Err(Pause::Again);
            }
        }
        if let Some(stay) = stay {
            return self.remain(stay);
        }
        if let Some(why) = reservation {
            return self.count(&why);
        }
        self.run()?.objection = None;
        let run = self.run()?.clone();
        self.make(next_move(self.strategy, &run))
    }

    /// When the next check may begin: an interval after the last weight took effect or the last
    /// check ended, at the end of an explicit step, or when a hook wants it; the first one at once.
    fn due(&self, run: &Run) -> Option<jiff::Timestamp> {
        if run.checked_at.is_none() && (!run.has_begun() || !run.warmed) {
            return None;
        }
        if run.postponed.is_some() {
            return self.asked_again(run);
        }
        let effective = self.state.traffic.and_then(|intent| intent.in_effect);
        let since = run.checked_at.max(effective)?;
        let due = after(since, self.strategy.interval);
        // An explicit step ends with a check, whatever the interval is.
        let end = self.end_of_stage(run).filter(|end| *end > since);
        Some(end.map_or(due, |end| end.min(due)))
    }

    fn warm(&mut self) -> Turn {
        let run = self.run()?;
        run.warmed = true;
        let note = format!("analysis of revision {} begins", run.revision);
        self.tell(Reason::AnalysisStarted, note);
        Ok(())
    }

    /// Somebody said no.
    pub(super) fn object(&mut self, objection: Objection) -> Last {
        let Objection { kind, why } = objection;
        match kind {
            Some(HookKind::Rollback) => self.roll_back(&why),
            Some(HookKind::ConfirmTrafficIncrease) => {
                if !self.run()?.warmed {
                    self.warm()?;
                }
                self.hold(Reason::IncreaseHeld, &why)?;
                held(why)
            }
            Some(HookKind::ConfirmPromotion) => {
                self.hold(Reason::PromotionHeld, &why)?;
                self.state.phase = Some(Phase::WaitingPromotion);
                held(why)
            }
            None
            | Some(
                HookKind::PreRollout
                | HookKind::Rollout
                | HookKind::ConfirmRollout
                | HookKind::PostRollout,
            ) => self.count(&why),
        }
    }

    /// Counts a failed check; the one that reaches the threshold rolls back at once.
    fn count(&mut self, why: &str) -> Last {
        let threshold = self.strategy.threshold.max(1);
        let run = self.run()?;
        run.failed_checks = run.failed_checks.saturating_add(1);
        run.objection = Some(why.to_owned());
        let failed = run.failed_checks;
        self.tell(
            Reason::CheckFailed,
            format!("check failed ({failed} of {threshold}): {why}"),
        );
        if failed >= threshold {
            return self.roll_back(&format!("{failed} failed checks, the last one: {why}"));
        }
        self.end_attempt()?;
        wait(format!("check failed ({failed} of {threshold}): {why}"))
    }

    /// Gives the run up. Traffic first; the rest follows once that is in effect.
    pub(super) fn roll_back<T>(&mut self, why: &str) -> Turn<T> {
        let primary_is_ready = self.seen.primary.as_ref().is_some_and(Role::is_ready);
        // A canary that a failed promotion left in charge stays, unless there is better.
        self.state.retained = self.state.retained && !primary_is_ready && self.canary().serves();
        let retained = self.state.retained;
        let run = self.run()?;
        let revision = run.revision.clone();
        if !retained {
            run.weight = Weight::ZERO;
        }
        run.objection = Some(why.to_owned());
        // What is promoted is what there is to come back to, unless the canary must stand in for it.
        if retained || self.state.promoted.as_ref() != Some(&revision) {
            self.refuse(revision.clone());
        }
        self.alert(
            Severity::Error,
            Reason::RolledBack,
            format!("revision {revision} is rolled back: {why}"),
        );
        self.end(Phase::Failed)
    }
}
