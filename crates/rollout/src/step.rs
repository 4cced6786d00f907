//! One step of the machine. Pure: no IO, no clock.
//!
//! A step looks at the phase, goes on as far as it can without touching the world, and ends with
//! effects to run or with something to wait for.
//! The rules of each phase stand in the file of that name; the rules of moving traffic, which no
//! phase may go around, in `traffic`; the order in which hooks and metrics are asked in `agenda`;
//! how the comparison of both roles is heeded in `judge`; what people may ask for in `steer`; what another controller left in `inherit`; what the
//! primary can go back to in `keep`, and what is checked after a promotion in `bake`.

mod agenda;
mod bake;
mod capacity;
mod freeze;
mod inherit;
mod judge;
mod keep;
mod progress;
mod promote;
mod remove;
mod rest;
mod stage;
mod steer;
mod traffic;

use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};

use crate::effect::{Decision, Effect, Requeue};
use crate::event::{Event, Reason, Severity};
use crate::observation::{Observation, Readiness, Revision, Role};
use crate::phase::Phase;
use crate::probe::ProbeKey;
use crate::state::{Round, Run, State};
use crate::strategy::Strategy;

/// More phases than this follow one another without an effect only in a status that someone
/// wrote by hand; the next call goes on.
const MOST_TURNS: usize = 8;

/// Decides what to do next.
///
/// # Guarantees
/// The same arguments give the same decision.
/// With the returned state, an unchanged observation and the same time, it gives the same effects
/// and no further events.
pub fn step(strategy: &Strategy, state: &State, seen: &Observation, now: Timestamp) -> Decision {
    let mut machine = Machine {
        strategy,
        seen,
        now,
        state: state.clone().written_by(now),
        effects: Vec::new(),
        events: Vec::new(),
        heard: Vec::new(),
        wake: None,
    };
    let (message, held) = machine.drive();
    let message = machine.explain(message);
    Decision {
        state: machine.state,
        effects: machine.effects,
        events: machine.events,
        heard: machine.heard,
        requeue: machine.wake.map_or(Requeue::OnChange, Requeue::At),
        message,
        held,
    }
}

/// A decision in the making.
struct Machine<'a> {
    strategy: &'a Strategy,
    seen: &'a Observation,
    now: Timestamp,
    state: State,
    effects: Vec<Effect>,
    events: Vec<Event>,
    heard: Vec<ProbeKey>,
    wake: Option<Timestamp>,
}

/// Why a turn ended.
enum Pause {
    /// There are effects to run.
    Act(String),
    /// Time or an expected change is waited for.
    Wait(String),
    /// Something stands in the way that only someone else can change.
    Held(String),
    /// The phase changed; look again.
    Again,
}

/// What a rule gives when the turn may go on.
type Turn<T = ()> = Result<T, Pause>;

/// The result of a rule that always ends the turn.
type Last = Result<Infallible, Pause>;

impl Machine<'_> {
    /// Takes turns until one ends with effects or with waiting.
    fn drive(&mut self) -> (String, bool) {
        for _ in 0..MOST_TURNS {
            let Err(pause) = self.turn();
            match pause {
                Pause::Again => {}
                Pause::Act(message) | Pause::Wait(message) => return (message, false),
                Pause::Held(message) => return (message, true),
            }
        }
        self.wake_at(self.now);
        ("going on".to_owned(), false)
    }

    /// A failure says why for as long as it stands, whatever is going on besides.
    fn explain(&self, message: String) -> String {
        if self.state.phase != Some(Phase::Failed) {
            return message;
        }
        let objection = self
            .state
            .run
            .as_ref()
            .and_then(|run| run.objection.as_deref());
        let failure = format!("rolled back: {}", objection.unwrap_or("no reason was kept"));
        match message.as_str() {
            rest::AT_REST => failure,
            doing => format!("{failure}; {doing}"),
        }
    }

    fn turn(&mut self) -> Last {
        self.steer()?;
        if self.seen.deleting {
            return self.remove();
        }
        if self.strategy.suspended {
            return wait("suspended: nothing is changed until `spec.suspend` is false");
        }
        if let Some(why) = &self.seen.invalid {
            return self.freeze(why);
        }
        if self.state.is_foreign() {
            return self.inherit();
        }
        self.note_primary();
        self.mark_primary()?;
        match self.state.phase {
            None | Some(Phase::Terminating | Phase::Terminated) => {
                self.state.phase = Some(Phase::Initializing);
                Err(Pause::Again)
            }
            Some(Phase::Initializing) => self.initialize(),
            Some(Phase::Initialized | Phase::Succeeded | Phase::Failed) => self.rest(),
            Some(Phase::Waiting) => self.await_confirmation(),
            Some(Phase::Progressing | Phase::WaitingPromotion) => self.progress(),
            Some(Phase::Promoting) => self.promote(),
            Some(Phase::Finalising) => self.finalise(),
        }
    }

    /// Keeps in mind how large the primary is: when it is deleted, the target rests without a pod.
    fn note_primary(&mut self) {
        let primary = self.seen.primary.as_ref();
        self.state.primary_lost &= primary.is_none();
        let is_ours = self.strategy.sized && self.seen.autoscaler_minimum.is_none();
        self.state.primary_replicas = match primary.map(|primary| primary.desired) {
            _ if !is_ours => None,
            Some(0) | None => self.state.primary_replicas,
            replicas => replicas,
        };
    }

    /// Goes to another phase and takes another turn.
    fn become_phase<T>(&mut self, phase: Phase) -> Turn<T> {
        self.state.phase = Some(phase);
        self.state.unready_since = None;
        Err(Pause::Again)
    }

    fn act<T>(&mut self, effect: Effect, message: impl Into<String>) -> Turn<T> {
        self.effects.push(effect);
        Err(Pause::Act(message.into()))
    }

    fn tell(&mut self, reason: Reason, note: impl Into<String>) {
        self.events.push(Event {
            reason,
            note: note.into(),
            alert: None,
        });
    }

    fn alert(&mut self, severity: Severity, reason: Reason, note: impl Into<String>) {
        self.events.push(Event {
            reason,
            note: note.into(),
            alert: Some(severity),
        });
    }

    /// Asks to be called again at `time`, or earlier when asked before.
    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |earlier| earlier.min(time)));
    }

    /// The run in progress; a status without one, which only a hand can write, starts over.
    fn run(&mut self) -> Turn<&mut Run> {
        if self.state.run.is_none() {
            return self.become_phase(Phase::Initialized);
        }
        self.state.run.as_mut().ok_or(Pause::Again)
    }

    /// The canary; one that does not exist is a workload without anything.
    fn canary(&self) -> Role {
        self.seen.canary.clone().unwrap_or_else(|| Role {
            desired: 0,
            readiness: Readiness::Pending("the target does not exist".to_owned()),
            observed: true,
            endpoints: 0,
            needed: 1,
            revision: None,
        })
    }

    /// The primary, made first when it is not there.
    fn primary(&mut self) -> Turn<Role> {
        if let Some(primary) = &self.seen.primary {
            return Ok(primary.clone());
        }
        // One that serves for the first time is as large as its target.
        let mut replicas = None;
        let revision = match (&self.state.promoted, &self.seen.revision) {
            (Some(_), _) if self.seen.canary.is_none() => {
                return held(
                    "neither the target nor its primary exists: apply the target again, or delete \
                     this Canary",
                );
            }
            (Some(promoted), Ok(_) | Err(_)) => {
                let promoted = promoted.clone();
                let least = self.seen.autoscaler_minimum;
                replicas = self.state.primary_replicas.or(least);
                if !std::mem::replace(&mut self.state.primary_lost, true) {
                    self.tell(
                        Reason::PrimaryRecreated,
                        format!("the primary is gone and is made again with revision {promoted}"),
                    );
                }
                promoted
            }
            (None, Ok(current)) => current.clone(),
            (None, Err(why)) => return wait(why.clone()),
        };
        let message = format!("making the primary with revision {revision}");
        self.act(Effect::CreatePrimary { revision, replicas }, message)
    }

    /// Makes the objects that a role needs before it can have traffic.
    fn prepare(&mut self) -> Turn {
        if self.seen.prepared {
            return Ok(());
        }
        self.act(Effect::Prepare, "making the Services of primary and canary")
    }

    /// Starts the clock of the progress deadline, and says whether it has run out.
    fn deadline_is_over(&mut self) -> bool {
        let since = *self.state.unready_since.get_or_insert(self.now);
        let deadline = after(since, self.strategy.progress_deadline);
        if self.now >= deadline {
            return true;
        }
        self.wake_at(deadline);
        false
    }

    /// Scales the canary up when it has no replicas.
    fn scale_up(&mut self) -> Turn {
        if !self.strategy.sized || self.seen.canary.is_none() || self.canary().desired > 0 {
            return Ok(());
        }
        let primary = self
            .seen
            .primary
            .as_ref()
            .map_or(1, |primary| primary.desired);
        let asked = self.seen.autoscaler_minimum.or_else(|| self.size());
        let replicas = asked.unwrap_or(primary).max(1);
        self.act(
            Effect::ScaleCanary { replicas },
            format!("scaling the canary to {replicas}"),
        )
    }

    /// Starts a run of `revision`; a retained canary keeps its traffic through it.
    fn begin(&mut self, revision: Revision, first: Phase) {
        let id = self
            .state
            .run
            .as_ref()
            .map_or(0, |run| run.id)
            .saturating_add(1);
        let mut run = Run::new(id, revision);
        if self.state.retained {
            run.weight = crate::weight::Weight::FULL;
        }
        self.state.run = Some(run);
        self.state.closing = false;
        self.state.phase = Some(first);
        self.state.unready_since = None;
    }

    /// Ends the run: its traffic goes back, its hooks are called, `phase` says how it ended.
    fn end<T>(&mut self, phase: Phase) -> Turn<T> {
        let run = self.run()?;
        run.mirrored = false;
        run.withdrawn = false;
        run.held_by = None;
        run.round = Round::default();
        self.state.closing = true;
        self.state.paused = false;
        self.become_phase(phase)
    }
}

fn wait<T>(message: impl Into<String>) -> Turn<T> {
    Err(Pause::Wait(message.into()))
}

fn held<T>(message: impl Into<String>) -> Turn<T> {
    Err(Pause::Held(message.into()))
}

/// `time` and `duration`, at the latest the end of time.
fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
