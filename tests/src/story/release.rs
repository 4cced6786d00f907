//! A release: a commit is pushed, and an observer watches what becomes of it.

use std::time::Duration;

use fairlead_crds::canary::{Canary, CanaryPhase};
use fairlead_runtime::clock;
use jiff::Timestamp;
use kube::Api;

use super::applications::{self, Repository};
use super::{COMES_UP, Stage};
use crate::load::{Line, Load};
use crate::timeline::{Seen, Timeline};
use crate::wait;

/// The image that the example's Deployment names, which a release replaces.
pub const IMAGE: &str = "ghcr.io/stefanprodan/podinfo";
/// How long a release of the demo may take.
const ENDS_WITHIN: Duration = Duration::from_secs(240);

/// What a release was, in figures.
#[derive(Debug, Clone)]
pub struct Release {
    /// The Canary's phases in order.
    pub phases: Vec<String>,
    /// The canary's weights in order, in percent.
    pub weights: Vec<i64>,
    /// Push to applied, in seconds.
    pub applied: f64,
    /// Applied to the first weight above 0, in seconds; absent when there was none.
    pub first_weight: Option<f64>,
    /// Push to the end, in seconds.
    pub ended: f64,
    /// What the load generator saw in between.
    pub load: Line,
    /// When the canary first had traffic.
    pub exposed: Option<Timestamp>,
    /// When the canary's weight was back at 0 after that.
    pub withdrawn: Option<Timestamp>,
    /// From the event of the check that met the threshold to weight 0, in seconds.
    pub reaction: Option<f64>,
    /// What the Canary says of its end.
    pub why: Option<String>,
}

/// Waits until the example's Canary is initialized.
pub async fn initialized(stage: &Stage) -> anyhow::Result<()> {
    let canaries: Api<Canary> = Api::namespaced(stage.client.clone(), "podinfo");
    wait::until(&canaries, "podinfo", "Initialized", COMES_UP, |canary| {
        let phase = canary.status.as_ref().and_then(|status| status.phase);
        phase == Some(CanaryPhase::Initialized)
    })
    .await
    .map(drop)
}

/// Pushes a commit with `image` and waits until the Canary says `end` and has no traffic.
pub async fn run(
    stage: &Stage,
    repository: &Repository,
    load: &Load,
    image: &str,
    end: &str,
) -> anyhow::Result<Release> {
    let timeline = Timeline::start(&stage.client, "podinfo", "podinfo");
    let before = load.counts().await?;
    repository.set_image(
        "podinfo",
        "ghcr.io/stefanprodan/podinfo",
        stage.image(image)?,
    )?;
    let pushed = clock::now();
    let commit = repository.push(&format!("podinfo: {image}")).await?;
    applications::applied(&stage.client, &commit, ENDS_WITHIN).await?;
    let applied = clock::now();
    let what = format!("phase {end} after {image}");
    wait::poll(&stage.client, "podinfo", &what, ENDS_WITHIN, async || {
        let phases = timeline.phases();
        let has_ended = phases.len() > 1 && phases.last().is_some_and(|phase| phase == end);
        // Canary and VirtualService are watched apart: the phase may be seen before the weight.
        let is_back = timeline.weights().last() == Some(&0);
        Ok((has_ended && is_back).then_some(()))
    })
    .await?;
    let ended = clock::now();
    let exposed = timeline.first_after(pushed, |seen| matches!(seen, Seen::Weight(w) if *w > 0));
    let withdrawn =
        exposed.and_then(|at| timeline.first_after(at, |seen| matches!(seen, Seen::Weight(0))));
    Ok(Release {
        phases: timeline.phases(),
        weights: timeline.weights(),
        applied: seconds(pushed, applied),
        first_weight: exposed.map(|at| seconds(applied, at)),
        ended: seconds(pushed, ended),
        load: load.next().await?.since(&before),
        exposed,
        withdrawn,
        reaction: reaction(&timeline, withdrawn),
        why: timeline.message(),
    })
}

/// From the last failed check before `withdrawn` to it.
fn reaction(timeline: &Timeline, withdrawn: Option<Timestamp>) -> Option<f64> {
    let withdrawn = withdrawn?;
    let all = timeline.all();
    let failed = all.iter().rev().find(|(at, seen)| {
        *at <= withdrawn && matches!(seen, Seen::FailedChecks(count) if *count > 0)
    });
    failed.map(|(at, _)| seconds(*at, withdrawn))
}

/// Seconds from one time to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
