//! The strategy of a Canary, and the numbers and durations of its spec. Pure.

use std::time::Duration;

use fairlead_crds::canary::{CanaryAnalysis, CanarySpec, Number};
use fairlead_crds::parse_duration;
use fairlead_rollout::{Capacity, Hook, Ladder, Plan, Stage, Strategy, Weight};
use jiff::SignedDuration;

use super::capacity::capacity;
use super::steps::stages;
use super::validate::{Error, Limits, Metric, Thresholds, Webhook};
use super::{bake, judgement};
use crate::router::{Provider, RoutePlan};
use crate::workload::Kind;

/// The pace of a Canary that names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// How long a workload may take to become ready, unless the spec says otherwise.
const DEFAULT_DEADLINE: i64 = 600;
/// The checks of a Canary without routes that names no number; Flagger's.
const UNDIVIDED_ITERATIONS: u32 = 10;
/// How long the proxies may take to confirm a weight before the rollout goes on without.
const ACK_TIMEOUT: SignedDuration = SignedDuration::from_secs(5);

/// What the machine needs to know.
pub(super) fn strategy(
    spec: &CanarySpec,
    kind: Kind,
    limits: &Limits,
    route: &RoutePlan,
    hooks: &[Webhook],
    metrics: &[Metric],
) -> Result<Strategy, Error> {
    let analysis = &spec.analysis;
    let skips = spec.skip_analysis.unwrap_or(false);
    let promotion = percent(
        "spec.analysis.stepWeightPromotion",
        analysis.step_weight_promotion,
    )?;
    let divides = route.provider != Provider::Kubernetes;
    let named = |hook: &Webhook| {
        Some(Hook {
            name: hook.name.clone(),
            kind: hook.kind?,
        })
    };
    let plan = if divides {
        plan(analysis, skips, stages(spec, kind, hooks, metrics)?)?
    } else {
        undivided(analysis)?
    };
    Ok(Strategy {
        bake: bake::length(analysis)?,
        judgement: judgement::terms(analysis, route.provider, &plan)?,
        capacity: if divides {
            capacity(spec, kind, &plan)?
        } else {
            Capacity::Full
        },
        plan,
        interval: interval(analysis, limits)?,
        threshold: threshold(analysis)?,
        promotion_step: promotion.filter(|step| *step > Weight::ZERO),
        progress_deadline: deadline(spec.progress_deadline_seconds)?,
        skip_analysis: skips,
        divides_traffic: divides,
        sized: kind.size_field().is_some(),
        sticky: route.affinity.is_some(),
        suspended: spec.suspend.unwrap_or(false),
        has_metrics: !metrics.is_empty(),
        hooks: hooks.iter().filter_map(named).collect(),
        ack_timeout: ACK_TIMEOUT,
    })
}

/// The percentages of updated pods that must be ready.
pub(super) fn thresholds(analysis: &CanaryAnalysis) -> Result<Thresholds, Error> {
    let primary = analysis.primary_ready_threshold;
    let canary = analysis.canary_ready_threshold;
    Ok(Thresholds {
        primary: ready("spec.analysis.primaryReadyThreshold", primary)?,
        canary: ready("spec.analysis.canaryReadyThreshold", canary)?,
    })
}

/// Without routes there is blue/green only, whatever is asked for, as in Flagger.
fn undivided(analysis: &CanaryAnalysis) -> Result<Plan, Error> {
    let iterations = whole("spec.analysis.iterations", analysis.iterations)?;
    let count = iterations.and_then(|count| u32::try_from(count).ok());
    Ok(Plan::Iterations {
        count: count
            .filter(|count| *count > 0)
            .unwrap_or(UNDIVIDED_ITERATIONS),
        matched: false,
        mirror: false,
    })
}

fn plan(analysis: &CanaryAnalysis, skips: bool, stages: Vec<Stage>) -> Result<Plan, Error> {
    let mirror = analysis.mirror.unwrap_or(false);
    let iterations = whole("spec.analysis.iterations", analysis.iterations)?.filter(|n| *n > 0);
    let step = percent("spec.analysis.stepWeight", analysis.step_weight)?
        .filter(|step| *step > Weight::ZERO);
    let listed = ladder(&analysis.step_weights)?;
    let mut plans = Vec::new();
    plans.extend(iterations.map(|count| Plan::Iterations {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        matched: !analysis.r#match.is_empty(),
        mirror,
    }));
    if let Some(step) = step {
        let max = percent("spec.analysis.maxWeight", analysis.max_weight)?;
        let max = max
            .filter(|max| *max > Weight::ZERO)
            .unwrap_or(Weight::FULL);
        let ladder = Ladder::Linear { step, max };
        plans.push(Plan::Weighted { ladder, mirror });
    }
    plans.extend((!listed.is_empty()).then_some(Plan::Weighted {
        ladder: Ladder::Listed(listed),
        mirror,
    }));
    plans.extend((!stages.is_empty()).then_some(Plan::Staged { stages, mirror }));
    match (plans.pop(), plans.is_empty()) {
        (Some(plan), true) => Ok(plan),
        (Some(_), false) => Err(Error::Strategy("more than one strategy is set")),
        (None, _) if skips => Ok(Plan::Weighted {
            ladder: Ladder::Linear {
                step: Weight::FULL,
                max: Weight::FULL,
            },
            mirror: false,
        }),
        (None, _) => Err(Error::Strategy("no strategy is set")),
    }
}

fn ladder(steps: &[Number]) -> Result<Vec<Weight>, Error> {
    const FIELD: &str = "spec.analysis.stepWeights";
    let mut weights: Vec<Weight> = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let whole = whole(FIELD, Some(*step))?.unwrap_or_default();
        // The last one stands for "all" when it is above, as in Flagger.
        let capped = if place + 1 == steps.len() {
            whole.min(100)
        } else {
            whole
        };
        let weight = Weight::new(capped)
            .filter(|weight| weights.last().copied().unwrap_or_default() < *weight)
            .ok_or_else(|| Error::Field {
                field: FIELD,
                fix: format!("must rise from step to step between 1 and 100, but holds {whole}"),
            })?;
        weights.push(weight);
    }
    Ok(weights)
}

fn interval(analysis: &CanaryAnalysis, limits: &Limits) -> Result<SignedDuration, Error> {
    let asked = duration("spec.analysis.interval", analysis.interval.as_deref())?;
    let interval = asked.unwrap_or(DEFAULT_INTERVAL).max(limits.interval_floor);
    Ok(SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX))
}

fn threshold(analysis: &CanaryAnalysis) -> Result<u32, Error> {
    const FIELD: &str = "spec.analysis.threshold";
    let threshold = whole(FIELD, analysis.threshold)?.unwrap_or(1);
    if threshold < 0 {
        return Err(Error::Field {
            field: FIELD,
            fix: format!("must be 1 or more, but is {threshold}"),
        });
    }
    // As in Flagger, none is as one.
    let threshold = threshold.max(1);
    Ok(u32::try_from(threshold).unwrap_or(u32::MAX))
}

fn deadline(seconds: Option<Number>) -> Result<SignedDuration, Error> {
    let seconds = whole("spec.progressDeadlineSeconds", seconds)?.unwrap_or(DEFAULT_DEADLINE);
    Ok(SignedDuration::from_secs(seconds.max(1)))
}

fn ready(field: &'static str, percentage: Option<Number>) -> Result<u32, Error> {
    let weight = percent(field, percentage)?.unwrap_or(Weight::FULL);
    Ok(u32::from(weight.get()))
}

pub(super) fn percent(
    field: &'static str,
    number: Option<Number>,
) -> Result<Option<Weight>, Error> {
    let Some(whole) = whole(field, number)? else {
        return Ok(None);
    };
    let fix = || Error::Field {
        field,
        fix: format!("must be 0 to 100, but is {whole}"),
    };
    Weight::new(whole).ok_or_else(fix).map(Some)
}

pub(super) fn whole(field: &'static str, number: Option<Number>) -> Result<Option<i64>, Error> {
    let Some(number) = number else {
        return Ok(None);
    };
    let fix = || Error::Field {
        field,
        fix: format!("must be a whole number, but is {number}"),
    };
    number.whole().ok_or_else(fix).map(Some)
}

pub(super) fn duration(field: &'static str, text: Option<&str>) -> Result<Option<Duration>, Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    parse_duration(text)
        .map(Some)
        .map_err(|error| Error::Field {
            field,
            fix: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn check(analysis: Value, expected: Result<Plan, &str>) {
        let read: CanaryAnalysis = serde_json::from_value(analysis.clone()).unwrap();
        let plan = plan(&read, false, Vec::new()).map_err(|error| error.to_string());
        match (plan, expected) {
            (Ok(plan), Ok(expected)) => assert_eq!(plan, expected, "{analysis}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (plan, expected) => unreachable!("{analysis}: {plan:?} is not {expected:?}"),
        }
    }

    fn weights(all: &[i64]) -> Vec<Weight> {
        all.iter().map(|weight| Weight::clamped(*weight)).collect()
    }

    #[test]
    fn exactly_one_strategy_is_needed() {
        check(json!({}), Err("no strategy"));
        check(
            json!({ "stepWeight": 10, "iterations": 5 }),
            Err("more than one"),
        );
        check(
            json!({ "stepWeight": 10, "stepWeights": [10] }),
            Err("more than one"),
        );
        let ladder = Ladder::Linear {
            step: Weight::clamped(10),
            max: Weight::FULL,
        };
        check(
            json!({ "stepWeight": 10 }),
            Ok(Plan::Weighted {
                ladder,
                mirror: false,
            }),
        );
    }

    #[test]
    fn without_routes_there_is_blue_green_only() {
        let read = |analysis: Value| {
            undivided(&serde_json::from_value::<CanaryAnalysis>(analysis).unwrap())
        };
        let iterations = |count| {
            Ok(Plan::Iterations {
                count,
                matched: false,
                mirror: false,
            })
        };
        assert_eq!(read(json!({ "stepWeight": 10 })), iterations(10));
        assert_eq!(
            read(json!({ "iterations": 3, "mirror": true })),
            iterations(3)
        );
    }

    #[test]
    fn odd_numbers_are_named_with_their_field() {
        check(
            json!({ "stepWeight": 2.5 }),
            Err("`spec.analysis.stepWeight`: must be a whole number"),
        );
        check(json!({ "stepWeight": 101 }), Err("must be 0 to 100"));
        check(json!({ "stepWeight": -1 }), Err("must be 0 to 100"));
        check(
            json!({ "stepWeights": [10, 5] }),
            Err("must rise from step to step"),
        );
        check(
            json!({ "stepWeights": [0] }),
            Err("must rise from step to step"),
        );
    }

    #[test]
    fn a_threshold_below_nothing_is_refused_and_none_is_as_one() {
        let read = |analysis: Value| {
            let read = threshold(&serde_json::from_value(analysis).unwrap());
            read.map_err(|error| error.to_string())
        };
        assert_eq!(read(json!({ "threshold": 3 })), Ok(3));
        assert_eq!(read(json!({ "threshold": 0 })), Ok(1));
        assert_eq!(read(json!({})), Ok(1));
        assert_eq!(
            read(json!({ "threshold": -3 })),
            Err("`spec.analysis.threshold`: must be 1 or more, but is -3".to_owned())
        );
    }

    #[test]
    fn the_last_step_above_all_means_all() {
        let ladder = Ladder::Listed(weights(&[10, 50, 100]));
        check(
            json!({ "stepWeights": [10, 50, 150] }),
            Ok(Plan::Weighted {
                ladder,
                mirror: false,
            }),
        );
    }

    #[test]
    fn matches_make_iterations_an_ab_test() {
        let matched =
            json!({ "iterations": 3, "match": [{ "headers": { "x": { "exact": "y" } } }] });
        check(
            matched,
            Ok(Plan::Iterations {
                count: 3,
                matched: true,
                mirror: false,
            }),
        );
    }

    #[test]
    fn intervals_have_a_floor_and_bad_ones_say_so() {
        let limits = Limits {
            interval_floor: Duration::from_secs(10),
            ..Limits::default()
        };
        let read = |text: &str| {
            let analysis = json!({ "interval": text });
            interval(&serde_json::from_value(analysis).unwrap(), &limits)
        };
        assert_eq!(read("5s"), Ok(SignedDuration::from_secs(10)));
        assert_eq!(read("1m"), Ok(SignedDuration::from_secs(60)));
        let error = read("1x").unwrap_err().to_string();
        assert!(error.contains("spec.analysis.interval"), "{error}");
    }
}
