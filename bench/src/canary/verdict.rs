//! How soon a clear verdict ends a rollout, by what the proxies of callers count.

use anyhow::{Context as _, Result};
use fairlead_crds::canary::CanaryPhase;
use fairlead_tests::callers::{Called, Callers, Division};
use fairlead_tests::figure::Figure;
use futures::future::try_join_all;

use super::INTERVAL;
use super::latency::{compare, drained};
use super::stage::{Stage, home};

/// What users may wait for.
const TARGET_SECONDS: f64 = 3.0;
/// Requests of a second to a target.
const RATE: f64 = 100.0;
/// The bad answers of a new version: one in two.
const BAD: f64 = 0.5;
/// A tenth for the canary, no metric but the comparison, and no check in time to help.
const ANALYSIS: &str = "{interval: 5m, threshold: 2, stepWeights: [10, 50], \
                        judgement: {metrics: [{name: request-success-rate}]}}";

/// Releases a version that answers badly: from the first bad answer to weight 0.
pub(crate) async fn measure(stage: &Stage, canaries: usize, rounds: usize) -> Result<Vec<Figure>> {
    let names: Vec<String> = (0..canaries).map(|n| format!("judged-{n}")).collect();
    try_join_all(names.iter().map(|name| stage.initialize_by(name, ANALYSIS))).await?;
    let releases = names.iter().zip(0..).map(|(name, number)| async move {
        let observer = stage.observer.clone();
        let called = Called {
            namespace: home(name),
            target: name.clone(),
            rate: RATE,
            bad: BAD,
            division: Division::Random,
        };
        let canary = name.clone();
        let weight = move || {
            let last = observer.weights(&canary).last().map(|(_, weight)| *weight);
            last.map_or(0.0, |weight| f64::from(i32::try_from(weight).unwrap_or(0)))
        };
        let callers = Callers::start(&stage.client, called, number, weight).await?;
        releases(stage, name, &callers, rounds).await
    });
    let seconds: Vec<f64> = try_join_all(releases).await?.concat();
    let what = format!(
        "clear verdict, first bad answer → weight 0, {} runs",
        seconds.len()
    );
    Ok(compare(&what, &seconds, None, TARGET_SECONDS))
}

async fn releases(stage: &Stage, name: &str, callers: &Callers, rounds: usize) -> Result<Vec<f64>> {
    let mut seconds = Vec::new();
    for round in 0..rounds {
        tokio::time::sleep(INTERVAL.mul_f64(rand::random())).await;
        callers.begin_anew();
        let weighted = stage.first_weight(name, round + 2).await?;
        let withdrawn = stage
            .observer
            .first(name, weighted, |weight| weight == 0)
            .await?;
        let first = callers.traffic().first_bad;
        let first =
            first.with_context(|| format!("`{name}` was withdrawn without a bad answer"))?;
        seconds.push(withdrawn.saturating_duration_since(first).as_secs_f64());
        stage.until_phase(name, CanaryPhase::Failed).await?;
        drained(stage, name).await?;
    }
    Ok(seconds)
}
