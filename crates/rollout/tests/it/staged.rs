//! Stories of explicit steps: what each of them waits for, asks and scales.

use fairlead_rollout::{Phase, Plan, Reason, Selection, Size, Stage, Strategy, Weight, step};
use jiff::SignedDuration;

use crate::world::{Act, Nature, World, weighted};

/// Explicit steps with these weights, and nothing else.
pub(crate) fn stages(weights: &[i64]) -> Vec<Stage> {
    let plain = |weight: &i64| Stage {
        weight: Weight::clamped(*weight),
        duration: None,
        pauses: false,
        hooks: Selection::All,
        metrics: Selection::All,
        size: None,
    };
    weights.iter().map(plain).collect()
}

pub(crate) fn staged(stages: Vec<Stage>) -> Strategy {
    Strategy {
        plan: Plan::Staged {
            stages,
            mirror: false,
        },
        ..weighted(1, 1)
    }
}

/// Steps of 10, 30 and 60, of which `change` edits the first.
fn strategy(change: impl FnOnce(&mut Stage)) -> Strategy {
    let mut stages = stages(&[10, 30, 60]);
    change(&mut stages[0]);
    staged(stages)
}

/// A rollout that has reached its first step.
fn begun(strategy: Strategy) -> World {
    let mut world = World::initialized(strategy);
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 10);
    world
}

fn number(world: &World) -> Option<u32> {
    let run = world.state.run.as_ref()?;
    run.place.map(|place| place.number)
}

#[test]
fn each_step_gets_its_weight_and_its_check() {
    let mut world = begun(strategy(|_| {}));
    let mut seen = vec![world.weight()];
    for _ in 0..120 {
        world.run_for(1);
        if seen.last() != Some(&world.weight()) {
            seen.push(world.weight());
        }
    }
    assert_eq!(seen, [10, 30, 60, 0]);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert_eq!(world.measures, 3);
    let told = |event: &&fairlead_rollout::Event| event.reason == Reason::StepStarted;
    let notes: Vec<&str> = world
        .events
        .iter()
        .filter(told)
        .map(|event| event.note.as_str())
        .collect();
    assert_eq!(
        notes,
        [
            "step 1 of 3: weight 10",
            "step 2 of 3: weight 30",
            "step 3 of 3: weight 60"
        ]
    );
}

#[test]
fn a_step_lasts_its_time_with_a_check_each_interval_and_one_at_its_end() {
    let mut world = begun(strategy(|stage| {
        stage.duration = Some(SignedDuration::from_secs(25));
    }));
    world.run_for(24);
    assert_eq!((world.weight(), world.measures), (10, 2));
    world.run_until(5, |world| world.weight() == 30);
    assert_eq!(world.measures, 3, "at 10, 20 and 25 seconds");
}

#[test]
fn a_step_shorter_than_the_interval_ends_in_time() {
    let mut world = begun(strategy(|stage| {
        stage.duration = Some(SignedDuration::from_secs(4));
    }));
    world.run_until(6, |world| world.weight() == 30);
    assert_eq!(world.measures, 1);
}

#[test]
fn a_step_that_pauses_waits_for_a_person_and_checks_meanwhile() {
    let mut world = begun(strategy(|stage| stage.pauses = true));
    world.run_for(100);
    assert_eq!((world.weight(), number(&world)), (10, Some(1)));
    assert!(world.measures > 5, "{} checks", world.measures);
    let told = world.events.iter();
    let told = told.filter(|event| event.reason == Reason::StepPaused);
    assert_eq!(told.count(), 1, "people are told once");
    world.act(Act::Ask("resume"));
    world.run_for(2);
    assert_eq!((world.weight(), number(&world)), (30, Some(2)));
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_revision_that_turns_bad_while_a_person_is_waited_for_is_rolled_back() {
    let mut world = begun(strategy(|stage| stage.pauses = true));
    world.run_for(30);
    assert!(world.has(Reason::StepPaused));
    world.turn_bad();
    world.run_for(30);
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
}

#[test]
fn a_step_that_waits_for_a_person_can_be_skipped_with_all_the_rest() {
    let mut world = begun(strategy(|stage| stage.pauses = true));
    world.run_for(30);
    world.act(Act::Ask("promote"));
    world.run_for(60);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn nothing_but_its_own_pause_is_ended_by_resume() {
    let mut world = begun(strategy(|stage| {
        stage.pauses = true;
        stage.duration = Some(SignedDuration::from_secs(60));
    }));
    world.run_for(5);
    world.act(Act::Ask("resume"));
    world.run_for(1);
    assert!(world.has(Reason::CommandRefused), "it is not paused yet");
    world.act(Act::Ask("pause"));
    world.run_for(5);
    world.act(Act::Ask("resume"));
    world.run_for(120);
    assert_eq!(
        (world.weight(), number(&world)),
        (10, Some(1)),
        "the pause of a person was another one"
    );
    world.act(Act::Ask("resume"));
    world.run_for(2);
    assert_eq!(world.weight(), 30);
}

#[test]
fn the_end_of_a_step_is_told_to_the_second() {
    let mut world = begun(strategy(|stage| {
        stage.duration = Some(SignedDuration::from_secs(60));
    }));
    world.run_for(3);
    let run = world.state.run.as_mut().expect("a run");
    let place = run.place.as_mut().expect("a step");
    place.since += SignedDuration::from_nanos(123_456_789);
    if let Some(intent) = &mut world.state.traffic {
        intent.in_effect = Some(place.since);
    }
    let seen = world.observe(Vec::new());
    let message = step(&world.strategy, &world.state, &seen, world.now).message;
    let end = message.split("it lasts until ").nth(1).unwrap_or_default();
    assert!(end.starts_with("1970-") && !end.contains('.'), "{message}");
}

#[test]
fn a_step_asks_only_what_it_names() {
    let latency = Selection::Only(vec!["latency".to_owned()]);
    let mut world = begun(strategy(|stage| stage.metrics = latency.clone()));
    world.run_until(60, |world| world.weight() == 60);
    assert_eq!(world.measured, [latency, Selection::All]);
    let nothing = Selection::Only(Vec::new());
    let mut world = begun(strategy(|stage| stage.metrics = nothing));
    world.run_until(60, |world| world.weight() == 30);
    assert_eq!(world.measured, []);
}

#[test]
fn the_canary_has_the_size_of_the_step_before_its_weight_rises() {
    let mut steps = stages(&[10, 30, 60]);
    steps[0].size = Some(Size::Percent(50));
    steps[1].size = Some(Size::Replicas(5));
    let mut world = World::initialized(staged(steps));
    world.act(Act::Release(Nature::Good));
    let mut seen = Vec::new();
    for _ in 0..60 {
        world.run_for(1);
        let now = (world.weight(), world.canary_replicas());
        if now.0 > 0 && seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    // The primary has two; the last step says nothing and gets as many.
    assert_eq!(
        seen,
        [(10, 1), (10, 5), (30, 5), (60, 5), (60, 2)],
        "the weight and the replicas"
    );
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_small_canary_that_is_kept_after_a_failed_promotion_grows() {
    let mut steps = stages(&[50]);
    steps[0].size = Some(Size::Replicas(1));
    let mut world = World::initialized(staged(steps));
    world.act(Act::Release(Nature::BrokenAsPrimary));
    world.run_until(200, |world| world.state.retained);
    world.run_for(10);
    assert_eq!((world.weight(), world.canary_replicas()), (100, 2));
}

#[test]
fn a_weight_that_is_set_goes_on_with_the_next_higher_step() {
    let mut world = begun(strategy(|stage| stage.pauses = true));
    world.act(Act::Ask("set-weight=40"));
    world.run_for(2);
    assert_eq!((world.weight(), number(&world)), (40, Some(2)));
    world.run_until(20, |world| world.weight() == 60);
    world.act(Act::Ask("set-weight=0"));
    world.run_for(2);
    assert_eq!((world.weight(), number(&world)), (0, None));
    world.run_until(30, |world| world.weight() == 10);
}

#[test]
fn an_edit_of_the_steps_never_lowers_the_weight() {
    let mut world = begun(strategy(|_| {}));
    world.run_until(60, |world| world.weight() == 30);
    world.strategy = staged(stages(&[5, 10, 20, 40]));
    world.run_until(20, |world| world.weight() == 40);
    assert_eq!(number(&world), Some(4));
}
