//! Promotion: the primary gets the revision, then the traffic, then the canary rests. Pure.

use super::{Last, Machine, Pause, Turn, after, wait};
use crate::effect::Effect;
use crate::event::{Reason, Severity};
use crate::observation::{Readiness, Role};
use crate::phase::Phase;
use crate::state::Shortcut;
use crate::weight::{Split, Weight};

impl Machine<'_> {
    /// Copies once, waits for the primary, hands traffic back.
    pub(super) fn promote(&mut self) -> Last {
        let primary = self.primary()?;
        let revision = self.run()?.revision.clone();
        if primary.revision.as_ref() != Some(&revision) {
            self.relieve(&primary)?;
            return self.copy();
        }
        self.protect(&primary)?;
        if !primary.is_ready() {
            let wanted = self.run()?.split();
            return self.await_primary(&primary, wanted);
        }
        self.state.unready_since = None;
        self.hand_back()
    }

    /// Takes the traffic from a canary that cannot answer before the primary has its revision: that
    /// may take long.
    fn relieve(&mut self, primary: &Role) -> Turn {
        if self.canary().serves() {
            return Ok(());
        }
        self.protect(primary)?;
        let wanted = self.wanted()?;
        if self
            .seen
            .split
            .is_some_and(|split| split.raises_primary(wanted))
        {
            self.settle(wanted)?;
        }
        Ok(())
    }

    /// Gives the primary what was analysed, unless the target has moved on.
    fn copy(&mut self) -> Last {
        let revision = self.run()?.revision.clone();
        match self.seen.revision.clone() {
            Err(why) => wait(why),
            Ok(current) if current != revision => {
                self.alert(
                    Severity::Info,
                    Reason::RevisionSuperseded,
                    format!(
                        "revision {current} came before {revision} was promoted: starting over"
                    ),
                );
                self.begin(current, Phase::Progressing);
                Err(Pause::Again)
            }
            Ok(_) => {
                let message = format!("giving revision {revision} to the primary");
                let keeping = self.keeping();
                self.act(Effect::PromotePrimary { revision, keeping }, message)
            }
        }
    }

    /// A canary that no longer runs what was analysed, or runs nothing, loses its traffic at once:
    /// but not to pods that the promotion is about to replace, while it can answer.
    pub(super) fn protect(&mut self, primary: &Role) -> Turn {
        let canary_serves = self.canary().serves();
        let seen = self.seen.current().cloned();
        let run = self.run()?;
        if run.weight == Weight::ZERO || !primary.serves() {
            return Ok(());
        }
        let moved_on = seen.is_some_and(|current| current != run.revision);
        if !canary_serves || (moved_on && primary.observed) {
            run.weight = Weight::ZERO;
            let why = if moved_on {
                "has a newer revision"
            } else {
                "has no ready endpoint"
            };
            self.alert(
                Severity::Warn,
                Reason::Withdrawn,
                format!("the canary {why}: its traffic goes to the primary"),
            );
        }
        Ok(())
    }

    fn await_primary(&mut self, primary: &Role, wanted: Split) -> Last {
        let why = match &primary.readiness {
            Readiness::Stuck(why) => return self.fail_promotion(why),
            Readiness::Pending(why) => why.clone(),
            Readiness::Ready => {
                format!(
                    "{} of {} ready endpoints",
                    primary.endpoints,
                    primary.needed.max(1)
                )
            }
        };
        if self.deadline_is_over() {
            return self.fail_promotion(&format!("not ready within the progress deadline: {why}"));
        }
        self.settle(wanted)?;
        wait(format!("waiting for the primary: {why}"))
    }

    /// The primary does not come up: traffic stays with the canary if that is ready.
    fn fail_promotion(&mut self, why: &str) -> Last {
        let canary_is_ready = self.canary().is_ready();
        let current = self.seen.current().cloned();
        let divides = self.strategy.divides_traffic;
        let run = self.run()?;
        let revision = run.revision.clone();
        let runs_this = current.as_ref() == Some(&revision);
        let retained = canary_is_ready && runs_this && divides;
        run.weight = if retained { Weight::FULL } else { Weight::ZERO };
        run.objection = Some(format!("the primary did not come up: {why}"));
        self.state.retained = retained;
        self.refuse(revision.clone());
        let outcome = if retained {
            "the canary keeps all traffic"
        } else {
            "the canary rests"
        };
        self.alert(
            Severity::Error,
            Reason::PromotionFailed,
            format!("the primary did not come up with revision {revision}: {why}; {outcome}"),
        );
        self.end(Phase::Failed)
    }

    /// Moves traffic to the ready primary, at once or step by step.
    fn hand_back(&mut self) -> Last {
        let run = self.run()?.clone();
        if run.weight > Weight::ZERO {
            if !run.returning {
                self.lower()?;
                return Err(Pause::Again);
            }
            self.settle(run.split())?;
            let effective = self.state.traffic.and_then(|intent| intent.in_effect);
            if let Some(since) = effective {
                let due = after(since, self.strategy.interval);
                if self.now < due {
                    self.wake_at(due);
                    return wait(format!("traffic is {} (primary/canary)", run.split()));
                }
            }
            self.lower()?;
            return Err(Pause::Again);
        }
        self.settle(Split::PRIMARY)?;
        self.become_phase(Phase::Finalising)
    }

    fn lower(&mut self) -> Turn {
        let by = self
            .strategy
            .promotion_step
            .filter(|step| *step > Weight::ZERO);
        let run = self.run()?;
        run.returning = true;
        run.step = run.step.saturating_add(1);
        run.weight = run.weight.minus(by.unwrap_or(Weight::FULL));
        Ok(())
    }

    /// The primary has everything: the canary rests and the run is over.
    pub(super) fn finalise(&mut self) -> Last {
        let primary = self.primary()?;
        let run = self.run()?;
        run.weight = Weight::ZERO;
        let revision = run.revision.clone();
        if primary.revision.as_ref() != Some(&revision) {
            // It was lost, and made again with what it was last proven to run.
            return self.become_phase(Phase::Promoting);
        }
        self.settle(Split::PRIMARY)?;
        self.scale_down()?;
        self.keep_predecessor(&revision);
        self.state.retained = false;
        self.run()?.objection = None;
        let shortcut = self.run()?.shortcut;
        let how = match shortcut {
            Some(Shortcut::Promote | Shortcut::PromoteFull) => " on request",
            None if self.strategy.skip_analysis => " without analysis",
            None => "",
        };
        self.alert(
            Severity::Info,
            Reason::Promoted,
            format!("revision {revision} is promoted{how}"),
        );
        self.start_to_bake();
        self.end(Phase::Succeeded)
    }
}
