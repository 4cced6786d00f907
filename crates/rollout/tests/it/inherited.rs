//! What another controller left is taken over without moving traffic, or waits for a person.

use fairlead_rollout::{Phase, Reason, Revision};

use crate::world::{Act, World, weighted};

const NOTHING_CHANGES_FOR: u32 = 300;

fn left(phase: Phase, release: bool, weight: u8) -> World {
    World::inherited(weighted(25, 50), phase, release, weight)
}

#[test]
fn a_primary_that_runs_what_the_target_asks_for_is_taken_over_at_rest() {
    for phase in [Phase::Initialized, Phase::Succeeded, Phase::Failed] {
        let mut world = left(phase, false, 0);
        world.run_for(NOTHING_CHANGES_FOR);
        assert!(world.phase().rests(), "{phase}");
        assert_ne!(world.phase(), Phase::Failed);
        assert_eq!(world.state.promoted, Some(world.target_revision()));
        assert!(world.state.run.is_none(), "{phase}: no run was started");
        assert_eq!((world.weight(), world.canary_replicas()), (0, 0));
        assert!(world.has(Reason::TakenOver));
        world.act(Act::Release(crate::world::Nature::Good));
        world.run_for(120);
        assert_eq!(world.phase(), Phase::Succeeded, "and goes on from there");
        assert_eq!(world.primary_revision(), Some(world.target_revision()));
    }
}

#[test]
fn a_revision_that_failed_there_is_not_tried_here() {
    let mut world = left(Phase::Failed, true, 0);
    world.run_for(NOTHING_CHANGES_FOR);
    assert_eq!(world.phase(), Phase::Failed);
    assert_eq!(world.state.refused, [world.target_revision()]);
    assert_eq!(world.state.promoted, Some(Revision::inherited()));
    assert!(world.state.run.is_none());
}

#[test]
fn a_run_in_flight_stays_as_it_is_until_a_person_decides() {
    for phase in [
        Phase::Waiting,
        Phase::Progressing,
        Phase::WaitingPromotion,
        Phase::Promoting,
        Phase::Finalising,
        Phase::Succeeded,
    ] {
        let mut world = left(phase, true, 25);
        world.run_for(NOTHING_CHANGES_FOR);
        assert_eq!((world.phase(), world.weight()), (phase, 25));
        assert_eq!(
            world.writes,
            writes_of_a_start(),
            "{phase}: nothing was written"
        );
        world.act(Act::Ask("pause"));
        world.run_for(5);
        assert!(world.has(Reason::CommandRefused));
        assert_eq!((world.phase(), world.weight()), (phase, 25));
    }
}

/// The writes before the other controller's part of the story.
fn writes_of_a_start() -> usize {
    World::initialized(weighted(25, 50)).writes
}

#[test]
fn resume_goes_on_from_the_weight_that_was_left() {
    let mut world = left(Phase::Progressing, true, 25);
    world.act(Act::Ask("resume"));
    world.run_for(2);
    assert_eq!((world.phase(), world.weight()), (Phase::Progressing, 25));
    assert_eq!(world.measures, 0, "a full interval first");
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn abort_takes_the_traffic_back_and_refuses_the_revision() {
    let mut world = left(Phase::Promoting, true, 50);
    world.act(Act::Ask("abort"));
    world.run_for(60);
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
    assert_eq!(world.state.refused, [world.target_revision()]);
    assert_eq!(world.canary_replicas(), 0);
}

#[test]
fn adopt_keeps_the_primary_and_waits_for_the_next_revision() {
    let mut world = left(Phase::Succeeded, true, 0);
    world.act(Act::Ask("adopt"));
    world.run_for(NOTHING_CHANGES_FOR);
    assert_eq!((world.phase(), world.weight()), (Phase::Succeeded, 0));
    assert!(world.state.run.is_none());
    world.act(Act::Release(crate::world::Nature::Good));
    world.run_for(120);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn adopt_is_refused_while_the_canary_has_traffic() {
    let mut world = left(Phase::Progressing, true, 25);
    world.act(Act::Ask("adopt"));
    world.run_for(5);
    assert!(world.has(Reason::CommandRefused));
    assert_eq!((world.phase(), world.weight()), (Phase::Progressing, 25));
}
