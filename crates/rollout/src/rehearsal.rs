//! A rollout played through where nothing goes wrong by itself: pods are ready at once, proxies
//! confirm at once, hooks agree, people let each step pass, and the caller says what the metrics
//! answer. Pure.
//!
//! It is the real machine, on a world that obeys: what it decides here it decides there, in the
//! same order. So a rehearsal tells how a rollout goes at its fastest, and how a recorded release
//! would have gone.

use jiff::Timestamp;

use crate::command::{Request, Verb};
use crate::effect::{Decision, Effect, Requeue};
use crate::event::{Event, Reason};
use crate::observation::{Answer, Observation, Readiness, Revision, Role};
use crate::probe::{HookKind, Probe, Verdict};
use crate::stage::Selection;
use crate::state::State;
use crate::step::step;
use crate::strategy::Strategy;
use crate::weight::Split;

/// A rollout of more scenes is not told to its end.
const MOST_SCENES: usize = 10_000;

/// One decision, and when it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// When.
    pub at: Timestamp,
    /// What was decided.
    pub decision: Decision,
    /// What the metrics answered, when the decision followed from that.
    pub heard: Option<Verdict>,
}

/// How a rehearsal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The machine is at rest, or is held by something that the rehearsal cannot change.
    AtRest,
    /// The time was over.
    OutOfTime,
    /// It was too long to be told.
    Endless,
}

/// A rollout played through.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsal {
    /// The decisions, in order.
    pub scenes: Vec<Scene>,
    /// How it ended.
    pub ending: Ending,
    /// What is waited for at the end.
    pub message: String,
    /// The state at the end.
    pub state: State,
    /// The world at the end.
    pub seen: Observation,
}

/// Plays a rollout from `state` and what is `seen`, beginning at `now`, at most until `end`.
///
/// `judge` answers for some of the metrics at a time. Nobody sends requests that could be compared,
/// so that a comparison of both roles is left out, as if it showed no harm; a rehearsal ends with
/// the promotion, so that nothing bakes.
pub fn rehearse(
    strategy: &Strategy,
    state: &State,
    seen: &Observation,
    now: Timestamp,
    end: Timestamp,
    mut judge: impl FnMut(Timestamp, &Selection) -> Verdict,
) -> Rehearsal {
    let strategy = &Strategy {
        judgement: None,
        bake: None,
        ..strategy.clone()
    };
    let (mut now, mut state) = (now, state.clone());
    let mut world = World::new(seen);
    let mut scenes = Vec::new();
    let mut heard = None;
    let mut message = String::new();
    let ending = loop {
        if scenes.len() >= MOST_SCENES {
            break Ending::Endless;
        }
        let decision = step(strategy, &state, &world.0, now);
        world.0.answers.clear();
        if decision.events.iter().any(is_pause) {
            let token = format!("{}@step-{}", Verb::Resume, scenes.len());
            world.0.command = Some(Request::new(&token, None));
        }
        message.clone_from(&decision.message);
        for effect in &decision.effects {
            world.obey(effect, |metrics| {
                let verdict = judge(now, metrics);
                heard = Some(verdict.clone());
                verdict
            });
        }
        let is_idle = decision.effects.is_empty();
        let is_news = !is_idle || !decision.events.is_empty() || decision.state != state;
        let (requeue, gone) = (
            decision.requeue,
            decision.effects.contains(&Effect::GiveBack),
        );
        state = decision.state.clone();
        if is_news {
            let asks = decision
                .effects
                .iter()
                .any(|effect| effect.question().is_some());
            scenes.push(Scene {
                at: now,
                decision,
                heard: if asks { None } else { heard.take() },
            });
        }
        match requeue {
            _ if gone => break Ending::AtRest,
            _ if !is_idle => {}
            _ if world.is_asked(&state) => {}
            Requeue::At(time) if time > end => break Ending::OutOfTime,
            Requeue::At(time) if time > now => now = time,
            Requeue::At(_) if is_news => {}
            Requeue::At(_) | Requeue::OnChange => break Ending::AtRest,
        }
    };
    Rehearsal {
        scenes,
        ending,
        message,
        state,
        seen: world.0,
    }
}

fn is_pause(event: &Event) -> bool {
    event.reason == Reason::StepPaused
}

/// What an obedient world looks like.
struct World(Observation);

impl World {
    fn new(seen: &Observation) -> Self {
        let mut world = seen.clone();
        world.answers.clear();
        world.acked = true;
        for role in [&mut world.canary, &mut world.primary]
            .into_iter()
            .flatten()
        {
            come_up(role);
        }
        Self(world)
    }

    /// Whether a person asks for something that was not handled yet.
    fn is_asked(&self, state: &State) -> bool {
        let command = self.0.command.as_ref().map(Request::token);
        let handled = state.commands.first().map(|one| one.token.as_str());
        command.is_some() && command != handled
    }

    fn obey(&mut self, effect: &Effect, judge: impl FnOnce(&Selection) -> Verdict) {
        let world = &mut self.0;
        match effect {
            Effect::Prepare => world.prepared = true,
            Effect::CreatePrimary { revision, replicas } => {
                let of_canary = world.canary.as_ref().map_or(1, |canary| canary.desired);
                let desired = replicas.unwrap_or(of_canary);
                let mut primary = role(desired.max(1));
                primary.revision = Some(revision.clone());
                world.primary = Some(primary);
            }
            Effect::Route { split } => {
                world.split = Some(*split);
                world.routes_current = true;
            }
            Effect::SetSplit { to, .. } => world.split = Some(*to),
            Effect::ScaleCanary { replicas } => {
                let revision = world.current().cloned();
                if let Some(canary) = &mut world.canary {
                    *canary = Role {
                        revision,
                        ..role(*replicas)
                    };
                }
            }
            Effect::PromotePrimary { revision, .. }
            | Effect::RestorePrimary { revision, .. }
            | Effect::MarkPrimary { revision } => {
                if let Some(primary) = &mut world.primary {
                    primary.revision = Some(revision.clone());
                }
            }
            Effect::Ask { key, probe } => world.answers.push(Answer {
                key: key.clone(),
                verdict: match probe {
                    Probe::Hook { kind, .. } => agree(*kind),
                    Probe::Metrics { which, .. } => judge(which),
                },
            }),
            Effect::GiveBack => {}
        }
    }
}

/// What an obedient hook answers.
fn agree(kind: HookKind) -> Verdict {
    match kind {
        // Its agreement would end the run.
        HookKind::Rollback => Verdict::Failed("nobody asks for it".to_owned()),
        HookKind::ConfirmRollout
        | HookKind::PreRollout
        | HookKind::Rollout
        | HookKind::ConfirmTrafficIncrease
        | HookKind::ConfirmPromotion
        | HookKind::PostRollout => Verdict::Passed,
    }
}

fn role(desired: u32) -> Role {
    let mut role = Role {
        desired,
        readiness: Readiness::Ready,
        observed: true,
        endpoints: 0,
        needed: 1,
        revision: None,
    };
    come_up(&mut role);
    role
}

fn come_up(role: &mut Role) {
    role.readiness = Readiness::Ready;
    role.needed = role.desired.max(1);
    role.endpoints = role.desired;
}

impl Observation {
    /// A Canary that is at rest: the primary serves `promoted`, and the target asks for `wanted`.
    pub fn at_rest(promoted: Revision, wanted: Revision) -> Self {
        let mut primary = role(1);
        primary.revision = Some(promoted);
        Self {
            revision: Ok(wanted),
            canary: Some(role(0)),
            primary: Some(primary),
            autoscaler_minimum: None,
            prepared: true,
            split: Some(Split::PRIMARY),
            routes_current: true,
            acked: true,
            answers: Vec::new(),
            counted: None,
            deleting: false,
            inheritance: None,
            invalid: None,
            command: None,
        }
    }
}
