//! Webhooks against a server on loopback.

use serde_json::json;

use super::*;
use crate::fake::Server;
use crate::outgoing::address::Places;

fn payload() -> Payload {
    Payload {
        name: "podinfo".to_owned(),
        namespace: "test".to_owned(),
        phase: "Progressing".to_owned(),
        checksum: "85d557f47b".to_owned(),
        metadata: BTreeMap::from([("cmd".to_owned(), "hey".to_owned())]),
    }
}

fn endpoint(server: &Server, retries: u32) -> Endpoint {
    Endpoint {
        url: format!("{}/secret", server.address()),
        timeout: Duration::from_secs(5),
        retries,
        insecure: false,
    }
}

/// Calls a hook that gives these answers one after the other, the last one for ever.
async fn call(answers: &'static [u16], retries: u32) -> (Verdict, Server) {
    let server = Server::start(|count| {
        let status = answers[count.min(answers.len() - 1)];
        // No pause, so that the test need not wait.
        Server::answer(status, "why not").with_header("retry-after", "0")
    })
    .await;
    let webhooks = Webhooks::new(Outgoing::on_loopback());
    let verdict = webhooks
        .call(&endpoint(&server, retries), &payload(), "uid/1/2/gate/0")
        .await;
    (verdict, server)
}

#[tokio::test]
async fn a_hook_is_told_what_flagger_tells_it_and_a_key() {
    let (verdict, server) = call(&[200], 0).await;
    assert_eq!(verdict, Verdict::Passed);
    let requests = server.requests();
    let expected = json!({
        "name": "podinfo",
        "namespace": "test",
        "phase": "Progressing",
        "checksum": "85d557f47b",
        "metadata": { "cmd": "hey" },
    });
    assert_eq!(requests[0].json(), expected);
    assert_eq!(requests[0].header("content-type"), "application/json");
    assert_eq!(requests[0].header("idempotency-key"), "uid/1/2/gate/0");
}

#[tokio::test]
async fn every_2xx_is_a_success_and_nothing_else_is() {
    for status in [200, 202, 204, 299] {
        let (verdict, _) = call(Box::leak(Box::new([status])), 0).await;
        assert_eq!(verdict, Verdict::Passed, "{status}");
    }
    for status in [301, 307, 400, 403, 404, 409, 500] {
        let (verdict, _) = call(Box::leak(Box::new([status])), 0).await;
        let why = format!("it answered {status}");
        assert!(
            verdict.objection().is_some_and(|text| text.contains(&why)),
            "{status}: {verdict:?}"
        );
        assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
    }
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again_with_the_same_key() {
    let (verdict, server) = call(&[503, 429, 200], 2).await;
    assert_eq!(verdict, Verdict::Passed);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.header("idempotency-key"), "uid/1/2/gate/0");
    }
    let (verdict, server) = call(&[500], 2).await;
    assert_eq!(
        verdict.objection(),
        Some("it answered 500: why not"),
        "{verdict:?}"
    );
    assert_eq!(server.requests().len(), 3);
    let (_, server) = call(&[403], 2).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_hook_that_nobody_may_call_is_an_error_that_names_the_flag() {
    let server = Server::start(|_| Server::answer(200, "")).await;
    let webhooks = Webhooks::new(Outgoing::for_tests(&[], Places::default()));
    let verdict = webhooks
        .call(&endpoint(&server, 3), &payload(), "key")
        .await;
    let why = verdict.objection().unwrap_or_default();
    assert!(matches!(verdict, Verdict::Error(_)), "{verdict:?}");
    assert!(why.contains("--allow-outgoing=loopback"), "{why}");
    assert!(!why.contains("secret"), "{why}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_hook_that_is_down_is_an_error_without_its_address() {
    let address = Server::start(|_| Server::answer(200, "")).await.address();
    // The server is gone by now, unless its last connection lingers.
    let endpoint = Endpoint {
        url: format!("{}/secret", address.replace("127.0.0.1", "127.0.0.2")),
        timeout: Duration::from_secs(5),
        retries: 0,
        insecure: false,
    };
    let webhooks = Webhooks::new(Outgoing::on_loopback());
    let verdict = webhooks.call(&endpoint, &payload(), "key").await;
    assert_eq!(
        verdict,
        Verdict::Error("it does not accept connections".to_owned())
    );
}

#[tokio::test]
async fn a_long_answer_is_cut() {
    let server = Server::start(|_| Server::answer(403, "x".repeat(1 << 20))).await;
    let webhooks = Webhooks::new(Outgoing::on_loopback());
    let verdict = webhooks
        .call(&endpoint(&server, 0), &payload(), "key")
        .await;
    let why = verdict.objection().unwrap_or_default();
    assert_eq!(why.len(), "it answered 403: ".len() + EXCERPT);
}
