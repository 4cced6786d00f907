//! What a rollout's controller costs by the number of its canaries: how late steps are, CPU and
//! memory, while a tenth of them is rolling.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fairlead_runtime::clock;
use fairlead_tests::console::say;
use fairlead_tests::figure::Figure;
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::INTERVAL;
use super::audit::Requests;
use super::stage::{Controller, Stage};
use crate::sample;

/// Over which steps are looked at.
const WINDOW: Duration = Duration::from_secs(60);
/// Canaries that are being made at the same time.
const HANDS: usize = 64;
/// How late a step may be, in seconds.
const LATE_SECONDS: f64 = 1.0;
/// The most memory that the controller may take with the most canaries: 300 MB.
const MOST_MEBIBYTES: f64 = 300e6 / 1_048_576.0;
/// The most CPU time that it may take in a second.
const MOST_CORES: f64 = 1.0;

/// Makes so many canaries, and lets a tenth of them roll.
pub(crate) async fn measure(canaries: usize) -> Result<Vec<Figure>> {
    say(format!("{canaries} canaries, a tenth of them rolling"));
    let stage = Stage::open(Controller::Fairlead).await?;
    let operator = stage.start()?;
    let id = operator.id().context("the operator has ended")?;
    let begun = clock::instant();
    let names: Vec<String> = (0..canaries).map(|n| format!("app-{n}")).collect();
    // Steps of 1 %: none comes to its end in the meantime.
    stream::iter(&names)
        .map(|name| stage.initialize(name, 1, 100))
        .buffer_unordered(HANDS)
        .try_collect::<()>()
        .await?;
    let made = begun.elapsed().as_secs_f64();
    let rolling = &names[..(canaries / 10).max(1)];
    try_join_all(rolling.iter().map(|name| roll(&stage, name))).await?;

    let (from, cpu) = (clock::instant(), sample::cpu(id)?);
    let (requests, server_cpu) = (Requests::from_now(&stage)?, server_cpu(&stage)?);
    tokio::time::sleep(WINDOW).await;
    let spent = sample::cpu(id)? - cpu;
    let server_spent = self::server_cpu(&stage)? - server_cpu;
    let window = from.elapsed().as_secs_f64();
    let lateness: Vec<f64> = rolling
        .iter()
        .flat_map(|name| lateness(&stage, name, from))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (cores, server_cores, memory, share) = (
        spent as f64 / 1e9 / window,
        server_spent as f64 / 1e9 / window,
        sample::peak_memory(id)? as f64 / 1024.0,
        1.0 / lateness.len().max(1) as f64,
    );
    let requests = per_step(requests, share)?;
    let figure = |what: &str, unit: &str, value: Option<f64>| {
        Figure::new(format!("{canaries} canaries: {what}"), unit, value)
    };
    let steps = lateness.len();
    Ok(vec![
        figure("all of them initialized", "s", Some(made)),
        figure(
            &format!("lateness of {steps} steps, p50"),
            "s",
            sample::percentile(&lateness, 0.5),
        ),
        figure(
            &format!("lateness of {steps} steps, p99"),
            "s",
            sample::percentile(&lateness, 0.99),
        )
        .at_most(LATE_SECONDS),
        figure("API requests of a step", "", Some(requests)),
        figure("CPU while a tenth rolls", "cores", Some(cores)).at_most(MOST_CORES),
        figure(
            "CPU of API server and etcd while a tenth rolls",
            "cores",
            Some(server_cores),
        ),
        figure("peak memory", "MiB", Some(memory)).at_most(MOST_MEBIBYTES),
    ])
}

/// The requests of a step, each kind told.
fn per_step(requests: Requests, share: f64) -> Result<f64> {
    let mut all = 0.0;
    for (kind, number) in requests.by_kind()? {
        let number = share * f64::from(u32::try_from(number)?);
        say(format!("    a step: {number:.2} {kind}"));
        all += number;
    }
    Ok(all)
}

/// CPU time of the API server and etcd so far, in nanoseconds.
fn server_cpu(stage: &Stage) -> Result<u64> {
    stage.server.guards().map(sample::cpu_below).sum()
}

/// Releases at a random moment of the interval, and waits for the first weight.
async fn roll(stage: &Stage, name: &str) -> Result<()> {
    tokio::time::sleep(INTERVAL.mul_f64(rand::random())).await;
    let first = stage.first_weight(name, 2).await;
    first
        .map(drop)
        .with_context(|| format!("`{name}` did not begin"))
}

/// How late each weight since `from` was: an interval after the proxies had confirmed the one
/// before, in seconds.
fn lateness(stage: &Stage, name: &str, from: Instant) -> Vec<f64> {
    let confirmed = stage.crowd.confirmed(name);
    let weights = stage.observer.weights(name);
    weights
        .into_iter()
        .filter(|(at, _)| *at >= from)
        .filter_map(|(at, _)| {
            let before = confirmed.iter().rev().find(|confirmed| **confirmed < at)?;
            let due = *before + INTERVAL;
            Some(at.saturating_duration_since(due).as_secs_f64())
        })
        .collect()
}
