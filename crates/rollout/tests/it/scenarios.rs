//! Stories, one by one: what a user sees.

use fairlead_rollout::{
    Capacity, Effect, HookKind, Ladder, Phase, Plan, Readiness, Reason, Revision, Split, Strategy,
    Verdict, Weight, step,
};
use jiff::SignedDuration;

use crate::world::{Act, Nature, World, hook, weighted};

fn later(seconds: i64) -> Verdict {
    Verdict::Later {
        why: "busy".to_owned(),
        pause: Some(SignedDuration::from_secs(seconds)),
    }
}

fn no() -> Verdict {
    Verdict::Failed("no".to_owned())
}

#[test]
fn a_new_canary_makes_a_primary_and_rests() {
    let world = World::initialized(weighted(25, 50));
    assert_eq!(world.weight(), 0);
    assert_eq!(world.canary_replicas(), 0);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn a_primary_that_is_deleted_comes_back_with_the_replicas_that_it_had() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::ScalePrimary(7));
    world.run_for(1);
    world.act(Act::DeletePrimary);
    world.run_for(5);
    assert_eq!(world.primary_replicas(), 7);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
    // Also when it was already made smaller by what deletes it.
    world.act(Act::ScalePrimary(0));
    world.run_for(1);
    world.act(Act::DeletePrimary);
    world.run_for(5);
    assert_eq!(world.primary_replicas(), 7);
}

#[test]
fn a_good_revision_climbs_and_is_promoted() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    let mut seen = Vec::new();
    for _ in 0..120 {
        world.run_for(1);
        if seen.last() != Some(&world.weight()) {
            seen.push(world.weight());
        }
    }
    assert_eq!(seen, [0, 25, 50, 0]);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
    assert_eq!(world.canary_replicas(), 0);
    assert_eq!(world.measures, 2, "one check for each weight");
}

#[test]
fn a_faulty_revision_is_rolled_back_by_the_check_that_reaches_the_threshold() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Faulty));
    world.run_until(60, |world| world.phase() == Phase::Failed);
    assert_eq!(world.measures, 2);
    assert_eq!(world.weight(), 0, "in the step that failed");
    world.run_for(10);
    assert_eq!(world.canary_replicas(), 0);
    assert_ne!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn a_refused_revision_is_not_tried_again() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Faulty));
    world.run_for(300);
    assert_eq!(world.phase(), Phase::Failed);
    assert_eq!(world.state.run.as_ref().map(|run| run.id), Some(1));
}

#[test]
fn a_target_that_goes_back_after_a_failure_is_at_peace() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Faulty));
    world.run_for(120);
    world.act(Act::Revert);
    world.run_for(5);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_canary_that_never_becomes_ready_fails_at_the_deadline_without_traffic() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Broken));
    world.run_for(55);
    assert_eq!(world.phase(), Phase::Progressing);
    world.run_for(15);
    assert_eq!(world.phase(), Phase::Failed);
    assert_eq!(world.measures, 0);
    assert!(world.has(Reason::RolledBack));
}

#[test]
fn traffic_leaves_a_canary_without_endpoints_and_returns_to_the_same_step() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::LoseCanary);
    world.run_for(1);
    assert_eq!(world.weight(), 0);
    assert_eq!(world.phase(), Phase::Progressing);
    world.act(Act::Recover);
    world.run_for(3);
    assert_eq!(world.weight(), 25);
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn nothing_moves_while_neither_side_has_endpoints() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::LosePrimary);
    world.act(Act::LoseCanary);
    world.run_for(20);
    assert_eq!(world.weight(), 25);
    world.act(Act::Recover);
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_newer_revision_starts_over_at_weight_zero() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 50);
    world.act(Act::Release(Nature::Good));
    world.run_for(1);
    assert_eq!(world.weight(), 0);
    assert_eq!(world.phase(), Phase::Progressing);
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn a_revert_in_mid_run_ends_it() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 50);
    world.act(Act::Revert);
    world.run_for(10);
    assert_eq!((world.weight(), world.canary_replicas()), (0, 0));
    assert_eq!(world.phase(), Phase::Succeeded);
    assert!(world.has(Reason::Reverted));
}

#[test]
fn a_promotion_that_fails_leaves_traffic_on_the_ready_canary_and_a_fix_starts_a_run() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::BrokenAsPrimary));
    world.run_until(240, |world| world.phase() == Phase::Failed);
    world.run_for(10);
    assert_eq!((world.weight(), world.canary_replicas()), (100, 2));
    world.act(Act::Release(Nature::Good));
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert_eq!(world.weight(), 0);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn a_primary_that_did_not_come_up_gets_back_what_it_ran() {
    let mut world = World::initialized(weighted(25, 50));
    let promoted = world.primary_revision();
    world.act(Act::Release(Nature::BrokenAsPrimary));
    world.run_until(240, |world| world.phase() == Phase::Failed);
    assert_eq!(world.primary_revision(), promoted);
    world.act(Act::LoseCanary);
    world.run_for(10);
    assert_eq!(world.weight(), 0, "the primary serves again");
}

#[test]
fn an_invalid_spec_holds_the_run_until_it_is_fixed() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::BreakSpec);
    world.run_for(120);
    assert_eq!((world.phase(), world.weight()), (Phase::Progressing, 25));
    world.act(Act::MendSpec);
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn an_invalid_spec_does_not_keep_traffic_on_a_canary_without_endpoints() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::BreakSpec);
    world.act(Act::LoseCanary);
    world.run_for(1);
    assert_eq!(world.weight(), 0);
    world.act(Act::Recover);
    world.run_for(20);
    assert_eq!(world.weight(), 0, "nothing rises before the spec is fixed");
    world.act(Act::MendSpec);
    world.run_for(4);
    assert_eq!(world.weight(), 25);
}

#[test]
fn an_invalid_spec_starts_nothing() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::BreakSpec);
    world.act(Act::Release(Nature::Good));
    world.run_for(60);
    assert_eq!(world.phase(), Phase::Initialized);
    assert_eq!(world.canary_replicas(), 0);
}

#[test]
fn closed_gates_hold_without_spending_failures() {
    let kinds = [
        HookKind::ConfirmRollout,
        HookKind::ConfirmTrafficIncrease,
        HookKind::ConfirmPromotion,
    ];
    for kind in kinds {
        let mut world = World::initialized(Strategy {
            hooks: vec![hook(kind)],
            ..weighted(25, 50)
        });
        world.answers.insert(kind, no());
        world.act(Act::Release(Nature::Good));
        world.run_for(200);
        let run = world.state.run.clone().expect("a run");
        assert_eq!(run.failed_checks, 0, "{kind}");
        let (phase, weight) = match kind {
            HookKind::ConfirmRollout => (Phase::Waiting, 0),
            HookKind::ConfirmTrafficIncrease => (Phase::Progressing, 0),
            _ => (Phase::WaitingPromotion, 50),
        };
        assert_eq!((world.phase(), world.weight()), (phase, weight), "{kind}");
        world.answers.clear();
        world.run_for(120);
        assert_eq!(world.phase(), Phase::Succeeded, "{kind}");
    }
}

/// The hooks whose answers decide on what comes next.
const DECIDING: [HookKind; 5] = [
    HookKind::ConfirmRollout,
    HookKind::PreRollout,
    HookKind::Rollout,
    HookKind::ConfirmTrafficIncrease,
    HookKind::ConfirmPromotion,
];

#[test]
fn a_hook_can_give_the_rollout_up_whatever_the_threshold() {
    for kind in DECIDING {
        let mut world = World::initialized(Strategy {
            hooks: vec![hook(kind)],
            threshold: 100,
            ..weighted(25, 50)
        });
        let abort = Verdict::Abort("wrong schema".to_owned());
        world.answers.insert(kind, abort);
        world.act(Act::Release(Nature::Good));
        world.run_for(100);
        assert_eq!(world.phase(), Phase::Failed, "{kind}");
        assert_eq!((world.weight(), world.canary_replicas()), (0, 0), "{kind}");
        assert_eq!(world.calls.len(), 1, "{kind}");
        assert_eq!(world.state.refused, [world.target_revision()]);
        let why = run(&world).objection.unwrap_or_default();
        assert_eq!(why, format!("{kind} hook one: wrong schema"));
    }
}

#[test]
fn a_hook_that_wants_to_be_asked_later_is_asked_then_and_nothing_is_counted() {
    for kind in DECIDING {
        let mut world = World::initialized(Strategy {
            hooks: vec![hook(kind)],
            threshold: 1,
            ..weighted(25, 50)
        });
        world.answers.insert(kind, later(17));
        world.act(Act::Release(Nature::Good));
        world.run_until(120, |world| !world.calls.is_empty());
        let (asked, weight) = (world.now, world.weight());
        world.run_until(60, |world| world.calls.len() == 2);
        let pause = world.now.duration_since(asked);
        assert_eq!(pause, SignedDuration::from_secs(17), "{kind}");
        assert_ne!(world.calls[0], world.calls[1], "two questions, two keys");
        assert_eq!((run(&world).failed_checks, world.weight()), (0, weight));
        let told = world.events.iter();
        let told = told.filter(|event| event.reason == Reason::CheckPostponed);
        assert_eq!(told.count(), 1, "{kind}");
        world.answers.clear();
        world.run_for(180);
        assert_eq!(world.phase(), Phase::Succeeded, "{kind}");
        assert_eq!(run(&world).failed_checks, 0, "{kind}");
    }
}

#[test]
fn a_hook_that_is_never_ready_to_answer_refuses_in_the_end() {
    let mut world = World::initialized(Strategy {
        hooks: vec![hook(HookKind::Rollout)],
        threshold: 1,
        ..weighted(25, 50)
    });
    world.answers.insert(HookKind::Rollout, later(7));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.has(Reason::CheckPostponed));
    let since = world.now;
    world.run_until(120, |world| world.phase() == Phase::Failed);
    assert_eq!(
        world.now.duration_since(since),
        world.strategy.progress_deadline
    );
}

#[test]
fn after_the_end_no_answer_changes_anything() {
    for verdict in [Verdict::Abort("no".to_owned()), later(5)] {
        let mut world = World::initialized(Strategy {
            hooks: vec![hook(HookKind::PostRollout)],
            ..weighted(25, 50)
        });
        world.answers.insert(HookKind::PostRollout, verdict);
        world.act(Act::Release(Nature::Good));
        world.run_for(200);
        assert_eq!(world.phase(), Phase::Succeeded);
        assert_eq!(world.calls.len(), 1);
        assert!(world.has(Reason::PostRolloutFailed));
    }
}

#[test]
fn a_person_need_not_wait_for_a_hook_that_put_its_answer_off() {
    let mut world = World::initialized(Strategy {
        hooks: vec![hook(HookKind::ConfirmPromotion)],
        ..weighted(25, 50)
    });
    world.answers.insert(HookKind::ConfirmPromotion, later(50));
    world.act(Act::Release(Nature::Good));
    world.run_until(120, |world| world.has(Reason::CheckPostponed));
    world.act(Act::Ask("promote-full"));
    world.run_for(30);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn people_are_told_once_that_a_gate_is_closed() {
    let gate = hook(HookKind::ConfirmPromotion);
    let mut world = World::initialized(Strategy {
        hooks: vec![gate],
        ..weighted(25, 50)
    });
    world.answers.insert(HookKind::ConfirmPromotion, no());
    world.act(Act::Release(Nature::Good));
    world.run_for(300);
    let told = world
        .events
        .iter()
        .filter(|event| event.reason == Reason::PromotionHeld)
        .count();
    assert_eq!(told, 1);
}

#[test]
fn failing_pre_rollout_hooks_roll_back_before_any_traffic() {
    let strategy = Strategy {
        hooks: vec![hook(HookKind::PreRollout)],
        ..weighted(25, 50)
    };
    let mut world = World::initialized(strategy);
    world.answers.insert(HookKind::PreRollout, no());
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.phase() == Phase::Failed);
    assert_eq!(world.calls.len(), 2, "one for each failed check");
    assert_eq!(world.measures, 0);
}

#[test]
fn a_rollback_hook_that_approves_ends_the_run() {
    let strategy = Strategy {
        hooks: vec![hook(HookKind::Rollback)],
        ..weighted(25, 50)
    };
    let mut world = World::initialized(strategy);
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.answers.insert(HookKind::Rollback, Verdict::Passed);
    world.run_for(15);
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
}

#[test]
fn post_rollout_hooks_are_called_once_at_either_end() {
    for (nature, phase) in [
        (Nature::Good, Phase::Succeeded),
        (Nature::Faulty, Phase::Failed),
    ] {
        let strategy = Strategy {
            hooks: vec![hook(HookKind::PostRollout)],
            ..weighted(25, 50)
        };
        let mut world = World::initialized(strategy);
        world.answers.insert(HookKind::PostRollout, no());
        world.act(Act::Release(nature));
        world.run_for(200);
        assert_eq!(world.phase(), phase);
        assert_eq!(world.calls.len(), 1);
        assert!(world.has(Reason::PostRolloutFailed));
    }
}

#[test]
fn matched_iterations_give_the_canary_all_matched_requests() {
    let plan = Plan::Iterations {
        count: 3,
        matched: true,
        mirror: false,
    };
    let mut world = World::initialized(Strategy {
        plan,
        ..weighted(1, 1)
    });
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 100);
    world.run_for(120);
    assert_eq!(world.measures, 3);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn blue_green_moves_traffic_once_after_its_iterations() {
    let plan = Plan::Iterations {
        count: 2,
        matched: false,
        mirror: true,
    };
    let mut world = World::initialized(Strategy {
        plan,
        ..weighted(1, 1)
    });
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.split.is_some_and(|split| split.mirrored));
    assert_eq!(world.weight(), 0);
    world.run_until(60, |world| world.weight() == 100);
    assert!(!world.split.unwrap_or_default().mirrored);
    world.run_for(120);
    assert_eq!((world.phase(), world.weight()), (Phase::Succeeded, 0));
}

fn undivided() -> Strategy {
    let plan = Plan::Iterations {
        count: 2,
        matched: false,
        mirror: false,
    };
    Strategy {
        plan,
        divides_traffic: false,
        ..weighted(1, 1)
    }
}

#[test]
fn without_routes_a_canary_is_judged_and_promoted_without_traffic() {
    let mut world = World::initialized(undivided());
    world.act(Act::Release(Nature::Good));
    for _ in 0..120 {
        world.run_for(1);
        assert_eq!(world.weight(), 0);
    }
    assert_eq!((world.phase(), world.measures), (Phase::Succeeded, 2));
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn without_routes_a_promotion_that_fails_leaves_the_canary_nothing() {
    let mut world = World::initialized(undivided());
    let promoted = world.primary_revision();
    world.act(Act::Release(Nature::BrokenAsPrimary));
    world.run_until(240, |world| world.phase() == Phase::Failed);
    world.run_for(10);
    assert_eq!((world.weight(), world.canary_replicas()), (0, 0));
    assert_eq!(world.primary_revision(), promoted);
}

#[test]
fn a_canary_without_a_size_is_released_as_it_is() {
    let mut world = World::initialized(Strategy {
        sized: false,
        ..weighted(25, 50)
    });
    let size = world.canary_replicas();
    world.act(Act::Release(Nature::Good));
    for _ in 0..120 {
        world.run_for(1);
        assert_eq!(world.canary_replicas(), size);
    }
    assert_eq!((world.phase(), world.weight()), (Phase::Succeeded, 0));
    world.deleting = true;
    world.run_for(10);
    assert!(world.given_back);
}

#[test]
fn a_canary_in_proportion_grows_before_its_weight() {
    let mut world = World::initialized(Strategy {
        capacity: Capacity::Proportional,
        ..weighted(40, 80)
    });
    world.act(Act::Release(Nature::Good));
    let mut seen = vec![(0, 0)];
    for _ in 0..90 {
        world.run_for(1);
        let now = (world.weight(), world.canary_replicas());
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    // The primary has two. What is promoted takes the traffic back before the canary shrinks.
    assert_eq!(
        seen,
        [(0, 0), (0, 1), (40, 1), (40, 2), (80, 2), (0, 2), (0, 0)],
        "the weight and the replicas"
    );
    assert_eq!(world.phase(), Phase::Succeeded);
}

fn proportional(step: i64, max: i64) -> Strategy {
    Strategy {
        capacity: Capacity::Proportional,
        ..weighted(step, max)
    }
}

#[test]
fn a_small_canary_leaves_the_primary_as_large_as_it_is() {
    let mut world = World::initialized(proportional(40, 40));
    for nature in [Nature::Good, Nature::BrokenAsPrimary, Nature::Good] {
        world.act(Act::Release(nature));
        world.run_for(300);
        assert_eq!(world.primary_replicas(), 2, "after {nature:?}");
    }
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_target_that_is_given_back_is_as_large_as_the_primary() {
    let mut world = World::initialized(proportional(40, 40));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 40);
    assert_eq!(world.canary_replicas(), 1);
    world.deleting = true;
    world.run_for(30);
    assert!(world.given_back);
    assert_eq!(world.canary_replicas(), 2);
}

#[test]
fn a_small_canary_that_is_kept_grows_first_where_somebody_else_answers() {
    let mut world = World::initialized(proportional(40, 40));
    world.act(Act::Release(Nature::BrokenAsPrimary));
    world.run_until(200, |world| world.state.retained);
    let mut seen = world.observe(Vec::new());
    (seen.split, seen.acked) = (Some(Split::to_canary(Weight::clamped(40))), true);
    if let Some(canary) = &mut seen.canary {
        (canary.desired, canary.endpoints, canary.needed) = (1, 1, 1);
        canary.readiness = Readiness::Ready;
    }
    let mut effects = |endpoints| {
        if let Some(primary) = &mut seen.primary {
            primary.endpoints = endpoints;
        }
        step(&world.strategy, &world.state, &seen, world.now).effects
    };
    assert_eq!(effects(1), [Effect::ScaleCanary { replicas: 2 }]);
    let [Effect::SetSplit { to, .. }] = effects(0)[..] else {
        unreachable!("nobody else answers")
    };
    assert_eq!(to.canary, Weight::FULL);
}

#[test]
fn a_canary_that_dies_before_the_promotion_is_written_loses_its_traffic() {
    let mut world = World::initialized(weighted(40, 80));
    world.act(Act::Release(Nature::Good));
    world.run_until(200, |world| world.state.phase == Some(Phase::Promoting));
    let decide = |endpoints: u32, revision: Result<Revision, String>| {
        let mut seen = world.observe(Vec::new());
        seen.revision = revision;
        if let Some(primary) = &mut seen.primary {
            // The write of the promotion is still to come.
            primary.revision = world.state.promoted.clone();
            (primary.endpoints, primary.readiness) = (2, Readiness::Ready);
        }
        if let Some(canary) = &mut seen.canary {
            canary.endpoints = endpoints;
        }
        step(&world.strategy, &world.state, &seen, world.now).effects
    };
    let known = world.observe(Vec::new()).revision;
    let unknown = Err("its ConfigMap is gone".to_owned());
    for revision in [known, unknown] {
        let [Effect::SetSplit { to, .. }] = decide(0, revision.clone())[..] else {
            unreachable!("{:?}", decide(0, revision));
        };
        assert_eq!(to, Split::PRIMARY);
        let moves = |effect: &Effect| matches!(effect, Effect::SetSplit { .. });
        assert!(!decide(2, revision).iter().any(moves));
    }
}

#[test]
fn nothing_is_made_where_neither_target_nor_primary_exists() {
    let mut world = World::initialized(weighted(40, 80));
    world.run_for(10);
    let mut seen = world.observe(Vec::new());
    (seen.canary, seen.primary) = (None, None);
    seen.revision = Err("the target does not exist".to_owned());
    let decision = step(&world.strategy, &world.state, &seen, world.now);
    assert_eq!(decision.effects, []);
    assert!(
        decision.held && decision.message.contains("apply the target again"),
        "{}",
        decision.message
    );
}

#[test]
fn traffic_stays_while_nobody_has_acted_on_the_promotion_yet() {
    let mut world = World::initialized(weighted(40, 80));
    world.act(Act::Release(Nature::Good));
    let promoted = Some(Revision("r1".to_owned()));
    world.run_until(200, |world| {
        let primary = world.observe(Vec::new()).primary;
        world.state.phase == Some(Phase::Promoting)
            && primary.is_some_and(|primary| primary.revision == promoted)
    });
    let split = |newer: bool, deleting: bool, observed: bool, canary: u32| {
        let mut seen = world.observe(Vec::new());
        seen.deleting = deleting;
        if newer {
            seen.revision = Ok(Revision("r9".to_owned()));
        }
        if let Some(primary) = &mut seen.primary {
            // Endpoints of the pods that the promotion replaces.
            (primary.endpoints, primary.observed) = (2, observed);
            primary.readiness = Readiness::Pending("not seen yet".to_owned());
        }
        if let Some(role) = &mut seen.canary {
            role.endpoints = canary;
        }
        let decided = step(&world.strategy, &world.state, &seen, world.now);
        decided.state.traffic.map(|intent| intent.target.canary)
    };
    let (kept, gone) = (Some(Weight::clamped(80)), Some(Weight::ZERO));
    for (newer, deleting) in [(true, false), (false, true)] {
        assert_eq!(split(newer, deleting, false, 2), kept);
        assert_eq!(split(newer, deleting, true, 2), gone);
        assert_eq!(
            split(newer, deleting, false, 0),
            gone,
            "nobody else answers"
        );
    }
}

#[test]
fn a_canary_that_need_not_be_small_any_more_grows_before_its_next_weight() {
    let mut world = World::initialized(proportional(40, 80));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 40);
    world.strategy.capacity = Capacity::Full;
    world.run_until(60, |world| world.weight() == 80);
    assert_eq!(world.canary_replicas(), 2);
}

#[test]
fn a_canary_in_proportion_is_as_large_as_what_it_mirrors() {
    let mut strategy = weighted(40, 40);
    strategy.capacity = Capacity::Proportional;
    if let Plan::Weighted { mirror, .. } = &mut strategy.plan {
        *mirror = true;
    }
    let mut world = World::initialized(strategy);
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.split.is_some_and(|split| split.mirrored));
    assert_eq!(world.canary_replicas(), 2);
    for _ in 0..60 {
        let mirrored = world.split.is_some_and(|split| split.mirrored);
        assert!(!mirrored || world.canary_replicas() == 2);
        if world.weight() == 40 && world.canary_replicas() == 1 {
            return;
        }
        world.run_for(1);
    }
    unreachable!("the canary did not shrink to its share");
}

#[test]
fn a_canary_without_endpoints_gets_a_lost_service_again() {
    let mut world = World::initialized(weighted(50, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 50);
    world.act(Act::LoseService);
    world.run_until(5, |world| world.weight() == 0);
    world.run_for(120);
    assert_eq!((world.phase(), world.weight()), (Phase::Succeeded, 0));
    assert!(world.has(Reason::Restored));
}

#[test]
fn mirroring_precedes_the_first_weight() {
    let ladder = Ladder::Linear {
        step: Weight::clamped(50),
        max: Weight::clamped(50),
    };
    let mut world = World::initialized(Strategy {
        plan: Plan::Weighted {
            ladder,
            mirror: true,
        },
        ..weighted(1, 1)
    });
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.split.is_some_and(|split| split.mirrored));
    assert_eq!(world.weight(), 0);
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn skipped_analysis_waits_for_the_primary_and_sends_the_canary_nothing() {
    let mut world = World::initialized(Strategy {
        skip_analysis: true,
        ..weighted(25, 50)
    });
    world.checker.analysis_is_skipped();
    world.act(Act::Release(Nature::Good));
    for _ in 0..60 {
        world.run_for(1);
        assert_eq!(world.weight(), 0);
    }
    assert_eq!((world.phase(), world.measures), (Phase::Succeeded, 0));
}

#[test]
fn promotion_in_steps_returns_traffic_one_interval_at_a_time() {
    let strategy = Strategy {
        promotion_step: Some(Weight::clamped(20)),
        ..weighted(50, 50)
    };
    let mut world = World::initialized(strategy);
    world.act(Act::Release(Nature::Good));
    let mut seen = Vec::new();
    for _ in 0..150 {
        world.run_for(1);
        if seen.last() != Some(&world.weight()) {
            seen.push(world.weight());
        }
    }
    assert_eq!(seen, [0, 50, 30, 10, 0]);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn weights_changed_by_hand_are_put_back() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.run_for(3);
    world.act(Act::Drift(90));
    world.run_for(1);
    assert_eq!(world.weight(), 25);
    assert!(world.has(Reason::DriftCorrected));
}

#[test]
fn weights_that_a_hand_lowered_rise_again_only_toward_enough_endpoints() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::LoseMostOfCanary);
    world.act(Act::Drift(0));
    world.run_for(5);
    assert_eq!(world.weight(), 0);
    world.act(Act::Recover);
    world.run_for(5);
    assert_eq!(world.weight(), 25);
}

#[test]
fn editing_the_canary_does_not_reset_traffic() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::EditRoutes);
    world.run_for(2);
    assert_eq!(world.weight(), 25);
}

#[test]
fn proxies_that_do_not_confirm_delay_a_step_but_do_not_stop_it() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Mute);
    world.act(Act::Release(Nature::Good));
    world.run_for(200);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert!(world.has(Reason::WeightUnconfirmed));
}

#[test]
fn a_suspended_canary_changes_nothing() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.strategy.suspended = true;
    let writes = world.writes;
    world.run_for(100);
    assert_eq!((world.weight(), world.writes), (25, writes));
    world.strategy.suspended = false;
    world.run_for(100);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn deletion_in_mid_run_gives_back_to_a_target_that_serves() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.deleting = true;
    world.run_for(20);
    assert!(world.given_back);
    assert_eq!((world.weight(), world.canary_replicas()), (0, 2));
}

#[test]
fn deletion_does_not_wait_for_ever_for_a_target_that_is_broken() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Broken));
    world.run_for(10);
    world.deleting = true;
    world.run_for(70);
    assert!(world.given_back);
}

/// The run of a world that is in the middle of it.
fn run(world: &World) -> fairlead_rollout::Run {
    world.state.run.clone().expect("a run")
}

/// Why the last command was refused.
fn refusal(world: &World) -> String {
    let last = world.state.commands.first().expect("a command");
    last.refused.clone().unwrap_or_default()
}

#[test]
fn a_paused_run_stays_at_its_step_until_it_is_resumed() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::Ask("pause"));
    world.run_for(300);
    assert_eq!((world.phase(), world.weight()), (Phase::Progressing, 25));
    assert_eq!(world.measures, 0);
    world.act(Act::Ask("resume"));
    world.run_for(60);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_pause_withdraws_a_canary_that_dies_and_returns_to_the_same_step() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::Ask("pause"));
    world.act(Act::LoseCanary);
    world.run_for(1);
    assert_eq!(world.weight(), 0);
    world.act(Act::Recover);
    world.run_for(30);
    assert_eq!(world.weight(), 25);
}

#[test]
fn a_pause_outlives_a_newer_revision() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::Ask("pause"));
    world.run_for(1);
    world.act(Act::Release(Nature::Good));
    world.run_for(100);
    assert_eq!((world.phase(), world.weight()), (Phase::Progressing, 0));
    assert!(world.state.paused);
}

#[test]
fn an_abort_ends_a_paused_run_and_the_pause_with_it() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::Ask("pause"));
    world.run_for(5);
    world.act(Act::Ask("abort"));
    world.run_for(1);
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
    assert!(!world.state.paused);
    let objection = run(&world).objection.unwrap_or_default();
    assert_eq!(objection, "aborted by a person");
    world.run_for(100);
    assert_eq!(world.canary_replicas(), 0);
}

#[test]
fn an_abort_is_not_held_by_a_canary_that_lacks_pods() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::LoseMostOfCanary);
    world.act(Act::Ask("abort"));
    world.run_for(1);
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
}

#[test]
fn an_abort_ends_a_run_that_waits_for_confirmation() {
    let mut world = World::initialized(Strategy {
        hooks: vec![hook(HookKind::ConfirmRollout)],
        ..weighted(25, 50)
    });
    world.answers.insert(HookKind::ConfirmRollout, no());
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.phase() == Phase::Waiting);
    world.act(Act::Ask("abort"));
    world.run_for(60);
    assert_eq!(world.phase(), Phase::Failed);
    assert_eq!(world.state.refused, [world.target_revision()]);
}

#[test]
fn a_retry_tries_the_refused_revision_again_with_a_new_count() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Faulty));
    world.run_until(120, |world| world.phase() == Phase::Failed);
    world.act(Act::Ask("retry"));
    world.run_for(1);
    assert_eq!(world.phase(), Phase::Progressing);
    assert_eq!((run(&world).id, run(&world).failed_checks), (2, 0));
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn a_promotion_on_request_skips_the_analysis_but_not_readiness() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.act(Act::Ask("promote"));
    world.run_for(1);
    assert_eq!(
        refusal(&world),
        "promote makes no sense now: no rollout is in progress"
    );
    world.act(Act::LoseCanary);
    world.act(Act::Ask("promote"));
    world.run_for(20);
    assert_eq!(world.phase(), Phase::Progressing);
    world.act(Act::Recover);
    world.run_for(30);
    assert_eq!((world.phase(), world.measures), (Phase::Succeeded, 0));
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn only_a_full_promotion_goes_past_the_gates_of_others() {
    let mut world = World::initialized(Strategy {
        hooks: vec![hook(HookKind::ConfirmPromotion)],
        ..weighted(25, 50)
    });
    world.answers.insert(HookKind::ConfirmPromotion, no());
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::Ask("promote"));
    world.run_for(60);
    assert_eq!(
        (world.phase(), world.weight()),
        (Phase::WaitingPromotion, 25)
    );
    world.act(Act::Ask("promote"));
    world.run_for(1);
    assert!(refusal(&world).contains("`promote-full` goes past it"));
    world.act(Act::Ask("promote-full"));
    world.run_for(60);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_weight_that_is_set_moves_at_once_and_the_ladder_goes_on_from_it() {
    let mut world = World::initialized(weighted(25, 75));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::Ask("set-weight=60"));
    world.run_for(1);
    assert_eq!(world.weight(), 60);
    world.act(Act::Ask("set-weight=10"));
    world.run_for(1);
    assert_eq!(world.weight(), 10);
    world.run_until(60, |world| world.weight() == 35);
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_weight_is_not_set_toward_a_canary_that_was_never_ready() {
    let mut world = World::initialized(weighted(25, 75));
    world.act(Act::Release(Nature::Broken));
    world.run_for(5);
    world.act(Act::Ask("set-weight=60"));
    world.run_for(5);
    assert!(refusal(&world).contains("not ready yet"));
    assert_eq!(world.weight(), 0);
}

#[test]
fn a_weight_that_is_set_waits_for_enough_endpoints() {
    let mut world = World::initialized(weighted(25, 75));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::LoseMostOfCanary);
    world.act(Act::Ask("set-weight=60"));
    world.run_for(5);
    assert_eq!(world.weight(), 25);
    world.act(Act::Recover);
    world.run_for(2);
    assert_eq!(world.weight(), 60);
}

#[test]
fn a_command_without_sense_is_refused_with_the_way_out() {
    for (command, way_out) in [
        ("pause", "`spec.suspend: true`"),
        ("resume", "no rollout is in progress"),
        ("abort", "no rollout is in progress"),
        ("retry", "no rollout is in progress"),
        ("set-weight=5", "no rollout is in progress"),
        ("rollback-to=r0", "release the earlier version again"),
        ("halt", "there are pause, resume"),
    ] {
        let mut world = World::initialized(weighted(25, 50));
        let before = world.state.clone();
        world.act(Act::Ask(command));
        world.run_for(5);
        assert!(world.has(Reason::CommandRefused), "{command}");
        let why = refusal(&world);
        assert!(why.contains(way_out), "{command}: {why}");
        world.state.commands.clear();
        assert_eq!(world.state, before, "{command}");
    }
}

#[test]
fn an_abort_of_a_promotion_gives_the_primary_back_what_it_ran() {
    let mut world = World::initialized(weighted(25, 50));
    let before = world.primary_revision();
    world.act(Act::Release(Nature::Good));
    world.run_until(90, |world| world.phase() == Phase::Promoting);
    world.run_for(1);
    assert_ne!(world.primary_revision(), before);
    world.act(Act::Ask("abort"));
    world.run_for(60);
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
    assert_eq!(world.primary_revision(), before);
    assert_eq!(world.canary_replicas(), 0);
}

#[test]
fn an_abort_is_heard_while_the_spec_cannot_be_carried_out() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    world.act(Act::BreakSpec);
    world.run_for(5);
    world.act(Act::Ask("abort"));
    world.run_for(1);
    assert_eq!((world.phase(), world.weight()), (Phase::Failed, 0));
}

#[test]
fn a_primary_without_the_revision_at_the_very_end_is_promoted_again() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 50);
    world.state.phase = Some(Phase::Finalising);
    world.run_for(60);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert_eq!(world.primary_revision(), Some(world.target_revision()));
}

#[test]
fn a_clock_that_was_ahead_does_not_hold_a_rollout_up() {
    let mut world = World::initialized(weighted(25, 50));
    world.act(Act::Release(Nature::Good));
    world.run_until(60, |world| world.weight() == 25);
    let ahead = world.now + SignedDuration::from_hours(24);
    if let Some(run) = &mut world.state.run {
        run.checked_at = Some(ahead);
    }
    if let Some(traffic) = &mut world.state.traffic {
        traffic.in_effect = Some(ahead);
    }
    world.run_for(120);
    assert_eq!(world.phase(), Phase::Succeeded);
}
