//! How soon traffic leaves a version whose pod crashes again and again.

use anyhow::Result;
use fairlead_crds::canary::CanaryPhase;
use fairlead_tests::figure::Figure;
use futures::future::try_join_all;

use super::INTERVAL;
use super::latency::{compare, drained};
use super::stage::Stage;

/// What users may wait for.
const TARGET_SECONDS: f64 = 2.0;

/// Releases a version that passes its checks, and lets a pod of it crash: from the status that
/// says `CrashLoopBackOff` to weight 0.
pub(crate) async fn measure(stage: &Stage, canaries: usize, rounds: usize) -> Result<Vec<Figure>> {
    let names: Vec<String> = (0..canaries).map(|n| format!("crash-{n}")).collect();
    try_join_all(names.iter().map(|name| stage.initialize(name, 1, 100))).await?;
    let releases = names.iter().map(|name| releases(stage, name, rounds));
    let seconds: Vec<f64> = try_join_all(releases).await?.concat();
    let what = format!("crash loop seen → weight 0, {} runs", seconds.len());
    Ok(compare(&what, &seconds, None, TARGET_SECONDS))
}

async fn releases(stage: &Stage, name: &str, rounds: usize) -> Result<Vec<f64>> {
    let mut seconds = Vec::new();
    for round in 0..rounds {
        let weighted = stage.first_weight(name, round + 2).await?;
        tokio::time::sleep(INTERVAL.mul_f64(rand::random())).await;
        let crashed = stage.crowd.crash(name).await?;
        let withdrawn = stage
            .observer
            .first(name, weighted, |weight| weight == 0)
            .await?;
        seconds.push(withdrawn.saturating_duration_since(crashed).as_secs_f64());
        stage.until_phase(name, CanaryPhase::Failed).await?;
        stage.crowd.recover(name).await?;
        drained(stage, name).await?;
    }
    Ok(seconds)
}
