//! Has both versions counted side by side while a split is in effect. What is counted comes back
//! with the next look; what it means is decided in `fairlead_rollout`.

use fairlead_rollout::{Phase, Split, State, Weight};
use kube::ResourceExt as _;

use super::look::Look;
use super::observe::World;
use super::question::{primary, target};
use crate::analysis::mesh::{Comparison, Pods};

impl Look<'_> {
    /// Begins to count, goes on with it, or stops.
    pub(super) fn keep_comparing(&self, state: &State, world: &World) {
        let mesh = &self.context.sources.mesh;
        let uid = self.canary.uid().unwrap_or_default();
        match self.comparison(state, world) {
            Some(comparison) => mesh.compare(&uid, comparison),
            None => mesh.stop_comparing(&uid),
        }
    }

    fn comparison(&self, state: &State, world: &World) -> Option<Comparison> {
        let plan = self.plan();
        let terms = plan.strategy.judgement.clone()?;
        let counting = plan.counting?;
        let split = comparable_split(state).filter(|_| !plan.strategy.suspended)?;
        if world.observation.split != Some(split) {
            return None;
        }
        let run = state.run.as_ref()?;
        let selector = world.target.as_ref()?.selector.as_ref()?;
        Some(Comparison {
            run: run.id,
            weight: u32::from(split.canary.get()),
            canary: target(plan),
            primary: primary(plan),
            pods: Pods {
                key: selector.key.clone(),
                values: [selector.value.clone(), selector.primary_value()],
            },
            block_length: counting.block_length,
            warmup: counting.warmup,
            terms,
            record: run.record.clone(),
            wake: self.context.desk.waker(self.reference.clone()),
        })
    }
}

/// The split in effect, while both versions serve their share of it. Pure.
fn comparable_split(state: &State) -> Option<Split> {
    let is_judged = matches!(
        state.phase,
        Some(Phase::Progressing | Phase::WaitingPromotion)
    );
    let (run, intent) = (state.run.as_ref()?, state.traffic?);
    let split = run.split();
    // Whether clients are bound to a version is the routes' business.
    let is_target =
        (intent.target.canary, intent.target.mirrored) == (split.canary, split.mirrored);
    let is_in_effect = is_target && intent.in_effect.is_some();
    let serves = split.canary > Weight::ZERO && !split.mirrored;
    (is_judged && is_in_effect && serves).then_some(intent.target)
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::{Intent, Revision, Run};
    use jiff::Timestamp;

    use super::*;

    fn state(weight: i64) -> State {
        let split = Split::to_canary(Weight::clamped(weight));
        State {
            phase: Some(Phase::Progressing),
            run: Some(Run {
                weight: split.canary,
                ..Run::new(1, Revision("r".to_owned()))
            }),
            traffic: Some(Intent {
                target: split,
                before: Split::PRIMARY,
                since: Timestamp::UNIX_EPOCH,
                in_effect: Some(Timestamp::UNIX_EPOCH),
            }),
            ..State::default()
        }
    }

    fn check(change: impl FnOnce(&mut State), expected: Option<u8>) {
        let mut changed = state(10);
        change(&mut changed);
        let split = comparable_split(&changed);
        assert_eq!(split.map(|split| split.canary.get()), expected);
    }

    fn run(state: &mut State) -> &mut Run {
        state.run.as_mut().unwrap()
    }

    #[test]
    fn only_a_split_that_the_proxies_have_is_counted() {
        check(|_| {}, Some(10));
        check(
            |state| state.phase = Some(Phase::WaitingPromotion),
            Some(10),
        );
        check(|state| state.phase = Some(Phase::Promoting), None);
        check(|state| run(state).withdrawn = true, None);
        check(|state| run(state).weight = Weight::clamped(20), None);
        check(|state| run(state).weight = Weight::ZERO, None);
        check(|state| state.traffic = None, None);
        let unconfirmed = |state: &mut State| {
            state.traffic = state.traffic.map(|intent| Intent {
                in_effect: None,
                ..intent
            });
        };
        check(unconfirmed, None);
        let copies = |state: &mut State| {
            run(state).mirrored = true;
            state.traffic = state.traffic.map(|intent| Intent {
                target: Split {
                    mirrored: true,
                    ..intent.target
                },
                ..intent
            });
        };
        check(copies, None);
    }
}
