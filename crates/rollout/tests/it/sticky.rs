//! Stories of clients that stay with the version that they got.

use fairlead_rollout::{Phase, Reason, Split, Strategy, Weight};

use crate::world::{Act, Nature, World, weighted};

fn strategy() -> Strategy {
    Strategy {
        sticky: true,
        ..weighted(25, 50)
    }
}

fn begun() -> World {
    let mut world = World::initialized(strategy());
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world
}

fn is_sticky(world: &World) -> bool {
    world.split.is_some_and(|split| split.sticky)
}

#[test]
fn clients_are_bound_as_long_as_the_canary_has_a_share() {
    let mut world = World::initialized(strategy());
    assert!(!is_sticky(&world));
    world.act(Act::Release(Nature::Good));
    for _ in 0..120 {
        world.run_for(1);
        assert_eq!(is_sticky(&world), world.weight() > 0);
    }
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_canary_without_endpoints_loses_the_clients_that_were_bound_to_it() {
    let mut world = begun();
    world.act(Act::LoseCanary);
    world.run_for(1);
    assert_eq!(world.split, Some(Split::PRIMARY));
    world.act(Act::Recover);
    world.run_until(10, |world| world.weight() == 25);
    assert!(is_sticky(&world));
}

#[test]
fn clients_are_bound_only_to_a_canary_with_enough_endpoints() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::LoseMostOfCanary);
    // Somebody adds affinity in the middle of the run.
    world.strategy.sticky = true;
    world.run_for(5);
    assert_eq!((world.weight(), is_sticky(&world)), (25, false));
    world.act(Act::Recover);
    world.run_for(5);
    assert_eq!((world.weight(), is_sticky(&world)), (25, true));
}

#[test]
fn a_rollback_lets_all_clients_go() {
    let mut world = World::initialized(strategy());
    world.act(Act::Release(Nature::Faulty));
    world.run_until(60, |world| world.phase() == Phase::Failed);
    assert_eq!(world.split, Some(Split::PRIMARY));
}

#[test]
fn what_binds_clients_is_put_back_when_a_hand_removes_it() {
    let mut world = begun();
    world.split = Some(Split::to_canary(Weight::clamped(25)));
    world.run_for(2);
    assert!(is_sticky(&world));
    assert!(world.has(Reason::DriftCorrected));
}
