//! An independent judge of what the machine does: it knows the rules, not the machine.

use std::collections::BTreeSet;

use fairlead_rollout::{
    Capacity, Decision, Effect, Observation, Phase, Plan, Probe, ProbeKey, Reason, Revision, Split,
    State, Strategy, Weight,
};

/// Remembers what it needs to judge the next move.
#[derive(Default)]
pub(crate) struct Checker {
    answered: BTreeSet<ProbeKey>,
    weight: Option<(u64, Weight)>,
    measured: BTreeSet<Revision>,
    withdrawn: bool,
    moved_by_others: bool,
    skips_analysis: bool,
    handled: BTreeSet<String>,
}

impl Checker {
    /// The next fall of the weight is not the machine's.
    pub(crate) fn somebody_moved_traffic(&mut self) {
        self.moved_by_others = true;
    }

    /// Promotion without a check is what the user asked for.
    pub(crate) fn analysis_is_skipped(&mut self) {
        self.skips_analysis = true;
    }

    /// Judges a decision whose state has been stored.
    pub(crate) fn stored(&mut self, seen: &Observation, decision: &Decision) {
        if decision
            .events
            .iter()
            .any(|event| event.reason == Reason::Withdrawn)
        {
            self.withdrawn = true;
        }
        self.hear_commands(decision);
        for answer in &seen.answers {
            let recorded = decision
                .state
                .run
                .as_ref()
                .is_some_and(|run| run.round.passed.contains(&answer.key.probe));
            if recorded {
                self.answered.insert(answer.key.clone());
            }
            if answer.key.probe == "metrics" && answer.verdict.objection().is_none() {
                self.measured.extend(seen.current().cloned());
            }
        }
        self.judge_weight(&decision.state);
        judge_kept(&decision.state);
    }

    /// Each command is handled once, and excuses only what it asks for.
    fn hear_commands(&mut self, decision: &Decision) {
        for event in &decision.events {
            match event.reason {
                Reason::WeightSet => {
                    self.weight = None;
                    self.moved_by_others = true;
                }
                Reason::PromotionRequested => self.skips_analysis = true,
                _ => {}
            }
        }
        let is_new = |reason| decision.events.iter().any(|event| event.reason == reason);
        let told = [
            Reason::Paused,
            Reason::Resumed,
            Reason::PromotionRequested,
            Reason::Aborted,
            Reason::Retried,
            Reason::WeightSet,
            Reason::RollbackRequested,
            Reason::CommandRefused,
        ];
        if told.into_iter().any(is_new) {
            let newest = decision.state.commands.first().expect("it is remembered");
            assert!(
                self.handled.insert(newest.token.clone()),
                "{} was handled twice",
                newest.token
            );
        }
    }

    /// The intended weight of a run does not fall while it progresses.
    fn judge_weight(&mut self, stored: &State) {
        let Some(run) = &stored.run else { return };
        let progressing = matches!(
            stored.phase,
            Some(Phase::Progressing | Phase::WaitingPromotion)
        );
        if !progressing {
            self.weight = None;
            return;
        }
        if let Some((id, weight)) = self.weight
            && id == run.id
        {
            assert!(
                run.weight >= weight,
                "the weight fell from {weight} to {}",
                run.weight
            );
        }
        self.weight = Some((run.id, run.weight));
    }

    /// Judges an effect at the moment it is carried out, by the stored state and the world.
    pub(crate) fn executes(
        &mut self,
        strategy: &Strategy,
        stored: &State,
        seen: &Observation,
        effect: &Effect,
    ) {
        if seen.invalid.is_some() && !seen.deleting {
            let rescues = matches!(effect, Effect::SetSplit { from, to } if to.canary < from.canary
                || (from.mirrored && !to.mirrored)
                || (from.sticky && !to.sticky));
            let restores = matches!(effect, Effect::RestorePrimary { .. });
            assert!(
                rescues || restores,
                "{effect:?} for a spec that cannot be carried out"
            );
        }
        match effect {
            Effect::SetSplit { to, .. } => {
                self.judge_split(stored, seen, *to);
                judge_capacity(strategy, stored, seen, *to);
            }
            Effect::Route { split } => {
                let current = seen.split.unwrap_or_default();
                assert!(
                    !current.raises_canary(*split),
                    "routes were made with more traffic"
                );
            }
            Effect::ScaleCanary { replicas: 0 } => {
                let split = seen.split.expect("there are routes");
                assert!(
                    !split.reaches_canary(),
                    "scaled down with traffic at {split}"
                );
                let intent = stored.traffic.expect("an intent");
                assert!(
                    intent.in_effect.is_some(),
                    "scaled down before it was in effect"
                );
            }
            Effect::ScaleCanary { .. } | Effect::Prepare | Effect::CreatePrimary { .. } => {}
            Effect::PromotePrimary { revision, .. } => {
                assert!(
                    !stored.refused.contains(revision),
                    "{revision} was promoted and is refused"
                );
                assert_eq!(stored.phase, Some(Phase::Promoting));
                assert_eq!(seen.current(), Some(revision), "the target has moved on");
                assert!(
                    self.skips_analysis || self.measured.contains(revision),
                    "{revision} was promoted without a check"
                );
            }
            Effect::RestorePrimary { revision, .. } => {
                assert_eq!(stored.phase, Some(Phase::Failed));
                assert_eq!(stored.promoted.as_ref(), Some(revision));
            }
            Effect::MarkPrimary { revision } => {
                assert_eq!(stored.promoted.as_ref(), Some(revision));
                let primary = seen.primary.as_ref().expect("a primary");
                assert_eq!(primary.revision, None, "it says already what it runs");
            }
            Effect::Ask { key, probe } => {
                let run = stored.run.as_ref().expect("a run");
                let noted = match probe {
                    Probe::Hook { .. } => Some(&key.probe),
                    Probe::Metrics { .. } => None,
                };
                assert_eq!(run.round.asked.as_ref(), noted, "asked before it was noted");
                assert!(
                    !self.answered.contains(key),
                    "{key} was asked after its answer"
                );
            }
            Effect::GiveBack => assert!(seen.deleting),
        }
    }

    fn judge_split(&mut self, stored: &State, seen: &Observation, to: Split) {
        let from = seen.split.expect("there are routes");
        let intent = stored.traffic.expect("an intent before the weight");
        assert_eq!(intent.target, to, "the intent is another one");
        let canary = seen.canary.as_ref().expect("a canary");
        assert!(
            !to.sticky || to.canary > Weight::ZERO,
            "clients are bound to a canary without a share"
        );
        let binds = to.sticky && !from.sticky;
        assert!(
            !binds || canary.endpoints > 0,
            "clients are bound to a canary without endpoints"
        );
        if from.raises_canary(to) {
            assert!(
                canary.endpoints >= canary.needed.max(1),
                "{from} to {to} without endpoints"
            );
        }
        if to.canary < from.canary {
            let primary = seen.primary.as_ref().expect("a primary");
            assert!(
                primary.endpoints > 0,
                "{from} to {to} with nobody at the primary"
            );
            let progressing = matches!(stored.phase, Some(Phase::Progressing));
            let excused = self.withdrawn
                || self.moved_by_others
                || stored
                    .run
                    .as_ref()
                    .is_some_and(|run| run.weight == Weight::ZERO);
            assert!(
                !progressing || excused,
                "{from} fell to {to} while progressing"
            );
        }
    }
}

/// No share of the traffic goes to a canary that is smaller than that share of the primary, unless
/// an explicit step or the promotion says so.
fn judge_capacity(strategy: &Strategy, stored: &State, seen: &Observation, to: Split) {
    let from = seen.split.expect("there are routes");
    let by_weight = matches!(strategy.plan, Plan::Weighted { .. });
    let analysed = stored.phase == Some(Phase::Progressing);
    if strategy.capacity == Capacity::Full || !by_weight || !analysed || !from.raises_canary(to) {
        return;
    }
    let canary = seen.canary.as_ref().expect("a canary");
    let primary = seen.primary.as_ref().expect("a primary");
    let share = u32::from(to.canary.get());
    let least = (primary.desired * share).div_ceil(100).max(1);
    assert!(
        canary.endpoints >= least,
        "{from} to {to} with {} of {least} endpoints",
        canary.endpoints
    );
}

/// What can be gone back to is little, told apart, and not what runs already.
fn judge_kept(stored: &State) {
    let kept = &stored.kept;
    assert!(kept.len() <= 2, "too much is kept: {kept:?}");
    let apart: BTreeSet<_> = kept.iter().chain(&stored.promoted).collect();
    let told = kept.len() + usize::from(stored.promoted.is_some());
    assert_eq!(apart.len(), told, "kept twice: {stored:?}");
    // While a failed promotion leaves all traffic to the canary, a revert is a run as well, and
    // may fail.
    if let Some(promoted) = stored.promoted.as_ref().filter(|_| !stored.retained) {
        let is_refused = stored.refused.contains(promoted);
        assert!(!is_refused, "what is promoted is refused: {stored:?}");
    }
}

/// Judges a decision before anything of it happens.
pub(crate) fn decided(before: &State, seen: &Observation, decision: &Decision, again: &Decision) {
    assert_eq!(
        decision.effects, again.effects,
        "deciding twice changes the effects"
    );
    assert_eq!(
        decision.state, again.state,
        "deciding twice changes the state"
    );
    assert!(
        again.events.is_empty(),
        "deciding twice tells twice: {:?}",
        again.events
    );
    if before.is_foreign() {
        return;
    }
    if let (Some(from), Some(to)) = (before.phase, decision.state.phase) {
        assert!(reaches(from, to), "{from} became {to}");
    }
    judge_absorbing(before, seen, decision);
}

/// Judges what is decided once more when the world is the same and nothing is heard: whoever looks
/// again before traffic moves must come to the same split.
pub(crate) fn moves_alike(decision: &Decision, later: &Decision) {
    let split = |decision: &Decision| decision.effects.iter().find_map(Effect::new_split);
    let is_the_same = split(decision).is_none() || split(decision) == split(later);
    assert!(
        is_the_same,
        "{:?} became {:?}",
        split(decision),
        split(later)
    );
}

/// Succeeded and Failed are left for a revision, a revert or a deletion only.
fn judge_absorbing(before: &State, seen: &Observation, decision: &Decision) {
    let ended = matches!(before.phase, Some(Phase::Succeeded | Phase::Failed));
    if !ended || before.phase == decision.state.phase || seen.deleting {
        return;
    }
    let mut known = before.promoted.iter().chain(&before.refused);
    let is_new = !known.any(|one| Some(one) == seen.current()) || before.retained;
    let is_revert = seen.current() == before.promoted.as_ref();
    let bakes = before.run.as_ref().is_some_and(|run| run.bake.is_some());
    let is_excused = decision.events.iter().any(|event| match event.reason {
        Reason::Retried | Reason::RollbackRequested => true,
        Reason::RolledBack => bakes,
        _ => false,
    });
    assert!(
        is_new || is_revert || is_excused,
        "{:?} was left without a reason",
        before.phase
    );
}

/// Whether `to` can follow `from` through legal transitions within one decision.
fn reaches(from: Phase, to: Phase) -> bool {
    from == to
        || from.may_become(to)
        || Phase::ALL
            .into_iter()
            .any(|via| from.may_become(via) && via.may_become(to))
}
