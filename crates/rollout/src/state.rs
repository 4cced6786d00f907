//! What outlives a restart: only what `.status` stores. Pure data.

use jiff::Timestamp;

use crate::command::Handled;
use crate::judgement::Record;
use crate::observation::Revision;
use crate::phase::Phase;
use crate::weight::{Split, Weight};

/// The stored state of a Canary.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub struct State {
    /// Where it stands; `None` before the first step.
    pub phase: Option<Phase>,
    /// The revision that the primary was last proven to run.
    pub promoted: Option<Revision>,
    /// The replicas that the primary had last, where no autoscaler of the Canary scales it: what it
    /// is made again with when somebody deletes it.
    pub primary_replicas: Option<u32>,
    /// Whether people were told that the primary is gone; until it is back.
    pub primary_lost: bool,
    /// The revisions that are not tried again: the one that failed last, and those that were gone
    /// back from since the last promotion.
    pub refused: Vec<Revision>,
    /// The revisions that the primary ran before and can be given back; the last one comes first.
    pub kept: Vec<Revision>,
    /// The run in progress, or the last one.
    pub run: Option<Run>,
    /// What the routes are meant to be.
    pub traffic: Option<Intent>,
    /// Whether the canary keeps the traffic because a promotion failed.
    pub retained: bool,
    /// Whether the end of the run still has hooks to call.
    pub closing: bool,
    /// Since when the workload that is waited for has not been ready.
    pub unready_since: Option<Timestamp>,
    /// Whether a person wants the run to stand still.
    pub paused: bool,
    /// The commands that were handled; the one that was seen last comes first.
    pub commands: Vec<Handled>,
}

impl State {
    /// Whether something is on its way.
    pub fn is_under_way(&self) -> bool {
        self.phase.is_some_and(|phase| !phase.rests())
    }

    /// Whether another controller wrote it: it has a phase, and we never proved what the primary
    /// runs.
    pub const fn is_foreign(&self) -> bool {
        match self.phase {
            None | Some(Phase::Initializing | Phase::Terminating | Phase::Terminated) => false,
            Some(
                Phase::Initialized
                | Phase::Waiting
                | Phase::Progressing
                | Phase::WaitingPromotion
                | Phase::Promoting
                | Phase::Finalising
                | Phase::Succeeded
                | Phase::Failed,
            ) => self.promoted.is_none(),
        }
    }

    /// What a clock that says `now` can have written: times of one that was ahead become `now`, as
    /// everything would wait for them otherwise.
    pub(crate) fn written_by(mut self, now: Timestamp) -> Self {
        if let Some(Intent {
            since, in_effect, ..
        }) = &mut self.traffic
        {
            *since = now.min(*since);
            *in_effect = in_effect.map(|time| now.min(time));
        }
        if let Some(run) = &mut self.run {
            let ahead = run.checked_at.is_some_and(|time| time > now);
            if let Some(postponed) = &mut run.postponed {
                postponed.since = now.min(postponed.since);
                if ahead {
                    postponed.until = now;
                }
            }
            run.checked_at = run.checked_at.map(|time| now.min(time));
            if let Some(place) = &mut run.place {
                place.since = now.min(place.since);
            }
            if let Some(bake) = &mut run.bake {
                bake.since = now.min(bake.since);
            }
            let now = u64::try_from(now.as_millisecond()).unwrap_or_default();
            run.record.written_by(now);
        }
        self.unready_since = self.unready_since.map(|time| now.min(time));
        self
    }
}

/// One run: a revision on its way.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub struct Run {
    /// Counts the runs of this Canary.
    pub id: u64,
    /// What is being rolled out.
    pub revision: Revision,
    /// Counts the moves of this run.
    pub step: u32,
    /// The canary's weight at this step.
    pub weight: Weight,
    /// Whether requests are mirrored at this step.
    pub mirrored: bool,
    /// Iterations begun.
    pub iterations: u32,
    /// Failed checks so far.
    pub failed_checks: u32,
    /// Whether the pre-rollout hooks have passed.
    pub warmed: bool,
    /// Whether traffic is away from the canary until it has ready endpoints again.
    pub withdrawn: bool,
    /// Whether promotion has begun to hand traffic back.
    pub returning: bool,
    /// When the last check or gate ended without a move.
    pub checked_at: Option<Timestamp>,
    /// Whether a hook wants to be asked again later.
    pub postponed: Option<Postponed>,
    /// The questions of the current attempt.
    pub round: Round,
    /// What was learned by comparing the canary with the primary.
    pub record: Record,
    /// The gate that holds the run, so that people are told once.
    pub held_by: Option<String>,
    /// Why the last check failed or the last gate refused.
    pub objection: Option<String>,
    /// Whether a person wants promotion without further analysis.
    pub shortcut: Option<Shortcut>,
    /// Where it stands among explicit steps; `None` before the first.
    pub place: Option<Place>,
    /// Since when it bakes, once it is promoted.
    pub bake: Option<Bake>,
}

/// A time after promotion in which checks go on, of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bake {
    /// When it began.
    pub since: Timestamp,
    /// Failed checks since.
    pub failed_checks: u32,
}

/// A hook wants to be asked again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// Since when it has said so.
    pub since: Timestamp,
    /// When it is asked again.
    pub until: Timestamp,
}

/// Where a run stands among explicit steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the step, from 1.
    pub number: u32,
    /// When it began.
    pub since: Timestamp,
    /// Whether a person has let it pass.
    pub resumed: bool,
}

/// How much of what stands between a run and its promotion is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// The analysis; gates are still asked.
    Promote,
    /// The analysis and the gates.
    PromoteFull,
}

impl Run {
    /// A run that has done nothing yet.
    pub fn new(id: u64, revision: Revision) -> Self {
        Self {
            id,
            revision,
            step: 0,
            weight: Weight::ZERO,
            mirrored: false,
            iterations: 0,
            failed_checks: 0,
            warmed: false,
            withdrawn: false,
            returning: false,
            checked_at: None,
            postponed: None,
            round: Round::default(),
            record: Record::default(),
            held_by: None,
            objection: None,
            shortcut: None,
            place: None,
            bake: None,
        }
    }

    /// The split that this step asks for, but for what binds clients.
    pub const fn split(&self) -> Split {
        if self.withdrawn {
            Split::PRIMARY
        } else {
            Split {
                canary: self.weight,
                mirrored: self.mirrored,
                sticky: false,
            }
        }
    }

    /// Whether the canary has been given anything to show yet.
    pub fn has_begun(&self) -> bool {
        self.mirrored || self.weight > Weight::ZERO || self.iterations > 0 || self.place.is_some()
    }
}

/// One pass through an agenda of questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Counts the passes within a step.
    pub attempt: u32,
    /// The questions with a recorded answer that lets the agenda go on.
    pub passed: Vec<String>,
    /// The question in flight; after a crash, the one in doubt.
    pub asked: Option<String>,
}

/// A split that the routes are meant to have, written down before they are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// What they are to become.
    pub target: Split,
    /// What they were when the intent was written.
    pub before: Split,
    /// When the intent was written or renewed.
    pub since: Timestamp,
    /// When it was seen to be in effect.
    pub in_effect: Option<Timestamp>,
}
