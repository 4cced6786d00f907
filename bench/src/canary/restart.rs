//! The operator is started again while rollouts are in flight: how late is the next check of each?

use anyhow::{Context as _, Result};
use fairlead_runtime::clock;
use fairlead_tests::console::say;
use fairlead_tests::figure::Figure;
use fairlead_tests::wait;
use futures::future::try_join_all;
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
        let p50 = Figure::new(format!("{what}, p50"), "s", sample::percentile(&late, 0.5));
        let worst = Figure::new(format!("{what}, most"), "s", sample::percentile(&late, 1.0));
        figures.extend([p50, worst.at_most(target)]);
    }
    Ok(figures)
}

/// How late each rollout's next check is: after the start, or after it was due where that is later.
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
    let due: Vec<Option<Instant>> = names
        .iter()
        .map(|name| Some(*stage.world.conditions(name).asked.last()? + INTERVAL))
        .collect();
    let (started, requests) = (clock::instant(), Requests::from_now(stage)?);
    *operator = stage.start()?;
    let mut late = Vec::new();
    for (name, due) in names.iter().zip(due) {
        let due = due.with_context(|| format!("`{name}` was never checked"))?;
        let asked = asked_after(stage, name, started).await?;
        let late_by = asked.saturating_duration_since(due.max(started));
        late.push(late_by.as_secs_f64());
    }
    let seconds = started.elapsed().as_secs_f64();
    for (kind, number) in requests.by_kind()? {
        say(format!("    in the first {seconds:.1} s: {number} {kind}"));
    }
    Ok(late)
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
