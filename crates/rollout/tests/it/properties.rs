//! Properties: many worlds, many crashes, one judge.
//!
//! The judge ([`crate::checker`]) looks at each decision and each effect of every case here:
//! safety of weights, intents before effects, answers asked once, traffic before scale-down,
//! promotion of what was analysed only, legal phases, and that deciding twice decides the same.

use std::collections::BTreeMap;

use fairlead_rollout::{
    Answer, Bake, Capacity, Hook, HookKind, Inheritance, Intent, Ladder, Observation, Phase, Place,
    Plan, Postponed, ProbeKey, Readiness, Reason, Request, Revision, Role, Round, Run, Selection,
    Shortcut, Size, Split, Stage, State, Strategy as Rollout, Verdict, Weight, step,
};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::world::{Act, Crash, Nature, World, hook, judged, weighted};

fn plan() -> impl Strategy<Value = Plan> {
    let percent = || (1_i64..=100).prop_map(Weight::clamped);
    let linear = (percent(), percent()).prop_map(|(step, max)| Ladder::Linear { step, max });
    let listed = vec(percent(), 1..5).prop_map(|mut weights| {
        weights.sort();
        Ladder::Listed(weights)
    });
    prop_oneof![
        (linear, any::<bool>()).prop_map(|(ladder, mirror)| Plan::Weighted { ladder, mirror }),
        (listed, any::<bool>()).prop_map(|(ladder, mirror)| Plan::Weighted { ladder, mirror }),
        (stages(), any::<bool>()).prop_map(|(stages, mirror)| Plan::Staged { stages, mirror }),
        (1_u32..5, any::<bool>(), any::<bool>()).prop_map(|(count, matched, mirror)| {
            Plan::Iterations {
                count,
                matched,
                mirror,
            }
        }),
    ]
}

/// Explicit steps that end by themselves.
fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let size = prop_oneof![
        (0_u32..5).prop_map(Size::Replicas),
        (0_u32..=200).prop_map(Size::Percent),
    ];
    let stage = (0_i64..=100, option::of(0_i64..15), option::of(size));
    vec(stage, 1..5).prop_map(|mut stages| {
        stages.sort_by_key(|(weight, ..)| *weight);
        let stages = stages.into_iter();
        let stages = stages.map(|(weight, seconds, size)| Stage {
            weight: Weight::clamped(weight),
            duration: seconds.map(SignedDuration::from_secs),
            pauses: false,
            hooks: Selection::All,
            metrics: Selection::All,
            size,
        });
        stages.collect()
    })
}

/// Strategies with coarse ladders, so that a run ends within the time of a test.
fn short_plan() -> impl Strategy<Value = Plan> {
    plan().prop_filter("a ladder of few rungs", |plan| match plan {
        Plan::Weighted {
            ladder: Ladder::Linear { step, .. },
            ..
        } => step.get() >= 20,
        Plan::Weighted { .. } | Plan::Staged { .. } | Plan::Iterations { .. } => true,
    })
}

fn hooks() -> impl Strategy<Value = Vec<Hook>> {
    let kinds = prop_oneof![
        Just(HookKind::ConfirmRollout),
        Just(HookKind::PreRollout),
        Just(HookKind::Rollout),
        Just(HookKind::ConfirmTrafficIncrease),
        Just(HookKind::ConfirmPromotion),
        Just(HookKind::PostRollout),
        Just(HookKind::Rollback),
    ];
    proptest::collection::btree_set(kinds, 0..4)
        .prop_map(|kinds| kinds.into_iter().map(hook).collect())
}

/// What hooks answer, for as long as a story lasts.
fn answers() -> impl Strategy<Value = BTreeMap<HookKind, Verdict>> {
    let why = || "why".to_owned();
    let kinds = prop::sample::select(vec![
        HookKind::ConfirmRollout,
        HookKind::PreRollout,
        HookKind::Rollout,
        HookKind::ConfirmTrafficIncrease,
        HookKind::ConfirmPromotion,
        HookKind::PostRollout,
        HookKind::Rollback,
    ]);
    let pause = option::of((0_i64..90).prop_map(SignedDuration::from_secs));
    let verdicts = prop_oneof![
        1 => Just(Verdict::Passed),
        1 => Just(Verdict::Failed(why())),
        1 => Just(Verdict::Error(why())),
        2 => Just(Verdict::Abort(why())),
        3 => pause.prop_map(move |pause| Verdict::Later { why: why(), pause }),
    ];
    proptest::collection::btree_map(kinds, verdicts, 0..5)
}

fn strategy() -> impl Strategy<Value = Rollout> {
    let back = option::of(25_i64..=100);
    let capacity = prop::sample::select(&[Capacity::Full, Capacity::Proportional]);
    (
        short_plan(),
        hooks(),
        1_u32..4,
        back,
        any::<bool>(),
        capacity,
    )
        .prop_map(|(plan, hooks, threshold, back, sticky, capacity)| Rollout {
            plan,
            hooks,
            threshold,
            promotion_step: back.map(Weight::clamped),
            sticky,
            capacity,
            ..weighted(1, 1)
        })
}

/// The same, with a judgement or without, and with a bake or without.
fn any_strategy() -> impl Strategy<Value = Rollout> {
    let bake = option::of((0_i64..40).prop_map(SignedDuration::from_secs));
    (strategy(), any::<bool>(), bake).prop_map(|(strategy, is_judged, bake)| {
        let strategy = Rollout { bake, ..strategy };
        if is_judged {
            judged(strategy)
        } else {
            strategy
        }
    })
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        4 => Just(Nature::Good),
        2 => Just(Nature::Faulty),
        1 => Just(Nature::Worse),
        1 => Just(Nature::Broken),
        1 => Just(Nature::BrokenAsPrimary),
    ]
}

/// What people ask for, with and without sense.
const COMMANDS: &[&str] = &[
    "pause",
    "resume",
    "promote",
    "promote-full",
    "abort",
    "retry",
    "set-weight=0",
    "set-weight=30",
    "set-weight=100",
    "rollback-to",
    "rollback-to=r0",
    "rollback-to=r1",
    "set-weight=far",
    "",
];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => nature().prop_map(Act::Release),
        1 => Just(Act::Revert),
        2 => Just(Act::LoseCanary),
        2 => Just(Act::LoseMostOfCanary),
        1 => Just(Act::LoseService),
        1 => Just(Act::LosePrimary),
        3 => Just(Act::Recover),
        1 => (0_u8..=100).prop_map(Act::Drift),
        1 => Just(Act::DeleteRoutes),
        1 => Just(Act::EditRoutes),
        1 => Just(Act::Mute),
        1 => Just(Act::Unmute),
        1 => Just(Act::BreakSpec),
        2 => Just(Act::MendSpec),
        4 => prop::sample::select(COMMANDS).prop_map(Act::Ask),
        1 => Just(Act::Replay),
    ]
}

/// Runs a story: each act after a pause, then quiet until all is at rest.
fn tell(strategy: &Rollout, acts: &[(u32, Act)], crash: Option<Crash>) -> World {
    let mut world = World::new(strategy.clone());
    world.crash = crash;
    for (pause, act) in acts {
        world.run_for(*pause);
        world.act(*act);
    }
    quieten(&mut world);
    world
}

/// Lets all come to rest.
fn quieten(world: &mut World) {
    world.run_for(30);
    world.act(Act::Recover);
    world.act(Act::MendSpec);
    // A pause would never end by itself.
    world.act(Act::Ask("resume"));
    world.run_for(400);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_judge_accepts_it_and_the_machine_comes_to_rest(
        strategy in any_strategy(),
        acts in vec((0_u32..40, act()), 0..8),
    ) {
        let world = tell(&strategy, &acts, None);
        prop_assert!(is_at_rest(&world), "{:?}", world.state);
    }

    #[test]
    fn a_good_revision_is_always_promoted(strategy in strategy()) {
        let mut world = World::new(strategy.clone());
        world.run_for(60);
        world.act(Act::Release(Nature::Good));
        world.run_for(60 + 12 * (most_moves(&strategy) + 2));
        prop_assert_eq!(world.phase(), Phase::Succeeded);
        prop_assert_eq!(world.primary_revision(), Some(world.target_revision()));
        prop_assert_eq!((world.weight(), world.canary_replicas()), (0, 0));
    }

    #[test]
    fn a_faulty_revision_never_reaches_the_primary(strategy in strategy()) {
        let mut world = World::new(strategy.clone());
        world.run_for(60);
        let promoted = world.primary_revision();
        world.act(Act::Release(Nature::Faulty));
        world.run_for(400);
        prop_assert_eq!(world.phase(), Phase::Failed);
        prop_assert_eq!(world.primary_revision(), promoted);
        prop_assert_eq!((world.weight(), world.canary_replicas()), (0, 0));
        let failed = world.state.run.as_ref().map(|run| run.failed_checks);
        prop_assert_eq!(failed, Some(strategy.threshold));
    }

    #[test]
    fn a_judgement_never_makes_a_run_faster(
        strategy in strategy(),
        nature in nature(),
        seconds in 60_u32..200,
    ) {
        let mut plain = World::new(strategy.clone());
        let mut heeded = World::new(judged(strategy));
        for world in [&mut plain, &mut heeded] {
            world.run_for(60);
            world.act(Act::Release(nature));
        }
        let progress = |world: &World| {
            let run = world.state.run.as_ref();
            (world.has(Reason::Promoting), run.map(|run| (run.id, run.step)))
        };
        for _ in 0..seconds {
            plain.run_for(1);
            heeded.run_for(1);
            prop_assert!(progress(&heeded) <= progress(&plain), "{:?}", heeded.state);
        }
    }

    #[test]
    fn a_worse_revision_is_never_promoted_by_a_judgement(
        step in 20_i64..=50,
        threshold in 1_u32..4,
    ) {
        let mut world = World::new(judged(Rollout { threshold, ..weighted(step, 50) }));
        world.run_for(60);
        let promoted = world.primary_revision();
        world.act(Act::Release(Nature::Worse));
        world.run_for(200);
        prop_assert_eq!(world.phase(), Phase::Failed);
        prop_assert_eq!(world.primary_revision(), promoted);
    }

    #[test]
    fn a_crash_around_any_write_leads_to_the_same_end(
        strategy in any_strategy(),
        nature in nature(),
        at in any::<prop::sample::Index>(),
        written in any::<bool>(),
    ) {
        let acts = [(60, Act::Release(nature))];
        let calm = tell(&strategy, &acts, None);
        let crash = Crash { at: at.index(calm.writes), written, meanwhile: None };
        let shaken = tell(&strategy, &acts, Some(crash));
        if !is_close(&strategy, nature) && !is_undecided(&shaken) {
            prop_assert_eq!(shaken.end(), calm.end());
        }
    }

    #[test]
    fn whatever_hooks_answer_a_crash_leads_to_the_same_end(
        strategy in any_strategy(),
        nature in nature(),
        answers in answers(),
        at in any::<prop::sample::Index>(),
        written in any::<bool>(),
    ) {
        let tell = |crash| {
            let mut world = World::new(strategy.clone());
            world.crash = crash;
            world.answers = answers.clone();
            world.run_for(60);
            world.act(Act::Release(nature));
            world.run_for(900);
            world
        };
        let calm = tell(None);
        let shaken = tell(Some(Crash { at: at.index(calm.writes), written, meanwhile: None }));
        if !is_close(&strategy, nature) && !is_undecided(&shaken) {
            prop_assert_eq!(shaken.end(), calm.end());
        }
        let gives_up = |kind: &Hook| matches!(answers.get(&kind.kind), Some(Verdict::Abort(_)));
        let heard = strategy.hooks.iter().filter(|hook| hook.kind != HookKind::PostRollout);
        let aborts = heard.filter(|hook| hook.kind != HookKind::Rollback);
        if calm.phase() == Phase::Succeeded {
            prop_assert_eq!(aborts.filter(|hook| gives_up(hook) && asked(&calm, hook)).count(), 0);
        }
    }

    #[test]
    fn what_happens_while_nobody_is_in_charge_breaks_no_rule(
        strategy in any_strategy(),
        nature in nature(),
        at in any::<prop::sample::Index>(),
        written in any::<bool>(),
        act in act(),
    ) {
        let acts = [(60, Act::Release(nature))];
        let calm = tell(&strategy, &acts, None);
        let crash = Crash { at: at.index(calm.writes), written, meanwhile: Some(act) };
        let mut world = tell(&strategy, &acts, Some(crash));
        // The crash, and with it the loss, may come after the story's own recovery.
        world.act(Act::Recover);
        world.act(Act::MendSpec);
        world.act(Act::Ask("resume"));
        world.run_for(400);
        prop_assert!(is_at_rest(&world), "{:?}", world.state);
    }

    #[test]
    fn a_command_is_carried_out_once_however_the_operator_dies(
        strategy in any_strategy(),
        nature in nature(),
        pause in 5_u32..60,
        command in prop::sample::select(COMMANDS),
        at in any::<prop::sample::Index>(),
        written in any::<bool>(),
    ) {
        let acts = [(60, Act::Release(nature)), (pause, Act::Ask(command))];
        let calm = tell(&strategy, &acts, None);
        let crash = Crash { at: at.index(calm.writes), written, meanwhile: None };
        let shaken = tell(&strategy, &acts, Some(crash));
        if !is_close(&strategy, nature) && !is_undecided(&shaken) {
            prop_assert_eq!(shaken.end(), calm.end());
        }
    }

    #[test]
    fn a_command_that_git_shows_again_changes_nothing(
        strategy in strategy(),
        nature in nature(),
        commands in vec((2_u32..30, prop::sample::select(COMMANDS)), 1..6),
    ) {
        let mut acts = vec![(60, Act::Release(nature))];
        acts.extend(commands.into_iter().map(|(pause, command)| (pause, Act::Ask(command))));
        let calm = tell(&strategy, &acts, None);
        let mut replayed = World::new(strategy);
        for (pause, act) in &acts {
            replayed.run_for(pause - 1);
            replayed.act(Act::Replay);
            replayed.run_for(1);
            replayed.act(*act);
        }
        quieten(&mut replayed);
        prop_assert_eq!(replayed.end(), calm.end());
    }

    #[test]
    fn no_stored_state_makes_it_panic(
        strategy in strategy(),
        state in any_state(),
        seen in any_observation(),
        now in any_time(),
    ) {
        let decision = step(&strategy, &state, &seen, now);
        let again = step(&strategy, &decision.state, &seen, now);
        prop_assert_eq!(decision.effects, again.effects);
    }

    #[test]
    fn ladders_rise_and_stay_within_a_hundred(plan in plan()) {
        if let Plan::Weighted { ladder, .. } = plan {
            let mut at = Weight::ZERO;
            while let Some(next) = ladder.next(at) {
                prop_assert!(next > at && next <= Weight::FULL);
                prop_assert_eq!(next.get() + next.rest().get(), 100);
                at = next;
            }
        }
    }
}

/// Whether the blocks that a crash costs may decide: a canary that is a little worse is found or
/// not by a judgement.
fn is_close(strategy: &Rollout, nature: Nature) -> bool {
    strategy.judgement.is_some() && nature == Nature::Worse
}

/// Whether the blocks that a crash cost were those that a judgement needed to know anything.
fn is_undecided(world: &World) -> bool {
    let run = world.state.run.as_ref();
    let objection = run.and_then(|run| run.objection.as_deref());
    objection.is_some_and(|why| why.contains("inconclusive"))
}

/// Whether a hook was ever called.
fn asked(world: &World, hook: &Hook) -> bool {
    let start = format!("{}/", hook.kind);
    world.calls.iter().any(|key| key.probe.starts_with(&start))
}

/// Whether there is nothing left to do.
fn is_at_rest(world: &World) -> bool {
    match world.phase() {
        Phase::Initialized | Phase::Succeeded | Phase::Failed => true,
        // A first revision that does not come up leaves the target serving as before.
        Phase::Initializing => {
            matches!(
                world.target_nature(),
                Nature::Broken | Nature::BrokenAsPrimary
            )
        }
        Phase::Waiting
        | Phase::Progressing
        | Phase::WaitingPromotion
        | Phase::Promoting
        | Phase::Finalising
        | Phase::Terminating
        | Phase::Terminated => false,
    }
}

/// Each act of others at each write: rare moments that chance would miss.
#[test]
fn every_act_between_any_two_writes_breaks_no_rule() {
    let strategy = weighted(25, 50);
    let acts = [(30, Act::Release(Nature::Good))];
    let calm = tell(&strategy, &acts, None);
    let others = [
        Act::Release(Nature::Good),
        Act::Release(Nature::Faulty),
        Act::Release(Nature::Broken),
        Act::Revert,
        Act::LoseCanary,
        Act::LoseMostOfCanary,
        Act::LosePrimary,
        Act::Drift(0),
        Act::Drift(80),
        Act::DeleteRoutes,
        Act::EditRoutes,
        Act::Mute,
        Act::BreakSpec,
        Act::Ask("promote"),
        Act::Ask("promote-full"),
        Act::Ask("abort"),
        Act::Ask("set-weight=0"),
        Act::Ask("set-weight=100"),
        Act::Ask("rollback-to"),
    ];
    for at in 0..calm.writes {
        for written in [false, true] {
            for act in others {
                let crash = Crash {
                    at,
                    written,
                    meanwhile: Some(act),
                };
                let world = tell(&strategy, &acts, Some(crash));
                assert!(
                    is_at_rest(&world),
                    "{act:?} at write {at}: {:?}",
                    world.state
                );
            }
        }
    }
}

#[test]
fn a_crash_around_each_write_of_a_whole_rollout_leads_to_the_same_end() {
    let kinds = [
        HookKind::PreRollout,
        HookKind::Rollout,
        HookKind::PostRollout,
    ];
    let strategy = Rollout {
        hooks: kinds.map(hook).to_vec(),
        ..weighted(25, 50)
    };
    for nature in [Nature::Good, Nature::Faulty, Nature::BrokenAsPrimary] {
        let acts = [(30, Act::Release(nature))];
        let calm = tell(&strategy, &acts, None);
        for at in 0..calm.writes {
            for written in [false, true] {
                let shaken = tell(
                    &strategy,
                    &acts,
                    Some(Crash {
                        at,
                        written,
                        meanwhile: None,
                    }),
                );
                assert_eq!(
                    shaken.end(),
                    calm.end(),
                    "{nature:?}, write {at}, {written}"
                );
            }
        }
    }
}

fn most_moves(strategy: &Rollout) -> u32 {
    let back = strategy
        .promotion_step
        .map_or(1, |step| 100_u32.div_ceil(u32::from(step.get())));
    let forth = match &strategy.plan {
        Plan::Weighted {
            ladder: Ladder::Linear { step, max },
            ..
        } => u32::from(max.get()).div_ceil(u32::from(step.get())) + 1,
        Plan::Weighted {
            ladder: Ladder::Listed(weights),
            ..
        } => u32::try_from(weights.len()).unwrap_or(u32::MAX) + 1,
        // The longest takes an interval and a half, and another for new pods.
        Plan::Staged { stages, .. } => 3 * u32::try_from(stages.len()).unwrap_or(u32::MAX) + 1,
        Plan::Iterations { count, .. } => count + 2,
    };
    back + forth
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (0_i64..1000).prop_map(|s| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(s)),
    ]
}

fn any_revision() -> impl Strategy<Value = Revision> {
    (0_u8..4).prop_map(|number| Revision(format!("r{number}")))
}

fn any_split() -> impl Strategy<Value = Split> {
    (0_i64..=100, any::<bool>(), any::<bool>()).prop_map(|(canary, mirrored, sticky)| Split {
        canary: Weight::clamped(canary),
        mirrored,
        sticky,
    })
}

fn any_role() -> impl Strategy<Value = Role> {
    let readiness = prop_oneof![
        Just(Readiness::Ready),
        Just(Readiness::Pending("soon".to_owned())),
        Just(Readiness::Stuck("never".to_owned())),
    ];
    (
        0_u32..3,
        readiness,
        0_u32..3,
        0_u32..3,
        option::of(any_revision()),
        any::<bool>(),
    )
        .prop_map(
            |(desired, readiness, endpoints, needed, revision, observed)| Role {
                desired,
                readiness,
                observed,
                endpoints,
                needed,
                revision,
            },
        )
}

fn any_intent() -> impl Strategy<Value = Intent> {
    (any_split(), any_split(), any_time(), option::of(any_time())).prop_map(
        |(target, before, since, in_effect)| Intent {
            target,
            before,
            since,
            in_effect,
        },
    )
}

fn any_run() -> impl Strategy<Value = Run> {
    let shortcuts = [None, Some(Shortcut::Promote), Some(Shortcut::PromoteFull)];
    let shortcut = prop::sample::select(shortcuts.to_vec());
    let numbers = (
        prop_oneof![Just(u64::MAX), 0_u64..3],
        prop_oneof![Just(u32::MAX), 0_u32..3],
        prop_oneof![Just(u32::MAX), 0_u32..3],
        any::<bool>(),
        any::<bool>(),
    );
    let facts = (
        any_revision(),
        any_split(),
        numbers,
        option::of(any_time()),
        shortcut,
        option::of((0_u32..6, any_time(), any::<bool>())),
        option::of((any_time(), any_time())),
        option::of((any_time(), 0_u32..3)),
    );
    facts.prop_map(
        |(revision, split, numbers, checked_at, shortcut, place, later, bake)| {
            let (id, count, failed, warmed, withdrawn) = numbers;
            Run {
                bake: bake.map(|(since, failed_checks)| Bake {
                    since,
                    failed_checks,
                }),
                place: place.map(|(number, since, resumed)| Place {
                    number,
                    since,
                    resumed,
                }),
                postponed: later.map(|(since, until)| Postponed { since, until }),
                shortcut,
                step: count,
                weight: split.canary,
                mirrored: split.mirrored,
                iterations: count,
                failed_checks: failed,
                warmed,
                withdrawn,
                checked_at,
                round: Round {
                    attempt: count,
                    passed: vec!["metrics".to_owned()],
                    asked: None,
                },
                ..Run::new(id, revision)
            }
        },
    )
}

fn any_state() -> impl Strategy<Value = State> {
    (
        option::of(prop::sample::select(Phase::ALL.to_vec())),
        (
            option::of(any_revision()),
            vec(any_revision(), 0..3),
            vec(any_revision(), 0..4),
        ),
        option::of(any_run()),
        option::of(any_intent()),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        option::of(any_time()),
        option::of(0..9_u32),
    )
        .prop_map(
            |(
                phase,
                (promoted, refused, kept),
                run,
                traffic,
                flags,
                unready_since,
                primary_replicas,
            )| State {
                phase,
                promoted,
                primary_replicas,
                primary_lost: false,
                refused,
                kept,
                run,
                traffic,
                retained: flags.0,
                closing: flags.1,
                unready_since,
                paused: flags.2,
                commands: Vec::new(),
            },
        )
}

fn any_inheritance() -> impl Strategy<Value = Inheritance> {
    prop_oneof![
        Just(Inheritance::Same),
        Just(Inheritance::Different),
        Just(Inheritance::Unclear("it is not told".to_owned())),
    ]
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        option::of(any_revision()),
        option::of(any_role()),
        option::of(any_role()),
        option::of(0_u32..3),
        option::of(any_split()),
        flags,
        (any::<bool>(), any::<bool>()),
        option::of(prop::sample::select(COMMANDS)),
        option::of(any_inheritance()),
    )
        .prop_map(
            |(
                revision,
                canary,
                primary,
                autoscaler_minimum,
                split,
                flags,
                rest,
                command,
                inheritance,
            )| {
                let (answered, invalid) = rest;
                let (prepared, routes_current, acked, deleting) = flags;
                let key = ProbeKey {
                    run: 1,
                    step: 0,
                    attempt: 0,
                    probe: "metrics".to_owned(),
                };
                let answer = Answer {
                    key,
                    verdict: Verdict::NoData("nothing".to_owned()),
                };
                Observation {
                    revision: revision.ok_or_else(|| "not observed".to_owned()),
                    canary,
                    primary,
                    autoscaler_minimum,
                    prepared,
                    split,
                    routes_current,
                    acked,
                    counted: None,
                    answers: if answered { vec![answer] } else { Vec::new() },
                    deleting,
                    inheritance,
                    invalid: invalid.then(|| "`spec`: is wrong".to_owned()),
                    command: command.map(|text| Request::new(&format!("{text}@1"), None)),
                }
            },
        )
}
