//! Stories of the judgement: what the comparison of both roles does to a run.

use fairlead_rollout::judgement::Progress;
use fairlead_rollout::{Phase, Reason, Strategy};
use jiff::SignedDuration;

use crate::world::{Act, Crash, Nature, World, judged, weighted};

/// A rollout of two steps whose checks come once in five minutes.
fn slow() -> Strategy {
    judged(Strategy {
        interval: SignedDuration::from_mins(5),
        ..weighted(10, 20)
    })
}

fn released(strategy: Strategy, nature: Nature) -> World {
    let mut world = World::initialized(strategy);
    world.act(Act::Release(nature));
    world.run_until(60, |world| world.weight() == 10);
    world
}

fn objection(world: &World) -> String {
    let run = world.state.run.as_ref();
    run.and_then(|run| run.objection.clone())
        .unwrap_or_default()
}

#[test]
fn harm_ends_the_run_at_once_and_not_at_the_next_check() {
    let mut world = released(slow(), Nature::Worse);
    world.run_until(8, |world| world.phase() == Phase::Failed);
    assert_eq!((world.weight(), world.measures), (0, 0));
    let why = objection(&world);
    assert!(
        why.starts_with("request-success-rate: the canary is worse"),
        "{why}"
    );
    assert!(world.has(Reason::RolledBack));
    let failed = world.state.run.as_ref().map(|run| run.failed_checks);
    assert_eq!(failed, Some(0), "no check was due");
}

#[test]
fn without_a_judgement_nothing_of_it_is_heeded() {
    let strategy = Strategy {
        judgement: None,
        ..slow()
    };
    let mut world = released(strategy, Nature::Worse);
    world.run_for(60);
    assert_eq!((world.phase(), world.weight()), (Phase::Progressing, 10));
}

#[test]
fn a_paused_run_and_a_spec_that_is_broken_do_not_keep_harm() {
    for act in [Act::Ask("pause"), Act::BreakSpec] {
        let mut world = released(slow(), Nature::Worse);
        // The weight is in effect a second later.
        world.run_for(2);
        assert_eq!(world.phase(), Phase::Progressing);
        world.act(act);
        world.run_until(10, |world| world.phase() == Phase::Failed);
        assert_eq!(world.weight(), 0, "{act:?}");
    }
}

#[test]
fn a_person_may_promote_in_spite_of_it() {
    let mut world = released(slow(), Nature::Worse);
    world.act(Act::Ask("promote-full"));
    world.run_for(60);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn an_equal_revision_is_promoted_after_the_planned_time_and_no_earlier() {
    let mut times = Vec::new();
    for strategy in [
        slow(),
        Strategy {
            judgement: None,
            ..slow()
        },
    ] {
        let mut world = released(strategy, Nature::Good);
        let begun = world.now;
        world.run_until(1000, |world| world.phase() == Phase::Succeeded);
        times.push(world.now.duration_since(begun));
    }
    assert_eq!(times[0], times[1]);
}

#[test]
fn too_few_requests_are_no_pass() {
    let mut world = World::initialized(slow());
    world.requests = 2.0;
    world.act(Act::Release(Nature::Good));
    world.run_until(700, |world| world.has(Reason::CheckFailed));
    assert_eq!(world.weight(), 20, "it stays and goes on counting");
    let why = objection(&world);
    assert!(why.contains("inconclusive"), "{why}");
    world.run_until(700, |world| world.phase() == Phase::Failed);
    let record = world.state.run.as_ref().map(|run| &run.record);
    assert_eq!(
        record.map(|record| record.progress),
        Some(Progress::Complete)
    );
}

#[test]
fn what_was_inconclusive_passes_once_there_is_enough() {
    let mut world = World::initialized(slow());
    world.requests = 2.0;
    world.act(Act::Release(Nature::Good));
    world.run_until(700, |world| world.has(Reason::CheckFailed));
    world.requests = 1000.0;
    world.run_until(400, |world| world.phase() == Phase::Succeeded);
}

#[test]
fn a_new_run_begins_with_nothing() {
    let mut world = released(slow(), Nature::Worse);
    world.run_until(10, |world| world.phase() == Phase::Failed);
    world.run_for(30);
    world.act(Act::Release(Nature::Good));
    world.run_until(1000, |world| world.phase() == Phase::Succeeded);
}

#[test]
fn a_crash_around_any_write_counts_nothing_twice() {
    let acts = |world: &mut World| {
        world.run_for(60);
        world.act(Act::Release(Nature::Good));
        world.run_until(800, |world| world.phase() == Phase::Promoting);
    };
    let mut calm = World::new(judged(weighted(25, 50)));
    acts(&mut calm);
    for at in 0..calm.writes {
        for written in [false, true] {
            let mut world = World::new(judged(weighted(25, 50)));
            world.crash = Some(Crash {
                at,
                written,
                meanwhile: None,
            });
            acts(&mut world);
            let run = world.state.run.as_ref().expect("a run");
            let [learned, _] = run.record.failures.canary;
            // A crash loses the blocks of its second at most: with 500 requests to the canary.
            let lost = world.counted - learned;
            assert!(
                (0.0..=501.0).contains(&lost),
                "write {at}: {lost} of {}",
                world.counted
            );
        }
    }
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_blocks_out() {
    let mut world = released(slow(), Nature::Good);
    world.run_for(5);
    let blocks = |world: &World| {
        let run = world.state.run.as_ref().expect("a run");
        run.record.failures.spread.blocks
    };
    let before = blocks(&world);
    if let Some(run) = &mut world.state.run {
        run.record.failures.last_block = Some(u64::MAX);
    }
    world.run_for(5);
    assert!(blocks(&world) >= before + 4);
}
