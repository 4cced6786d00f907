//! What a Canary leads to, before it does: its rollout played through by the machine, and every
//! write tried by the code that would make it. Keeps nothing.

use fairlead_crds::canary::Canary;
use fairlead_rollout::{
    Effect, Phase, Revision, Scene, Selection, State, Verdict, Weight, rehearse,
};
use fairlead_runtime::report;
use jiff::Timestamp;
use kube::Client;

use super::cluster::Cluster;
use super::observe::World;
use super::status;
use super::takeover::Incumbent;
use super::validate::Validated;
use crate::dry_run::{self, Write};

/// The revision that a release to come has.
const NEXT: &str = "next";

/// What a Canary leads to.
#[derive(Clone, Debug)]
pub struct Preview {
    /// What the machine decides, at its fastest: first what is to be done now, then a release.
    pub scenes: Vec<Scene>,
    /// What is waited for in the end.
    pub waits: String,
    /// What is written, each thing once, by whatever comes first.
    pub changes: Vec<Change>,
    /// What could not be tried, and why.
    pub troubles: Vec<String>,
    /// Whether somebody wrote at the same time, so that looking again would tell more.
    pub freshness: Freshness,
}

/// Whether what was seen is still so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    Fresh,
    /// Objects were changed meanwhile.
    Overtaken,
}

/// Writes that one effect makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, in a few words.
    pub when: &'static str,
    /// The writes, in order.
    pub writes: Vec<Write>,
}

/// Plays a Canary through.
///
/// # Errors
/// When the cluster cannot be looked at; the text is for people.
pub async fn preview(
    client: &Client,
    canary: &Canary,
    plan: &Validated,
    now: Timestamp,
) -> Result<Preview, String> {
    let state = status::load(&canary.status.clone().unwrap_or_default());
    let mut plan = plan.clone();
    plan.route.follow(&state);
    let (trying, writes) = dry_run::client(client.clone());
    let trying = Cluster::new(trying);
    let observer = trying.observer(&plan, None, Incumbent::Heeded);
    let world = Box::pin(observer.world(&state)).await;
    let world = world.map_err(|error| report(&error).to_string())?;
    let (scenes, waits) = play(&plan, &state, &world, now);
    if let Some(last) = scenes.last() {
        plan.route.follow(&last.decision.state);
    }
    let executor = trying.executor(&plan, &world);
    let mut changes: Vec<Change> = Vec::new();
    let mut troubles = Vec::new();
    let mut freshness = Freshness::Fresh;
    for effect in first_of_each(&scenes, &world) {
        let Some(when) = when(&effect) else { continue };
        if let Err(error) = Box::pin(executor.execute(&effect)).await {
            if error.is_stale() {
                freshness = Freshness::Overtaken;
            }
            troubles.push(format!("{when}: {}", report(&error)));
        }
        changes.push(Change {
            when,
            writes: writes.take(),
        });
    }
    Ok(Preview {
        scenes,
        waits,
        changes,
        troubles,
        freshness,
    })
}

/// What is to be done now, and then a release: the one that waits already, or one to come.
fn play(plan: &Validated, state: &State, world: &World, now: Timestamp) -> (Vec<Scene>, String) {
    let passed = |_, _: &Selection| Verdict::Passed;
    let end = Timestamp::MAX;
    let strategy = &plan.strategy;
    let mut first = rehearse(strategy, state, &world.observation, now, end, passed);
    let runs_before = state.run.as_ref().map(|run| run.id);
    let runs_after = first.state.run.as_ref().map(|run| run.id);
    let was_in_flight = state.is_under_way();
    let rests = first.state.phase.is_some_and(Phase::rests);
    let has_released = runs_before != runs_after || (was_in_flight && runs_before.is_some());
    if has_released || !rests || first.state.promoted.is_none() {
        return (first.scenes, first.message);
    }
    first.seen.revision = Ok(Revision(NEXT.to_owned()));
    let begin = first.scenes.last().map_or(now, |scene| scene.at);
    let then = rehearse(strategy, &first.state, &first.seen, begin, end, passed);
    first.scenes.extend(then.scenes);
    (first.scenes, then.message)
}

/// The effects that write, the first of each kind, with the target's template for a release that
/// is to come.
fn first_of_each(scenes: &[Scene], world: &World) -> Vec<Effect> {
    let current = world.observation.current();
    let real = |revision: &Revision| match current {
        Some(current) if revision.0 == NEXT => current.clone(),
        Some(_) | None => revision.clone(),
    };
    let mut told = Vec::new();
    let mut found = Vec::new();
    for effect in scenes.iter().flat_map(|scene| &scene.decision.effects) {
        let Some(when) = when(effect) else { continue };
        if told.contains(&when) {
            continue;
        }
        told.push(when);
        found.push(match effect {
            Effect::PromotePrimary { revision, keeping } => Effect::PromotePrimary {
                revision: real(revision),
                keeping: keeping.clone(),
            },
            Effect::CreatePrimary { revision, replicas } => Effect::CreatePrimary {
                revision: real(revision),
                replicas: *replicas,
            },
            other => other.clone(),
        });
    }
    found
}

/// When an effect comes; `None` for one that writes nothing.
fn when(effect: &Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::Prepare => "Services and policies are made",
        Effect::CreatePrimary { .. } => "the primary is made",
        Effect::Route { .. } => "traffic is led to the primary",
        Effect::SetSplit { to, .. } if to.canary > Weight::ZERO || to.mirrored => {
            "the first weight is set"
        }
        Effect::SetSplit { .. } => "traffic returns to the primary",
        Effect::ScaleCanary { replicas: 0 } => "the target rests",
        Effect::ScaleCanary { .. } => "a release begins",
        Effect::PromotePrimary { .. } => "the primary gets the release",
        Effect::RestorePrimary { .. } => "the primary gets back what it ran",
        Effect::MarkPrimary { .. } => "the primary is marked",
        Effect::GiveBack => "all is given back",
        Effect::Ask { .. } => return None,
    })
}
