//! What the primary ran before is kept, gone back to on request, and after a bake that fails.

use fairlead_rollout::{HookKind, Phase, Reason, Revision, Strategy as Rollout, Verdict};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::world::{Act, Nature, World, hook, weighted};

fn revision(number: u8) -> Revision {
    Revision(format!("r{number}"))
}

/// A world that has promoted this many revisions after the first.
fn promoted(strategy: Rollout, releases: u8) -> World {
    let mut world = World::initialized(strategy);
    for number in 1..=releases {
        world.act(Act::Release(Nature::Good));
        world.run_until(200, |world| {
            world.phase() == Phase::Succeeded && world.primary_revision() == Some(revision(number))
        });
    }
    world
}

fn baking(releases: u8) -> World {
    let strategy = Rollout {
        bake: Some(SignedDuration::from_secs(45)),
        ..weighted(50, 50)
    };
    promoted(strategy, releases)
}

/// Why the last command was refused.
fn refusal(world: &World) -> String {
    let newest = world.state.commands.first();
    let why = newest.and_then(|handled| handled.refused.clone());
    why.expect("it was refused")
}

fn ask(world: &mut World, command: &'static str) {
    world.act(Act::Ask(command));
    world.run_for(30);
}

#[test]
fn a_return_gives_the_primary_what_it_ran_and_does_not_fight_the_target() {
    let mut world = promoted(weighted(50, 50), 3);
    assert_eq!(world.state.kept, [revision(2), revision(1)]);
    ask(&mut world, "rollback-to");
    assert_eq!(world.primary_revision(), Some(revision(2)));
    assert_eq!(world.target_revision(), revision(3));
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
    world.run_for(300);
    assert_eq!(world.phase(), Phase::Failed, "it is not tried again");
    world.act(Act::Release(Nature::Good));
    world.run_until(200, |world| world.phase() == Phase::Succeeded);
    assert_eq!(world.primary_revision(), Some(revision(4)));
    let kept = [revision(2), revision(1)];
    assert_eq!(world.state.kept, kept, "what was bad is not gone back to");
}

#[test]
fn a_named_revision_is_gone_back_to_and_a_name_may_be_short() {
    let mut world = promoted(weighted(50, 50), 3);
    ask(&mut world, "rollback-to=r1");
    assert_eq!(world.primary_revision(), Some(revision(1)));
    ask(&mut world, "rollback-to=r");
    let why = refusal(&world);
    assert!(why.contains("kept are: r3 and r2"), "{why}");
    ask(&mut world, "rollback-to=r3");
    assert_eq!(world.primary_revision(), Some(revision(3)));
    assert_eq!(world.phase(), Phase::Succeeded, "it is what the target has");
    assert_eq!(world.state.refused, []);
    assert_eq!(world.state.kept, [revision(1), revision(2)]);
}

#[test]
fn a_target_that_follows_is_at_peace_and_what_was_bad_is_forgotten() {
    let mut world = promoted(weighted(50, 50), 2);
    ask(&mut world, "rollback-to");
    world.act(Act::Revert);
    world.run_for(30);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert_eq!(world.state.kept, [revision(0)]);
    assert_eq!(world.state.refused, []);
}

#[test]
fn what_was_gone_back_from_can_be_tried_again() {
    let mut world = promoted(weighted(50, 50), 1);
    ask(&mut world, "rollback-to");
    assert_eq!(world.primary_revision(), Some(revision(0)));
    world.act(Act::Ask("retry"));
    world.run_until(200, |world| world.phase() == Phase::Succeeded);
    assert_eq!(world.primary_revision(), Some(revision(1)));
}

#[test]
fn after_a_failed_run_both_its_revision_and_the_one_left_stay_refused() {
    let mut world = promoted(weighted(50, 50), 1);
    world.act(Act::Release(Nature::Faulty));
    world.run_until(200, |world| world.phase() == Phase::Failed);
    ask(&mut world, "rollback-to");
    assert_eq!(world.primary_revision(), Some(revision(0)));
    assert_eq!(world.state.refused, [revision(2), revision(1)]);
    world.act(Act::Target(1));
    world.run_for(100);
    assert_eq!(world.phase(), Phase::Failed);
    assert_eq!(world.primary_revision(), Some(revision(0)));
}

#[test]
fn a_return_that_makes_no_sense_says_why() {
    let check = |world: &mut World, command, why: &str| {
        ask(world, command);
        let told = refusal(world);
        assert!(told.contains(why), "{told}");
    };
    let mut world = World::initialized(weighted(10, 50));
    check(&mut world, "rollback-to", "no earlier revision is kept");
    check(&mut world, "rollback-to=r0", "no earlier revision is kept");
    world.act(Act::Release(Nature::Good));
    world.run_for(1);
    check(&mut world, "rollback-to", "`abort` gives it up first");
    world.run_until(300, |world| world.phase() == Phase::Succeeded);
    check(&mut world, "rollback-to=r9", "kept are: r0");
    check(&mut world, "rollback-to=r1", "is at revision r1 already");
    ask(&mut world, "rollback-to");
    check(&mut world, "rollback-to", "name it to have it: r1");
}

#[test]
fn a_bake_that_holds_ends_with_a_check() {
    let mut world = baking(1);
    assert!(world.has(Reason::BakeStarted));
    let measured = world.measures;
    world.run_for(40);
    assert!(!world.has(Reason::BakeEnded));
    world.run_for(10);
    assert!(world.has(Reason::BakeEnded));
    assert_eq!(world.measures - measured, 5, "each interval and the end");
    assert_eq!(world.primary_revision(), Some(revision(1)));
}

#[test]
fn a_bake_that_fails_goes_back_at_the_threshold() {
    let mut world = baking(2);
    world.turn_bad();
    world.run_until(25, |world| world.phase() == Phase::Failed);
    assert_eq!(world.primary_revision(), Some(revision(1)));
    assert_eq!(world.state.refused, [revision(2)]);
    assert!(world.has(Reason::RolledBack));
    world.run_for(200);
    assert_eq!(world.primary_revision(), Some(revision(1)));
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn a_bake_is_left_at_once_when_a_person_or_a_rollback_hook_asks() {
    let mut world = baking(1);
    world.act(Act::Ask("abort"));
    world.run_for(1);
    assert_eq!(world.primary_revision(), Some(revision(0)));

    let strategy = Rollout {
        bake: Some(SignedDuration::from_secs(45)),
        hooks: vec![hook(HookKind::Rollback)],
        ..weighted(50, 50)
    };
    let mut world = promoted(strategy, 1);
    world.answers.insert(HookKind::Rollback, Verdict::Passed);
    world.run_for(12);
    assert_eq!(world.primary_revision(), Some(revision(0)));
}

#[test]
fn a_primary_that_is_lost_while_it_bakes_counts_as_failed() {
    let mut world = baking(1);
    world.act(Act::LosePrimary);
    world.run_until(25, |world| world.phase() == Phase::Failed);
    assert_eq!(world.primary_revision(), Some(revision(0)));
}

#[test]
fn a_newer_revision_ends_the_bake() {
    let mut world = baking(1);
    world.act(Act::Release(Nature::Good));
    world.run_for(1);
    assert!(world.has(Reason::BakeEnded));
    assert_eq!(world.phase(), Phase::Progressing);
    ask(&mut world, "rollback-to");
    assert!(refusal(&world).contains("`abort`"));
}

#[test]
fn the_first_promotion_in_a_world_without_earlier_ones_bakes_too() {
    let world = baking(1);
    let run = world.state.run.as_ref();
    assert!(run.is_some_and(|run| run.bake.is_some()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_promoted_a_return_leads_to_what_was_kept(
        releases in 1_u8..5,
        returns in 1_usize..4,
        bakes in any::<bool>(),
    ) {
        let mut world = if bakes { baking(releases) } else { promoted(weighted(50, 50), releases) };
        for _ in 0..returns {
            let expected = world
                .state
                .kept
                .iter()
                .find(|one| !world.state.refused.contains(one))
                .cloned();
            let before = world.primary_revision();
            ask(&mut world, "rollback-to");
            prop_assert_eq!(world.primary_revision(), expected.or(before));
            prop_assert_eq!(world.target_revision(), revision(releases));
        }
    }
}
