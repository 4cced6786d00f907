//! A Canary that another controller ran until now: it is taken over as it stands, without moving
//! traffic, or waits for a person. Pure.

use super::{Last, Machine, Pause, Turn, held};
use crate::command::Verb;
use crate::effect::Effect;
use crate::event::{Reason, Severity};
use crate::observation::{Inheritance, Revision};
use crate::phase::Phase;
use crate::state::Run;
use crate::weight::{Split, Weight};

impl Machine<'_> {
    /// Goes on from what is there, where that is beyond doubt.
    pub(super) fn inherit(&mut self) -> Last {
        let Some(left) = self.seen.inheritance.clone() else {
            return held("it is not known yet what the primary runs");
        };
        if self.seen.primary.is_none() {
            // Nothing was left: what there is to do is to begin.
            return self.become_phase(Phase::Initializing);
        }
        let rests = self.state.phase.is_some_and(Phase::rests);
        let moved = self.seen.split.is_some_and(|split| split != Split::PRIMARY);
        match (left, self.seen.current().cloned()) {
            (Inheritance::Unclear(why), _) => held(format!("not taken over yet: {why}")),
            (Inheritance::Same, Some(current)) if rests && !moved => {
                self.take_over(current);
                if self.state.phase == Some(Phase::Failed) {
                    self.state.phase = Some(Phase::Succeeded);
                }
                Err(Pause::Again)
            }
            (Inheritance::Different, Some(current))
                if self.state.phase == Some(Phase::Failed) && !moved =>
            {
                self.take_over(Revision::inherited());
                self.refuse(current);
                Err(Pause::Again)
            }
            (Inheritance::Same | Inheritance::Different, Some(_)) => held(
                "another controller left this Canary with a revision that the primary does not \
                 run: nothing moves until a person decides; `resume` analyses it from the weight \
                 that it has, `abort` refuses it, `adopt` keeps the primary and waits for the \
                 next revision",
            ),
            (_, None) => held("not taken over yet: the target's revision is not known"),
        }
    }

    fn take_over(&mut self, promoted: Revision) {
        self.tell(
            Reason::TakenOver,
            format!("taken over from another controller: the primary's revision is {promoted}"),
        );
        self.state.promoted = Some(promoted);
    }

    /// Writes onto the primary what it is known to run, where nothing says so.
    pub(super) fn mark_primary(&mut self) -> Turn {
        let settled = self.state.phase.is_some_and(|phase| {
            phase.rests()
                || matches!(
                    phase,
                    Phase::Waiting | Phase::Progressing | Phase::WaitingPromotion
                )
        });
        let unmarked = self
            .seen
            .primary
            .as_ref()
            .is_some_and(|primary| primary.revision.is_none());
        let Some(revision) = self.state.promoted.clone().filter(|_| settled && unmarked) else {
            return Ok(());
        };
        let message = format!("marking the primary with revision {revision}");
        self.act(Effect::MarkPrimary { revision }, message)
    }

    /// Why a command is no answer to what another controller left.
    pub(super) fn refusal_of_heir(&self, verb: &Verb) -> Option<String> {
        if let Err(why) = &self.seen.revision {
            return Some(why.clone());
        }
        if let Some(Inheritance::Unclear(why)) = &self.seen.inheritance {
            return Some(why.clone());
        }
        let moved = self.seen.split.is_some_and(|split| split != Split::PRIMARY);
        match verb {
            Verb::Resume | Verb::Abort => None,
            Verb::Adopt if moved => Some(
                "the canary has traffic; `resume` analyses it, `abort` takes the traffic back"
                    .to_owned(),
            ),
            Verb::Adopt => None,
            Verb::Pause
            | Verb::Promote
            | Verb::PromoteFull
            | Verb::Retry
            | Verb::SetWeight(_)
            | Verb::RollbackTo(_) => {
                Some("another controller left it; `resume`, `abort` or `adopt` it first".to_owned())
            }
        }
    }

    /// Does what a person decided about what another controller left.
    pub(super) fn succeed(&mut self, verb: &Verb, by: &str) -> Turn {
        let Some(current) = self.seen.current().cloned() else {
            return Ok(());
        };
        self.take_over(Revision::inherited());
        if *verb == Verb::Adopt {
            self.refuse(current);
            return self.become_phase(Phase::Succeeded);
        }
        let split = self.seen.split.unwrap_or_default();
        self.begin(current, Phase::Progressing);
        let now = self.now;
        let run = self.run()?;
        if split.canary > Weight::ZERO {
            // Its pre-rollout hooks have passed: it has traffic.
            *run = Run {
                weight: split.canary,
                step: 1,
                warmed: true,
                checked_at: Some(now),
                ..run.clone()
            };
        }
        if *verb == Verb::Abort {
            self.tell(Reason::Aborted, format!("aborted{by}"));
            return self.roll_back(&format!("aborted{by}"));
        }
        self.alert(
            Severity::Info,
            Reason::Resumed,
            format!("resumed{by}, from {split} (primary/canary)"),
        );
        Err(Pause::Again)
    }
}
