//! A rollout as its collector sees it, through a restart of the operator.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

use crate::stage::{PATIENCE, Scene, Stage};

pub(crate) async fn a_rollout_is_one_trace_whoever_leads(stage: &Stage) -> Result<()> {
    let mut scene = stage.scene("traces").await?;
    scene.operator.collector = format!("{}/otlp", scene.address);
    let gate = format!("{}/hook/gate", scene.address);
    scene
        .apply_canary(|spec| {
            spec["analysis"]["stepWeight"] = json!(25);
            spec["analysis"]["webhooks"] =
                json!([{ "name": "gate", "type": "confirm-promotion", "url": gate }]);
        })
        .await?;
    scene.world.set("traces", |all| {
        all.hooks.insert("gate".to_owned(), 403);
    });
    let operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::WaitingPromotion).await?;
    // What was not sent is lost with the process.
    let is_enough =
        |spans: &[Span]| named(spans, "step").len() >= 2 && named(spans, "check").len() >= 2;
    until_sent(&scene, is_enough).await?;
    drop(operator);
    scene.world.set("traces", |all| all.hooks.clear());
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let spans = until_sent(&scene, |spans| !named(spans, "rollout").is_empty()).await?;
    let traces: BTreeSet<&[u8]> = spans.iter().map(|span| &span.trace_id[..]).collect();
    ensure!(traces.len() == 1, "{} traces", traces.len());
    let by_id: BTreeMap<&[u8], &Span> =
        spans.iter().map(|span| (&span.span_id[..], span)).collect();
    ensure!(by_id.len() == spans.len(), "spans were sent twice");
    for span in &spans {
        ensure!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        let Some(parent) = by_id.get(&span.parent_span_id[..]) else {
            ensure!(span.name == "rollout", "no parent of {span:?}");
            continue;
        };
        let expected = if span.name == "check" {
            "step"
        } else {
            "rollout"
        };
        ensure!(parent.name == expected, "{span:?} is below {parent:?}");
    }
    // Before the first weight, at 25, at 50, the promotion, and the traffic back at the primary.
    let steps = named(&spans, "step").len();
    ensure!(steps == 5, "{steps} steps: {spans:#?}");
    ensure!(named(&spans, "check").len() >= 3, "{spans:#?}");
    Ok(())
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

async fn until_sent(scene: &Scene, is_enough: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>> {
    let sent = scene.world.until(|_| match spans(scene) {
        Ok(spans) => is_enough(&spans).then_some(Ok(spans)),
        Err(error) => Some(Err(error)),
    });
    let ended = tokio::time::timeout(PATIENCE, sent).await;
    ended.context("the collector waits for more spans")?
}

fn spans(scene: &Scene) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for body in scene.world.conditions("traces").exports {
        let request = ExportTraceServiceRequest::decode(&body[..])?;
        let of_scopes = request.resource_spans.into_iter();
        let of_scopes = of_scopes.flat_map(|of_resource| of_resource.scope_spans);
        spans.extend(of_scopes.flat_map(|of_scope| of_scope.spans));
    }
    Ok(spans)
}
