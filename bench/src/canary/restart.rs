//! The operator is started again while rollouts are in flight: how late is the next check of each?

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fairlead_crds::canary::{Canary, RolloutStatus};
use fairlead_runtime::clock;
use fairlead_tests::console::say;
use fairlead_tests::figure::Figure;
use fairlead_tests::wait;
use futures::future::try_join_all;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::Instant;

use super::INTERVAL;
use super::audit::Requests;
use super::stage::{PATIENCE, Stage, home};
use crate::sample;

/// After this the lease of an operator that was killed is free.
const LEASE_SECONDS: f64 = 15.0;
/// How late a check may be once the lease is free.
const LATE_SECONDS: f64 = 10.0;

/// Restarts the operator twice: once asked to end, once killed.
pub(crate) async fn measure(
    stage: &Stage,
    operator: &mut Child,
    rollouts: usize,
) -> Result<Vec<Figure>> {
    let names: Vec<String> = (0..rollouts).map(|n| format!("flight-{n}")).collect();
    try_join_all(names.iter().map(|name| stage.initialize(name, 1, 100))).await?;
    let released = clock::instant();
    for name in &names {
        stage.release(name, 2).await?;
    }
    for name in &names {
        stage
            .observer
            .first(name, released, |weight| weight > 0)
            .await?;
    }
    let mut figures = Vec::new();
    for (what, signal, target) in [
        ("lease released", Signal::SIGTERM, LATE_SECONDS),
        ("SIGKILL", Signal::SIGKILL, LEASE_SECONDS + LATE_SECONDS),
    ] {
        let late = restart(stage, operator, &names, signal).await?;
        let what =
            format!("restart with {rollouts} rollouts in flight, {what}: lateness of checks");
        let share = |of: f64| sample::percentile(&late, of);
        let p50 = Figure::new(format!("{what}, p50"), "s", share(0.5));
        let p90 = Figure::new(format!("{what}, p90"), "s", share(0.9));
        let worst = Figure::new(format!("{what}, most"), "s", share(1.0));
        figures.extend([p50, p90, worst.at_most(target)]);
    }
    Ok(figures)
}

/// How late each rollout's next check is: after the start, or after it is due where that is later.
async fn restart(
    stage: &Stage,
    operator: &mut Child,
    names: &[String],
    signal: Signal,
) -> Result<Vec<f64>> {
    // Each has been checked at least once since it was released or last interrupted.
    let begun = clock::instant();
    for name in names {
        asked_after(stage, name, begun).await?;
    }
    let id = operator.id().context("the operator has ended by itself")?;
    kill(Pid::from_raw(i32::try_from(id)?), signal)?;
    operator.wait().await?;
    let waits = waits(stage).await?;
    let (started, requests) = (clock::instant(), Requests::from_now(stage)?);
    *operator = stage.start()?;
    let mut late = Vec::new();
    for name in names {
        let wait = waits.get(name);
        let due = started + *wait.with_context(|| format!("`{name}` is not in flight"))?;
        let asked = asked_after(stage, name, started).await?;
        late.push(asked.saturating_duration_since(due).as_secs_f64());
    }
    let seconds = started.elapsed().as_secs_f64();
    for (kind, number) in requests.by_kind()? {
        say(format!("    in the first {seconds:.1} s: {number} {kind}"));
    }
    Ok(late)
}

/// How long it is until the next check of each Canary is due, by its name: an interval after the last
/// one, and after the weight took effect. Where the weight was on its way when the operator ended, an
/// interval from now: nobody can put it into effect earlier.
async fn waits(stage: &Stage) -> Result<HashMap<String, Duration>> {
    let canaries: Api<Canary> = Api::all(stage.client.clone());
    let now = clock::now();
    let mut waits = HashMap::new();
    for canary in canaries.list(&ListParams::default()).await? {
        let rollout = canary.status.clone().and_then(|status| status.rollout);
        let Some(RolloutStatus {
            run: Some(run),
            traffic: Some(traffic),
            ..
        }) = rollout
        else {
            continue;
        };
        let since = traffic.in_effect.map_or(now, |in_effect| {
            let checked_at = run.checked_at.map_or(in_effect.0, |time| time.0);
            in_effect.0.max(checked_at)
        });
        let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        waits.insert(canary.name_any(), INTERVAL.saturating_sub(passed));
    }
    Ok(waits)
}

/// When a canary's metric was first asked for after `since`.
async fn asked_after(stage: &Stage, name: &str, since: Instant) -> Result<Instant> {
    let what = format!("a check of `{name}`");
    wait::poll(&stage.client, &home(name), &what, PATIENCE, async || {
        let asked = stage.world.conditions(name).asked;
        Ok(asked.into_iter().find(|at| *at >= since))
    })
    .await
}
