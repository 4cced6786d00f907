//! How soon the first weight follows the pods, and weight 0 the check that fails.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fairlead_crds::canary::CanaryPhase;
use fairlead_tests::figure::Figure;
use futures::future::try_join_all;
use tokio::time::Instant;

use super::INTERVAL;
use super::stage::{Stage, home};
use crate::sample;

/// What a user of either figure may wait for.
const TARGET_SECONDS: f64 = 0.5;

/// Both latencies of every release, in seconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    first_weight: Vec<f64>,
    withdrawal: Vec<f64>,
}

/// Releases a version that fails its first check, again and again.
pub(crate) async fn measure(stage: &Stage, canaries: usize, rounds: usize) -> Result<Latencies> {
    let names: Vec<String> = (0..canaries).map(|n| format!("app-{n}")).collect();
    for name in &names {
        stage.world.set(name, |all| all.metric = "50".to_owned());
    }
    try_join_all(names.iter().map(|name| stage.initialize(name, 50, 50))).await?;
    let mut latencies = Latencies::default();
    let releases = names.iter().map(|name| releases(stage, name, rounds));
    for one in try_join_all(releases).await? {
        latencies.first_weight.extend(one.first_weight);
        latencies.withdrawal.extend(one.withdrawal);
    }
    Ok(latencies)
}

async fn releases(stage: &Stage, name: &str, rounds: usize) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for round in 0..rounds {
        tokio::time::sleep(INTERVAL.mul_f64(rand::random())).await;
        let weighted = stage.first_weight(name, round + 2).await?;
        let ready = stage
            .crowd
            .ready_since(&format!("{name}-canary"))
            .with_context(|| format!("`{name}` got a weight without endpoints"))?;
        latencies.first_weight.push(seconds(ready, weighted));
        let withdrawn = stage
            .observer
            .first(name, weighted, |weight| weight == 0)
            .await?;
        let asked = stage.world.conditions(name).asked;
        let asked = asked.into_iter().rev().find(|at| *at <= withdrawn);
        let asked = asked.with_context(|| format!("`{name}` was withdrawn unasked"))?;
        latencies.withdrawal.push(seconds(asked, withdrawn));
        stage.until_phase(name, CanaryPhase::Failed).await?;
        drained(stage, name).await?;
    }
    Ok(latencies)
}

/// Waits until the canary's endpoints are gone: the next release starts from none.
pub(crate) async fn drained(stage: &Stage, name: &str) -> Result<()> {
    let slice = format!("{name}-canary");
    let what = format!("`{slice}` has no endpoints");
    let patience = Duration::from_secs(60);
    fairlead_tests::wait::poll(&stage.client, &home(name), &what, patience, async || {
        Ok(stage.crowd.is_empty(&slice).then_some(()))
    })
    .await
}

fn seconds(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64()
}

impl Latencies {
    /// Both, as figures beside a peer's.
    pub(crate) fn beside(&self, peer: Option<&Self>) -> Vec<Figure> {
        let runs = self.first_weight.len();
        let mut figures = compare(
            &format!("pods ready → first canary weight, {runs} runs"),
            &self.first_weight,
            peer.map(|peer| peer.first_weight.as_slice()),
            TARGET_SECONDS,
        );
        figures.extend(compare(
            &format!("check that meets the threshold → weight 0, {runs} runs"),
            &self.withdrawal,
            peer.map(|peer| peer.withdrawal.as_slice()),
            TARGET_SECONDS,
        ));
        figures
    }
}

/// The middle, and what one of a hundred exceeds.
pub(crate) fn compare(what: &str, ours: &[f64], peer: Option<&[f64]>, target: f64) -> Vec<Figure> {
    let figure = |name: &str, share| {
        let of = |values| sample::percentile(values, share);
        Figure::new(format!("{what}, {name}"), "s", of(ours)).beside(peer.and_then(of))
    };
    vec![figure("p50", 0.5), figure("p99", 0.99).at_most(target)]
}
