//! Rehearsals: the real machine in a world that obeys.

use fairlead_rollout::{
    Effect, Ending, HookKind, Observation, Phase, Probe, Reason, Rehearsal, Revision, State,
    Strategy, Verdict, rehearse,
};
use jiff::{SignedDuration, Timestamp};

use crate::staged::{staged, stages};
use crate::world::{World, hook, weighted};

fn revision(name: &str) -> Revision {
    Revision(name.to_owned())
}

fn play(strategy: &Strategy, mut judge: impl FnMut(Timestamp) -> Verdict) -> Rehearsal {
    let state = State {
        phase: Some(Phase::Initialized),
        promoted: Some(revision("one")),
        ..State::default()
    };
    let seen = Observation::at_rest(revision("one"), revision("two"));
    let begin = Timestamp::UNIX_EPOCH;
    let end = begin + SignedDuration::from_secs(600);
    rehearse(strategy, &state, &seen, begin, end, |now, _| judge(now))
}

fn seconds(rehearsal: &Rehearsal, reason: Reason) -> Vec<i64> {
    let scenes = rehearsal.scenes.iter();
    let told = scenes.filter(|scene| {
        let events = &scene.decision.events;
        events.iter().any(|event| event.reason == reason)
    });
    told.map(|scene| scene.at.as_second()).collect()
}

#[test]
fn a_rollout_at_its_fastest_takes_an_interval_for_each_step() {
    let played = play(&weighted(25, 50), |_| Verdict::Passed);
    assert_eq!(played.ending, Ending::AtRest);
    assert_eq!(played.state.phase, Some(Phase::Succeeded));
    assert_eq!(played.state.promoted, Some(revision("two")));
    let begun = seconds(&played, Reason::NewRevision);
    let promoted = seconds(&played, Reason::Promoting);
    assert_eq!((begun, promoted), (vec![0], vec![20]));
}

#[test]
fn a_judge_that_objects_rolls_back_at_the_threshold() {
    let mut asked = 0;
    let played = play(&weighted(25, 50), |_| {
        asked += 1;
        Verdict::Failed("too slow".to_owned())
    });
    assert_eq!(played.state.phase, Some(Phase::Failed));
    assert_eq!(seconds(&played, Reason::CheckFailed), [10, 20]);
    assert_eq!(asked, 2);
    let heard = played.scenes.iter().filter(|scene| scene.heard.is_some());
    assert_eq!(heard.count(), 2);
}

#[test]
fn a_rehearsal_ends_with_its_time() {
    let mut slow = weighted(1, 100);
    slow.interval = SignedDuration::from_secs(300);
    let played = play(&slow, |_| Verdict::Passed);
    assert_eq!(played.ending, Ending::OutOfTime);
    assert_eq!(played.state.phase, Some(Phase::Progressing));
}

#[test]
fn every_hook_has_its_turn_and_a_rollback_hook_is_not_obeyed() {
    let mut strategy = weighted(50, 50);
    strategy.hooks = vec![hook(HookKind::ConfirmRollout), hook(HookKind::Rollback)];
    let played = play(&strategy, |_| Verdict::Passed);
    assert_eq!(played.state.phase, Some(Phase::Succeeded));
    let effects = played
        .scenes
        .iter()
        .flat_map(|scene| &scene.decision.effects);
    let mut called: Vec<HookKind> = effects
        .filter_map(|effect| match effect {
            Effect::Ask {
                probe: Probe::Hook { kind, .. },
                ..
            } => Some(*kind),
            _ => None,
        })
        .collect();
    called.dedup();
    assert_eq!(called, [HookKind::ConfirmRollout, HookKind::Rollback]);
}

#[test]
fn a_canary_that_nobody_has_looked_at_is_initialised_first() {
    let world = World::new(weighted(50, 50));
    let seen = world.observe(Vec::new());
    let begin = Timestamp::UNIX_EPOCH;
    let state = State::default();
    let strategy = weighted(50, 50);
    let played = rehearse(&strategy, &state, &seen, begin, begin, |_, _| {
        Verdict::Passed
    });
    assert_eq!(played.state.phase, Some(Phase::Initialized));
    let effects = played
        .scenes
        .iter()
        .flat_map(|scene| &scene.decision.effects);
    assert!(effects.clone().any(|effect| *effect == Effect::Prepare));
    assert!(
        effects
            .clone()
            .any(|effect| matches!(effect, Effect::CreatePrimary { .. }))
    );
}

#[test]
fn steps_that_wait_for_a_person_are_let_pass_at_once() {
    let mut steps = stages(&[10, 50]);
    for step in &mut steps {
        step.pauses = true;
    }
    let played = play(&staged(steps), |_| Verdict::Passed);
    assert_eq!(played.ending, Ending::AtRest);
    assert_eq!(played.state.phase, Some(Phase::Succeeded));
    assert_eq!(seconds(&played, Reason::Resumed), [10, 20]);
}
