//! A person's commands: each is carried out once, or refused with the reason. Pure.
//!
//! A command only changes the stored state; what follows from it goes through the same rules as
//! everything else, so that no command sends traffic to where nothing is ready.

use super::agenda::Move;
use super::{Last, Machine, Turn, held, wait};
use crate::command::{Command, Handled, Verb};
use crate::event::{Reason, Severity};
use crate::phase::Phase;
use crate::probe::HookKind;
use crate::state::{Round, Shortcut};
use crate::strategy::Plan;
use crate::weight::Weight;

/// As many commands are remembered; git may show an older one again, and must not repeat it. There
/// are fewer verbs, so that one of them has two of these.
const MOST_REMEMBERED: usize = 16;

impl Machine<'_> {
    /// Handles the command that is seen, unless it was handled before.
    pub(super) fn steer(&mut self) -> Turn {
        let Some(request) = &self.seen.command else {
            return Ok(());
        };
        let token = request.token();
        let known = self
            .state
            .commands
            .iter()
            .position(|one| one.token == token);
        if let Some(position) = known {
            // What is shown now must be the last to be forgotten.
            self.state.commands[..=position].rotate_right(1);
            return Ok(());
        }
        let asked = token.parse::<Command>().map_err(|error| error.to_string());
        let verdict = asked.and_then(|command| match self.refusal(&command.verb) {
            Some(why) => Err(format!("{} makes no sense now: {why}", command.verb)),
            None => Ok(command.verb),
        });
        let by = request.by.clone();
        self.state.commands.insert(
            0,
            Handled {
                token: token.to_owned(),
                by: by.clone(),
                at: self.now,
                refused: verdict.clone().err(),
            },
        );
        forget(&mut self.state.commands);
        let by = by.map(|who| format!(" by {who}")).unwrap_or_default();
        match verdict {
            Ok(verb) => self.obey(&verb, &by),
            Err(why) => {
                self.tell(
                    Reason::CommandRefused,
                    format!("command{by} refused: {why}"),
                );
                Ok(())
            }
        }
    }

    /// Why a command makes no sense now.
    fn refusal(&self, verb: &Verb) -> Option<String> {
        if self.seen.deleting {
            return Some("the Canary is being deleted".to_owned());
        }
        if self.strategy.suspended {
            return Some("`spec.suspend` is true; set it to false first".to_owned());
        }
        if self.state.is_foreign() {
            return self.refusal_of_heir(verb);
        }
        if *verb == Verb::Adopt {
            return Some("it was taken over already".to_owned());
        }
        match (self.state.phase, verb) {
            (Some(Phase::Waiting | Phase::Progressing | Phase::WaitingPromotion), _) => {
                self.refusal_in_run(verb)
            }
            (Some(Phase::Promoting), Verb::Abort) => None,
            (Some(Phase::Promoting), _) => Some(
                "the primary is being given the new revision; `abort` gives the earlier one back"
                    .to_owned(),
            ),
            (Some(Phase::Finalising), _) => {
                Some("the new revision is promoted; `rollback-to` goes back in a moment".to_owned())
            }
            (
                Some(Phase::Initialized | Phase::Succeeded | Phase::Failed),
                Verb::RollbackTo(asked),
            ) => self.refusal_of_return(asked.as_deref()),
            (Some(Phase::Succeeded), Verb::Abort) if self.is_baking() => {
                self.refusal_of_return(None)
            }
            (Some(Phase::Failed), Verb::Retry) => self.refusal_of_retry(),
            (Some(Phase::Initialized | Phase::Succeeded | Phase::Failed), Verb::Pause) => Some(
                "no rollout is in progress; `spec.suspend: true` keeps the next one from starting"
                    .to_owned(),
            ),
            (Some(Phase::Failed), _) => Some(
                "the rollout has failed; `retry` starts it again, and so does a new revision"
                    .to_owned(),
            ),
            (Some(Phase::Succeeded), _) if self.is_baking() => Some(
                "the revision is promoted and bakes; `rollback-to` goes back to the one before"
                    .to_owned(),
            ),
            (Some(Phase::Initialized | Phase::Succeeded), _) => {
                Some("no rollout is in progress".to_owned())
            }
            (None | Some(Phase::Initializing | Phase::Terminating | Phase::Terminated), _) => {
                Some("the primary is still being made".to_owned())
            }
        }
    }

    fn refusal_in_run(&self, verb: &Verb) -> Option<String> {
        let phase = self.state.phase;
        let Some(run) = &self.state.run else {
            return Some("no rollout is in progress".to_owned());
        };
        let why = match verb {
            Verb::Pause => self.state.paused.then_some("it is paused already"),
            Verb::Resume => {
                (!self.state.paused && !self.awaits_person()).then_some("it is not paused")
            }
            Verb::Promote => match phase {
                Some(Phase::Waiting) => {
                    Some("a confirm-rollout hook holds it; `promote-full` goes past it")
                }
                Some(Phase::WaitingPromotion) => {
                    Some("a confirm-promotion hook holds it; `promote-full` goes past it")
                }
                _ => run
                    .shortcut
                    .is_some()
                    .then_some("it is being promoted already"),
            },
            Verb::PromoteFull => (run.shortcut == Some(Shortcut::PromoteFull))
                .then_some("it is being promoted already"),
            Verb::Abort => None,
            Verb::Retry => Some("it has not failed"),
            Verb::SetWeight(weight) => return self.refusal_of_weight(*weight),
            Verb::RollbackTo(_) => Some("a rollout is in progress; `abort` gives it up first"),
            Verb::Adopt => None,
        };
        why.map(ToOwned::to_owned)
    }

    fn refusal_of_weight(&self, weight: Weight) -> Option<String> {
        let run = self.state.run.as_ref()?;
        if let Plan::Iterations { .. } = self.strategy.plan {
            return Some("this strategy counts iterations and has no weights".to_owned());
        }
        if self.state.retained {
            return Some(
                "the canary keeps all traffic since the primary did not come up".to_owned(),
            );
        }
        if run.shortcut.is_some() {
            return Some("it is being promoted already".to_owned());
        }
        if !run.warmed {
            return Some(
                "the canary is not ready yet, or its pre-rollout hooks have not passed".to_owned(),
            );
        }
        (run.weight == weight && !run.mirrored)
            .then(|| format!("the weight of the canary is {weight} already"))
    }

    fn refusal_of_retry(&self) -> Option<String> {
        let Some(refused) = self.state.refused.first() else {
            return Some("no revision was refused".to_owned());
        };
        let primary = self.seen.primary.as_ref();
        let restored = primary.is_none_or(|primary| primary.revision == self.state.promoted);
        if !self.state.retained && !restored {
            return Some("the primary is still being given back what it ran before".to_owned());
        }
        match &self.seen.revision {
            Ok(current) if self.state.refused.contains(current) => None,
            Ok(current) => Some(format!(
                "revision {refused} failed, but the target has {current} now"
            )),
            Err(why) => Some(why.clone()),
        }
    }

    fn obey(&mut self, verb: &Verb, by: &str) -> Turn {
        if self.state.is_foreign() {
            return self.succeed(verb, by);
        }
        match verb {
            Verb::Pause => {
                self.state.paused = true;
                self.tell(Reason::Paused, format!("paused{by}"));
                Ok(())
            }
            Verb::Resume => {
                self.state.paused = false;
                self.tell(Reason::Resumed, format!("resumed{by}"));
                self.let_pass()
            }
            Verb::Promote => self.hurry(Shortcut::Promote, by),
            Verb::PromoteFull => self.hurry(Shortcut::PromoteFull, by),
            Verb::Abort if self.state.phase == Some(Phase::Succeeded) => self.return_to(None, by),
            Verb::RollbackTo(asked) => self.return_to(asked.as_deref(), by),
            Verb::Abort => {
                self.tell(Reason::Aborted, format!("aborted{by}"));
                self.roll_back(&format!("aborted{by}"))
            }
            Verb::Retry => {
                let current = self.seen.current();
                self.state.refused.retain(|one| Some(one) != current);
                self.tell(
                    Reason::Retried,
                    format!("the failed revision is tried again{by}"),
                );
                Ok(())
            }
            Verb::SetWeight(weight) => {
                self.tell(
                    Reason::WeightSet,
                    format!("the weight of the canary is set to {weight}{by}"),
                );
                self.run()?.objection = None;
                match self.make(Move::Weight(*weight)) {
                    Err(pause) => Err(pause),
                    Ok(never) => match never {},
                }
            }
            // Refused before: nothing is left to adopt.
            Verb::Adopt => Ok(()),
        }
    }

    /// Gives the primary back what it ran before.
    fn return_to(&mut self, asked: Option<&str>, by: &str) -> Turn {
        let Ok(revision) = self.destination(asked) else {
            // Refused before.
            return Ok(());
        };
        let note = format!("a return to revision {revision} is asked for{by}");
        self.tell(Reason::RollbackRequested, note);
        self.go_back(&revision, Severity::Warn, &format!("as asked{by}"))
    }

    /// Leaves the analysis out from here on; a pause ends with it.
    fn hurry(&mut self, shortcut: Shortcut, by: &str) -> Turn {
        self.state.paused = false;
        let run = self.run()?;
        run.shortcut = Some(shortcut);
        run.checked_at = None;
        run.postponed = None;
        run.held_by = None;
        run.objection = None;
        run.round = Round {
            attempt: run.round.attempt.saturating_add(1),
            ..Round::default()
        };
        let (note, how) = match shortcut {
            Shortcut::Promote => ("promotion is asked for", "its gates are still asked"),
            Shortcut::PromoteFull => ("full promotion is asked for", "no gate is asked"),
        };
        self.tell(Reason::PromotionRequested, format!("{note}{by}: {how}"));
        match self.state.phase {
            Some(Phase::Waiting | Phase::WaitingPromotion) => self.become_phase(Phase::Progressing),
            _ => Ok(()),
        }
    }

    /// Stands still while a person wants it.
    pub(super) fn heed_pause(&self) -> Turn {
        if !self.state.paused {
            return Ok(());
        }
        wait("paused: `resume` goes on, `abort` gives up")
    }

    /// Promotes without further analysis, once those who must agree do.
    pub(super) fn promote_early(&mut self, shortcut: Shortcut) -> Last {
        let run = self.run()?.clone();
        if let Some(due) = self.asked_again(&run)
            && shortcut == Shortcut::Promote
            && self.now < due
        {
            self.wake_at(due);
            let why = run.objection;
            return held(why.unwrap_or_else(|| "waiting to be promoted".to_owned()));
        }
        if shortcut == Shortcut::Promote {
            let mut agenda = self.strategy.probes(HookKind::Rollback);
            agenda.extend(self.strategy.probes(HookKind::ConfirmPromotion));
            if let Some(objection) = self.consult(&agenda)? {
                return self.object(objection);
            }
        }
        self.make(Move::Promote)
    }
}

/// Forgets the oldest command of the verb that was given most often, when there are too many.
///
/// Whoever may give only some commands can then not make the others forgotten, and so repeated.
fn forget(commands: &mut Vec<Handled>) {
    while commands.len() > MOST_REMEMBERED {
        let words: Vec<&str> = commands.iter().map(word).collect();
        let count = |word: &str| words.iter().filter(|one| **one == word).count();
        let most = words.iter().map(|word| count(word)).max();
        let oldest = words.iter().rposition(|word| Some(count(word)) == most);
        let Some(oldest) = oldest else { return };
        commands.remove(oldest);
    }
}

/// The verb of a command; of all that cannot be read it is the same.
fn word(handled: &Handled) -> &'static str {
    let command = handled.token.parse::<Command>();
    command.map_or("", |command| command.verb.as_str())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const WORDS: [&str; 10] = [
        "pause",
        "resume",
        "promote",
        "promote-full",
        "abort",
        "retry",
        "set-weight=5",
        "adopt",
        "rollback-to",
        "nonsense",
    ];

    fn remember(commands: &mut Vec<Handled>, token: String) {
        let handled = Handled {
            token,
            by: None,
            at: Timestamp::UNIX_EPOCH,
            refused: None,
        };
        commands.insert(0, handled);
        forget(commands);
    }

    proptest! {
        #[test]
        fn the_last_command_of_each_verb_is_never_forgotten(
            given in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..80),
        ) {
            let mut commands = Vec::new();
            for (id, word) in given.iter().enumerate() {
                remember(&mut commands, format!("{word}@{id}"));
            }
            prop_assert!(commands.len() == given.len().min(MOST_REMEMBERED));
            for word in WORDS {
                let last = given.iter().rposition(|one| *one == word);
                let Some(last) = last else { continue };
                let last = format!("{word}@{last}");
                prop_assert!(commands.iter().any(|one| one.token == last), "{last}: {commands:?}");
            }
        }
    }

    #[test]
    fn many_commands_of_one_verb_leave_the_others_alone() {
        let mut commands = Vec::new();
        remember(&mut commands, "promote@1".to_owned());
        for id in 0..100 {
            remember(&mut commands, format!("pause@{id}"));
        }
        assert!(commands.iter().any(|one| one.token == "promote@1"));
        assert!(commands.iter().any(|one| one.token == "pause@99"));
    }
}
