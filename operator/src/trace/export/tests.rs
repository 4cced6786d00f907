//! A small OTLP receiver on loopback.

use std::collections::BTreeMap;

use fairlead_crds::canary::Canary;
use fairlead_runtime::tasks::Tasks;
use serde_json::json;

use super::*;
use crate::fake::Server;
use crate::trace::Tracer;

/// A Canary whose first run has just failed in its only step.
fn failed() -> Canary {
    serde_json::from_value(json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": { "name": "podinfo", "namespace": "shop", "uid": "u1" },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "analysis": {},
        },
        "status": { "history": [{
            "run": 1, "revision": "r1", "outcome": "Failed",
            "startedAt": "2026-03-02T10:00:00.000000Z", "endedAt": "2026-03-02T10:05:00.000000Z",
            "decisions": [{
                "at": "2026-03-02T10:05:00.000000Z", "decision": "RolledBack", "message": "bad",
                "askedAt": "2026-03-02T10:04:58.000000Z",
                "answers": [{ "asked": "errors", "values": ["7"], "verdict": "Failed" }],
            }],
        }] },
    }))
    .unwrap()
}

/// Tells a receiver of a failed run; gives what it was sent, once `enough` requests have come.
async fn tell(
    answer: impl Fn(usize) -> crate::fake::Answer + Send + Sync + 'static,
    enough: usize,
) -> (Vec<crate::fake::Request>, (u64, u64)) {
    let server = Server::start(answer).await;
    let variables = BTreeMap::from([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", server.address()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop".to_owned()),
    ]);
    let settings = Settings::read(|name| variables.get(name).cloned());
    let shutdown = CancellationToken::new();
    let tasks = Tasks::new(shutdown.clone());
    let metrics = Metrics::default();
    let tracer = Tracer::start(&tasks, settings, metrics.clone(), shutdown.clone());
    tracer.tell(&failed(), None);
    let settled = async {
        while server.requests().len() < enough || metrics.counts() == (0, 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled)
        .await
        .expect("the spans are sent or dropped");
    shutdown.cancel();
    (server.requests(), metrics.counts())
}

#[tokio::test]
async fn a_collector_gets_the_trace_of_a_rollout() {
    let (requests, counts) = tell(|_| Server::answer(200, ""), 1).await;
    let [request] = &requests[..] else {
        unreachable!("{requests:?}")
    };
    assert_eq!(request.uri.path(), "/v1/traces");
    assert_eq!(request.header("content-type"), "application/x-protobuf");
    assert_eq!(request.header("x-team"), "shop");
    let sent = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
    let of_resource = &sent.resource_spans[0];
    let resource = of_resource.resource.as_ref().unwrap();
    assert_eq!(
        resource.attributes[0],
        text("service.name", "fairlead-operator")
    );
    let names: Vec<&str> = of_resource.scope_spans[0]
        .spans
        .iter()
        .map(|span| span.name.as_str())
        .collect();
    assert_eq!(names, ["check", "step", "rollout"]);
    assert_eq!(counts, (3, 0));
}

#[tokio::test]
async fn a_busy_collector_is_tried_again_and_a_refusal_is_counted() {
    let busy = |count| match count {
        0 => Server::answer(503, "").with_header("retry-after", "0"),
        _ => Server::answer(200, ""),
    };
    let (requests, counts) = tell(busy, 2).await;
    assert_eq!((requests.len(), counts), (2, (3, 0)));
    assert_eq!(requests[0].body, requests[1].body);
    let (requests, counts) = tell(|_| Server::answer(400, ""), 1).await;
    assert_eq!((requests.len(), counts), (1, (0, 3)));
}

#[tokio::test]
async fn without_settings_or_with_wrong_ones_nothing_is_queued() {
    let shutdown = CancellationToken::new();
    let tasks = Tasks::new(shutdown.clone());
    let metrics = Metrics::default();
    for settings in [Ok(None), Err(Error::Endpoint("X"))] {
        let tracer = Tracer::start(&tasks, settings, metrics.clone(), shutdown.clone());
        tracer.tell(&failed(), None);
        assert_eq!(metrics.counts(), (0, 0));
        assert!(tracer.queue.is_none());
    }
}

#[tokio::test]
async fn a_full_queue_drops_and_waits_for_nobody() {
    let (queue, _spans) = mpsc::channel(1);
    let metrics = Metrics::default();
    let tracer = Tracer {
        queue: Some(queue),
        metrics: metrics.clone(),
    };
    tracer.tell(&failed(), None);
    assert_eq!(metrics.counts(), (0, 2));
}
