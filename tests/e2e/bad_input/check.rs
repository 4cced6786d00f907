//! Rollouts whose checks cannot pass, all at once, and a good one among them.

use anyhow::{Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use fairlead_tests::story::{COMES_UP, Stage};
use fairlead_tests::{manifest, wait};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};

use super::{NAMESPACE, TOLD_WITHIN};
use crate::neighbour::Neighbour;
use crate::suite::Suite;

/// One rollout, and how it must end.
struct Trial {
    name: &'static str,
    /// The Canary and its target.
    object: &'static str,
    /// Fields of `spec` beside the usual.
    spec: &'static str,
    /// Fields of `spec.analysis` beside the usual.
    analysis: &'static str,
    end: CanaryPhase,
    /// What its condition says.
    condition: &'static [&'static str],
    /// What one of its events says.
    event: &'static [&'static str],
}

const TRIALS: &[Trial] = &[
    Trial {
        name: "a metric with no data rolls back and says that there is none",
        object: "no-data",
        spec: "",
        analysis: "metrics: [{name: orders, interval: 5s, thresholdRange: {min: 1}, \
                   query: 'orders_total{shop=\"nowhere\"}'}]",
        end: CanaryPhase::Failed,
        condition: &["rolled back", "metric orders", "found no values"],
        event: &["is rolled back", "metric orders", "found no values"],
    },
    Trial {
        name: "a metric that is NaN rolls back and says so",
        object: "nan",
        spec: "",
        analysis: "metrics: [{name: ratio, interval: 5s, thresholdRange: {min: 1}, \
                   query: 'vector(0) / vector(0)'}]",
        end: CanaryPhase::Failed,
        condition: &["rolled back", "metric ratio", "NaN"],
        event: &["is rolled back", "metric ratio", "NaN"],
    },
    Trial {
        name: "a Prometheus that is down rolls back and says so",
        object: "no-prometheus",
        spec: "metricsServer: http://nobody.bad-input.svc:9090",
        analysis: "metrics: [{name: request-success-rate, interval: 5s, \
                   thresholdRange: {min: 99}}]",
        end: CanaryPhase::Failed,
        condition: &[
            "rolled back",
            "metric request-success-rate",
            "cannot be reached",
        ],
        event: &[
            "is rolled back",
            "metric request-success-rate",
            "cannot be reached",
        ],
    },
    Trial {
        name: "a MetricTemplate that does not exist rolls back and is named",
        object: "no-template",
        spec: "",
        analysis: "metrics: [{name: orders, interval: 5s, thresholdRange: {min: 1}, \
                   templateRef: {name: nowhere}}]",
        end: CanaryPhase::Failed,
        condition: &["rolled back", "MetricTemplate `bad-input/nowhere`"],
        event: &["is rolled back", "MetricTemplate `bad-input/nowhere`"],
    },
    Trial {
        name: "a webhook that is down rolls back and is named",
        object: "no-webhook",
        spec: "",
        analysis: "webhooks: [{name: acceptance, type: pre-rollout, timeout: 2s, \
                   url: 'http://nobody.bad-input.svc:9090/'}]",
        end: CanaryPhase::Failed,
        condition: &["rolled back", "hook acceptance"],
        event: &["is rolled back", "hook acceptance"],
    },
    Trial {
        name: "a good rollout among them, with a rival for its target, is promoted",
        object: "good",
        spec: "",
        analysis: "metrics: [{name: constant, interval: 5s, thresholdRange: {min: 1}, \
                   query: 'vector(1)'}]",
        end: CanaryPhase::Succeeded,
        condition: &["waiting for a new revision"],
        event: &["is promoted"],
    },
];

/// A Service that nobody answers for.
const NOBODY: &str = "apiVersion: v1\nkind: Service\n\
                      metadata: {name: nobody, namespace: bad-input}\n\
                      spec: {ports: [{name: http, port: 9090}]}\n";

/// A second Canary with the target of `good`.
const RIVAL: super::Case = super::Case {
    name: "of two Canaries with one target the later one names the first",
    yaml: "apiVersion: flagger.app/v1beta1\nkind: Canary\n\
           metadata: {name: rival, namespace: bad-input}\n\
           spec:\n  targetRef: {apiVersion: apps/v1, kind: Deployment, name: good}\n  \
           service: {port: 9898}\n  analysis: {interval: 1s, threshold: 2, stepWeight: 50}\n",
    condition: "Stalled",
    status: "True",
    words: &["`good`", "was there first"],
};

pub(super) async fn tell(stage: &Stage, suite: &mut Suite, neighbour: &Neighbour) {
    let begun = suite
        .story(
            "rollouts with bad checks and a good one begin",
            neighbour.unharmed(begin(stage)),
        )
        .await;
    if begun.is_none() {
        return;
    }
    for trial in TRIALS {
        let ended = neighbour.unharmed(Box::pin(ends(stage, trial)));
        suite.story(trial.name, ended).await;
    }
}

fn canaries(stage: &Stage) -> Api<Canary> {
    Api::namespaced(stage.client.clone(), NAMESPACE)
}

/// Brings all up, tells of the rival, and releases a second revision of each.
async fn begin(stage: &Stage) -> Result<()> {
    manifest::apply(&stage.client, NOBODY).await?;
    for trial in TRIALS {
        release(stage, trial, "1").await?;
        manifest::apply(&stage.client, &trial.canary()).await?;
    }
    let canaries = canaries(stage);
    try_join_all(TRIALS.iter().map(|trial| {
        wait::until(&canaries, trial.object, "Initialized", COMES_UP, |canary| {
            phase(canary) == Some(CanaryPhase::Initialized)
        })
    }))
    .await?;
    super::told(stage, &RIVAL).await?;
    for trial in TRIALS {
        release(stage, trial, "2").await?;
    }
    Ok(())
}

async fn release(stage: &Stage, trial: &Trial, release: &str) -> Result<()> {
    let application = stage.application(NAMESPACE, trial.object, "podinfo", release)?;
    manifest::apply(&stage.client, &application).await
}

/// Waits for the end of a rollout, and reads what the user is told of it.
async fn ends(stage: &Stage, trial: &Trial) -> Result<()> {
    let what = format!("{} with {:?}", trial.end, trial.condition);
    let ended = wait::until(&canaries(stage), trial.object, &what, COMES_UP, |canary| {
        let conditions = canary.status.iter().flat_map(|status| &status.conditions);
        let mut promoted = conditions.filter(|condition| condition.type_ == "Promoted");
        phase(canary) == Some(trial.end)
            && promoted.any(|condition| holds(&condition.message, trial.condition))
    })
    .await?;
    let weight = ended
        .status
        .and_then(|status| status.canary_weight?.whole());
    ensure!(weight == Some(0), "the canary kept weight {weight:?}");
    let events: Api<Event> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let of_canary = ListParams::default().fields(&format!(
        "involvedObject.kind=Canary,involvedObject.name={}",
        trial.object
    ));
    let what = format!(
        "an event of Canary `{}` with {:?}",
        trial.object, trial.event
    );
    wait::poll(&stage.client, NAMESPACE, &what, TOLD_WITHIN, async || {
        let events = events.list(&of_canary).await?;
        let mut notes = events.iter().filter_map(|event| event.message.as_deref());
        Ok(notes.any(|note| holds(note, trial.event)).then_some(()))
    })
    .await
}

fn holds(text: &str, words: &[&str]) -> bool {
    words.iter().all(|word| text.contains(word))
}

fn phase(canary: &Canary) -> Option<CanaryPhase> {
    canary.status.as_ref()?.phase
}

impl Trial {
    fn canary(&self) -> String {
        let Self {
            object,
            spec,
            analysis,
            ..
        } = self;
        format!(
            "apiVersion: flagger.app/v1beta1\nkind: Canary\n\
             metadata: {{name: {object}, namespace: {NAMESPACE}}}\n\
             spec:\n  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: {object}}}\n  \
             service: {{port: 9898}}\n  {spec}\n  analysis:\n    interval: 1s\n    threshold: 2\n    \
             stepWeight: 50\n    maxWeight: 50\n    {analysis}\n"
        )
    }
}
