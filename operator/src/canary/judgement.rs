//! The judgement of a Canary: what both versions are compared by, and how they are counted. Pure.

use std::time::Duration;

use fairlead_crds::canary::{CanaryAnalysis, JudgedMetric, JudgedMetricName, Number};
use fairlead_rollout::judgement::{
    Bounds, Cohorts, Confidence, CriteriaError, Effect, LatencyTerms, Quantile, Terms,
};
use fairlead_rollout::{Plan, Weight};

use super::strategy::{duration, whole};
use super::validate::Error;
use crate::analysis::mesh::BOUNDS;
use crate::router::Provider;

/// Half a second: at 100 requests a second a canary with a tenth of them, half of which fail, is
/// found within two.
const DEFAULT_BLOCK: Duration = Duration::from_millis(500);
/// Shorter blocks would ask all proxies more often than is good for them.
const SHORTEST_BLOCK: Duration = Duration::from_millis(250);
/// Longer blocks no longer compare at the same time.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);

/// The path of the whole.
const FIELD: &str = "spec.analysis.judgement";

/// How both versions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// How long a block is.
    pub block_length: Duration,
    /// How long after a pod became ready nothing is counted.
    pub warmup: Duration,
}

/// What both versions are compared by, when that is asked for.
pub(super) fn terms(
    analysis: &CanaryAnalysis,
    provider: Provider,
    plan: &Plan,
) -> Result<Option<Terms>, Error> {
    let Some(judgement) = &analysis.judgement else {
        return Ok(None);
    };
    if provider != Provider::Istio {
        return Err(invalid(
            FIELD,
            "needs the mesh's proxies, which count the requests to both versions: set \
             spec.provider to istio, or leave it out",
        ));
    }
    is_comparable(plan)?;
    let mut terms = Terms {
        failures: None,
        latency: None,
        minimum_samples: minimum_samples(judgement.minimum_samples)?,
        confidence: match judgement.confidence {
            Some(confidence) => Confidence::new(confidence.as_f64())
                .map_err(named("spec.analysis.judgement.confidence"))?,
            None => Confidence::DEFAULT,
        },
        cohorts: cohorts(analysis, judgement.compare_chosen_cohorts.unwrap_or(false))?,
    };
    for metric in &judgement.metrics {
        match metric.name {
            JudgedMetricName::SuccessRate => {
                terms.failures = Some(effect(metric, Ok(Effect::DEFAULT))?);
            }
            JudgedMetricName::Duration => terms.latency = Some(latency(metric)?),
        }
    }
    if terms.failures.is_none() && terms.latency.is_none() {
        return Err(invalid(
            "spec.analysis.judgement.metrics",
            "must name request-success-rate, request-duration or both",
        ));
    }
    Ok(Some(terms))
}

/// How they are counted.
pub(super) fn counting(analysis: &CanaryAnalysis) -> Result<Option<Counting>, Error> {
    const BLOCK: &str = "spec.analysis.judgement.blockLength";
    let Some(judgement) = &analysis.judgement else {
        return Ok(None);
    };
    let block_length = duration(BLOCK, judgement.block_length.as_deref())?;
    let block_length = block_length.unwrap_or(DEFAULT_BLOCK);
    if !(SHORTEST_BLOCK..=LONGEST_BLOCK).contains(&block_length) {
        return Err(invalid(BLOCK, "must be 250ms to 1m"));
    }
    let warmup = duration(
        "spec.analysis.judgement.warmup",
        judgement.warmup.as_deref(),
    )?;
    Ok(Some(Counting {
        block_length,
        warmup: warmup.unwrap_or_default(),
    }))
}

/// Both versions must have traffic at the same time.
fn is_comparable(plan: &Plan) -> Result<(), Error> {
    let (field, fix) = match plan {
        Plan::Iterations { matched: false, .. } => (
            "spec.analysis.iterations",
            "give the new version no requests to compare before it has all of them; use \
             stepWeight or stepWeights, or leave judgement out",
        ),
        Plan::Weighted { ladder, .. } if ladder.next(Weight::ZERO) == Some(Weight::FULL) => (
            FIELD,
            "needs a step below 100: the promoted version must have requests to compare with",
        ),
        Plan::Iterations { matched: true, .. } | Plan::Weighted { .. } | Plan::Staged { .. } => {
            return Ok(());
        }
    };
    Err(invalid(field, fix))
}

fn cohorts(analysis: &CanaryAnalysis, are_accepted: bool) -> Result<Cohorts, Error> {
    let are_chosen = !analysis.r#match.is_empty() || analysis.session_affinity.is_some();
    match (are_chosen, are_accepted) {
        (false, _) => Ok(Cohorts::Random),
        (true, true) => Ok(Cohorts::Chosen),
        (true, false) => Err(invalid(
            "spec.analysis.judgement.compareChosenCohorts",
            "must be true where match or sessionAffinity chooses the users of the new version: \
             the difference may be theirs and not the version's",
        )),
    }
}

fn latency(metric: &JudgedMetric) -> Result<LatencyTerms, Error> {
    let quantile = metric.quantile.map_or(0.99, Number::as_f64);
    let named = named("spec.analysis.judgement.metrics.quantile");
    let quantile = Quantile::new(quantile).map_err(named)?;
    Ok(LatencyTerms {
        quantile,
        effect: effect(metric, quantile.effect())?,
        bounds: Bounds::new(BOUNDS.to_vec()).expect("they are positive and rise"),
    })
}

fn effect(metric: &JudgedMetric, default: Result<Effect, CriteriaError>) -> Result<Effect, Error> {
    let asked = metric
        .minimum_effect
        .map(|share| Effect::new(share.as_f64()));
    asked
        .unwrap_or(default)
        .map_err(named("spec.analysis.judgement.metrics.minimumEffect"))
}

fn minimum_samples(asked: Option<Number>) -> Result<u64, Error> {
    const FIELD: &str = "spec.analysis.judgement.minimumSamples";
    let asked = whole(FIELD, asked)?.unwrap_or_default();
    u64::try_from(asked).map_err(|_negative| invalid(FIELD, "must not be negative"))
}

fn named(field: &'static str) -> impl Fn(CriteriaError) -> Error {
    move |error| Error::Field {
        field,
        fix: error.to_string(),
    }
}

fn invalid(field: &'static str, fix: &str) -> Error {
    Error::Field {
        field,
        fix: fix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::Ladder;
    use serde_json::{Value, json};

    use super::*;

    fn weighted(step: i64) -> Plan {
        let ladder = Ladder::Linear {
            step: Weight::clamped(step),
            max: Weight::FULL,
        };
        Plan::Weighted {
            ladder,
            mirror: false,
        }
    }

    fn read(analysis: Value, provider: Provider, plan: &Plan) -> Result<Terms, String> {
        let analysis: CanaryAnalysis = serde_json::from_value(analysis).unwrap();
        let terms = terms(&analysis, provider, plan).map_err(|error| error.to_string());
        terms.map(|terms| terms.expect("a judgement"))
    }

    fn refuses(analysis: Value, provider: Provider, plan: &Plan, part: &str) {
        let error = read(analysis, provider, plan).unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    fn failures() -> Value {
        json!({ "judgement": { "metrics": [{ "name": "request-success-rate" }] } })
    }

    #[test]
    fn what_is_left_out_has_the_documented_value() {
        let both = json!({ "judgement": { "metrics": [
            { "name": "request-success-rate" }, { "name": "request-duration" },
        ] } });
        let terms = read(both, Provider::Istio, &weighted(10)).unwrap();
        assert_eq!(terms.failures, Some(Effect::DEFAULT));
        assert_eq!(terms.confidence, Confidence::DEFAULT);
        assert_eq!(terms.cohorts, Cohorts::Random);
        let latency = terms.latency.unwrap();
        assert_eq!(latency.quantile.minimum_samples(), 1000);
        assert!((latency.effect.get() - 0.02).abs() < 1e-9);
        let analysis: CanaryAnalysis = serde_json::from_value(failures()).unwrap();
        let counting = counting(&analysis).unwrap().unwrap();
        assert_eq!(counting.block_length, DEFAULT_BLOCK);
        assert_eq!(counting.warmup, Duration::ZERO);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_the_fix() {
        let istio = Provider::Istio;
        refuses(failures(), Provider::Kubernetes, &weighted(10), "istio");
        refuses(failures(), istio, &weighted(100), "below 100");
        let iterations = |matched| Plan::Iterations {
            count: 3,
            matched,
            mirror: false,
        };
        refuses(failures(), istio, &iterations(false), "stepWeight");
        let mut chosen = failures();
        chosen["match"] = json!([{ "headers": { "x": { "exact": "y" } } }]);
        refuses(chosen.clone(), istio, &iterations(true), "must be true");
        chosen["judgement"]["compareChosenCohorts"] = json!(true);
        let terms = read(chosen, istio, &iterations(true)).unwrap();
        assert_eq!(terms.cohorts, Cohorts::Chosen);
    }

    #[test]
    fn numbers_that_cannot_be_are_named_with_their_field() {
        for (field, value) in [
            ("confidence", json!(1)),
            ("minimumSamples", json!(-1)),
            ("minimumSamples", json!(1.5)),
        ] {
            let mut analysis = failures();
            analysis["judgement"][field] = value;
            refuses(analysis, Provider::Istio, &weighted(10), field);
        }
        let analysis = json!({ "judgement": { "metrics": [], "blockLength": "100ms" } });
        refuses(
            analysis.clone(),
            Provider::Istio,
            &weighted(10),
            "must name",
        );
        let analysis: CanaryAnalysis = serde_json::from_value(analysis).unwrap();
        let error = counting(&analysis).unwrap_err().to_string();
        assert!(error.contains("blockLength"), "{error}");
    }
}
