//! The share of requests that the canary really gets, written beside its weight with each check.

use std::time::Duration;

use fairlead_crds::canary::{CanaryStatus, Number, ShareStatus};
use fairlead_rollout::{State, Weight};
use fairlead_runtime::clock;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::history::Moment;
use super::look::Look;
use super::question::{primary, target};

impl Look<'_> {
    /// Notes the share since the weight took effect, where the mesh's proxies are read anyway.
    pub(super) fn note_share(&self, status: &mut CanaryStatus, moment: &Moment<'_>) {
        let Some((weight, since)) = checked(moment.before, &moment.decision.state) else {
            return;
        };
        let passed = Duration::try_from(moment.now.duration_since(since)).unwrap_or_default();
        let Some(since) = clock::instant().checked_sub(passed) else {
            return;
        };
        let mesh = &self.context.sources.mesh;
        let share = mesh.share(&target(self.plan()), &primary(self.plan()), since);
        let Some((share, percent)) = share.and_then(|share| Some((share, share.percent()?))) else {
            return;
        };
        status.rollout.get_or_insert_default().observed_share = Some(ShareStatus {
            weight: weight.get(),
            percent: Number::from(percent),
            requests: share.total,
            at: MicroTime(moment.now),
        });
    }
}

/// The weight that a check has just ended at, and since when it is in effect. Pure.
fn checked(before: &State, after: &State) -> Option<(Weight, Timestamp)> {
    let at = |state: &State| state.run.as_ref().map(|run| (run.id, run.checked_at));
    let intent = before.traffic?;
    let is_told = at(before) != at(after) && intent.target.canary > Weight::ZERO;
    is_told.then_some((intent.target.canary, intent.in_effect?))
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::{Intent, Revision, Run, Split};

    use super::*;

    fn state(weight: i64, second: i64, is_in_effect: bool) -> State {
        let time = |second| Timestamp::from_second(second).unwrap();
        State {
            run: Some(Run {
                checked_at: Some(time(second)),
                ..Run::new(1, Revision("r".to_owned()))
            }),
            traffic: Some(Intent {
                target: Split::to_canary(Weight::clamped(weight)),
                before: Split::PRIMARY,
                since: time(5),
                in_effect: is_in_effect.then(|| time(5)),
            }),
            ..State::default()
        }
    }

    #[test]
    fn a_share_belongs_to_the_weight_that_the_check_was_made_at() {
        let check = |before: &State, after: &State, expected: Option<u8>| {
            let found = checked(before, after).map(|(weight, _)| weight.get());
            assert_eq!(found, expected);
        };
        check(&state(10, 7, true), &state(20, 17, true), Some(10));
        check(&state(10, 7, true), &state(10, 7, true), None);
        check(&state(10, 7, false), &state(10, 17, true), None);
        check(&state(0, 7, true), &state(10, 17, true), None);
        check(&State::default(), &state(10, 7, true), None);
    }
}
