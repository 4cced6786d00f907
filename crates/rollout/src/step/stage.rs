//! Explicit steps: how long each lasts, and whom it waits for. Pure.

use jiff::{Timestamp, Unit};

use super::{Last, Machine, Turn, after, held, wait};
use crate::event::{Reason, Severity};
use crate::stage::Stage;
use crate::state::{Place, Run};
use crate::strategy::{Plan, Strategy};
use crate::weight::Weight;

/// Why a run stays at its explicit step although nothing objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// Its time is not over.
    Lasting(Timestamp),
    /// A person is waited for.
    Paused,
}

/// The explicit step that a run is at.
pub(super) fn current<'a>(strategy: &'a Strategy, run: &Run) -> Option<&'a Stage> {
    let Plan::Staged { stages, .. } = &strategy.plan else {
        return None;
    };
    numbered(stages, run.place.as_ref()?.number)
}

/// The explicit step of a number.
pub(super) fn numbered(stages: &[Stage], number: u32) -> Option<&Stage> {
    stages.get(index(number).checked_sub(1)?)
}

/// The number of the explicit step that follows: never one that takes traffic away again, as an
/// edit of the steps, a weight that was set or a canary that was kept could ask for.
pub(super) fn next(stages: &[Stage], run: &Run) -> Option<u32> {
    let begun = run.place.as_ref().map_or(0, |place| place.number);
    let left = stages.iter().zip(1..).skip(index(begun));
    let mut rising = left.filter(|(stage, _)| stage.weight >= run.weight);
    rising.next().map(|(_, number)| number)
}

/// Where a run stands that was given `weight` by a person, who has then decided on any pause.
pub(super) fn place_of(stages: &[Stage], weight: Weight, now: Timestamp) -> Option<Place> {
    let begun = stages.iter().take_while(|stage| stage.weight <= weight);
    let number = u32::try_from(begun.count()).unwrap_or(u32::MAX);
    (number > 0).then_some(Place {
        number,
        since: now,
        resumed: true,
    })
}

/// The explicit step in words, as the beginning of a sentence.
pub(super) fn words(strategy: &Strategy, run: &Run) -> String {
    let Plan::Staged { stages, .. } = &strategy.plan else {
        return String::new();
    };
    let number = run.place.as_ref().map(|place| place.number);
    number.map_or_else(String::new, |number| {
        format!("step {number} of {}: ", stages.len())
    })
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Machine<'_> {
    /// When the explicit step has lasted long enough, from when its weight took effect.
    pub(super) fn end_of_stage(&self, run: &Run) -> Option<Timestamp> {
        let duration = current(self.strategy, run)?.duration;
        let begun = run.place.as_ref().map(|place| place.since);
        let effective = self.state.traffic.and_then(|intent| intent.in_effect);
        let since = begun.max(effective)?;
        Some(after(since, duration.unwrap_or(self.strategy.interval)))
    }

    /// Whether the run has to stay at its explicit step.
    pub(super) fn stay(&self, run: &Run) -> Option<Stay> {
        let stage = current(self.strategy, run)?;
        if let Some(end) = self.end_of_stage(run).filter(|end| self.now < *end) {
            return Some(Stay::Lasting(end));
        }
        let resumed = run.place.as_ref().is_some_and(|place| place.resumed);
        (stage.pauses && !resumed).then_some(Stay::Paused)
    }

    /// Ends a check that nothing objected to without a move.
    pub(super) fn remain(&mut self, stay: Stay) -> Last {
        self.run()?.objection = None;
        if stay == Stay::Paused && !self.awaits_person() {
            let note = self.describe_pause();
            self.run()?.held_by = Some(Reason::StepPaused.as_str().to_owned());
            self.alert(Severity::Warn, Reason::StepPaused, note);
        }
        self.end_attempt()?;
        self.idle()
    }

    /// Whether an explicit step waits for a person.
    pub(super) fn awaits_person(&self) -> bool {
        let run = self.state.run.as_ref();
        run.and_then(|run| run.held_by.as_deref()) == Some(Reason::StepPaused.as_str())
    }

    /// A person lets the explicit step pass; its next check comes at once, and then the move.
    pub(super) fn let_pass(&mut self) -> Turn {
        if !self.awaits_person() {
            return Ok(());
        }
        let run = self.run()?;
        run.held_by = None;
        run.checked_at = None;
        run.postponed = None;
        if let Some(place) = &mut run.place {
            place.resumed = true;
        }
        Ok(())
    }

    /// Waits for the next check, and says what else is waited for.
    pub(super) fn idle(&mut self) -> Last {
        if self.awaits_person() {
            return held(self.describe_pause());
        }
        wait(self.waits_for_check()?)
    }

    /// Where the run stands, between two checks and while one reads metrics.
    pub(super) fn waits_for_check(&mut self) -> Turn<String> {
        let run = self.run()?.clone();
        let stage = words(self.strategy, &run);
        let split = self.bind(crate::weight::Split {
            canary: run.weight,
            mirrored: run.mirrored,
            sticky: false,
        });
        let rest = match (&run.objection, self.stay(&run)) {
            (Some(why), _) => format!("last objection: {why}"),
            (None, Some(Stay::Lasting(end))) => {
                let end = end.round(Unit::Second).unwrap_or(end);
                format!("it lasts until {end}, with checks")
            }
            (None, Some(Stay::Paused) | None) => "waiting for the next check".to_owned(),
        };
        Ok(format!(
            "{stage}traffic is {split} (primary/canary); {rest}"
        ))
    }

    fn describe_pause(&self) -> String {
        let stage = self.state.run.as_ref();
        let stage = stage
            .map(|run| words(self.strategy, run))
            .unwrap_or_default();
        format!(
            "{stage}waiting for a person: `resume` goes on, `promote` skips the rest, `abort` \
             gives up"
        )
    }
}
