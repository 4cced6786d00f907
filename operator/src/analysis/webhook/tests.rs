//! Webhooks against a server on loopback.

use serde_json::json;

use super::*;
use crate::fake::{Server, cluster};
use crate::outgoing::address::Places;

/// A cluster without any Secret.
fn nobody() -> kube::Client {
    cluster(|_| None)
}

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
        secret: None,
        answers: Answers::Agree,
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
    let webhooks = Webhooks::new(nobody(), Outgoing::on_loopback());
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
    let webhooks = Webhooks::new(nobody(), Outgoing::for_tests(&[], Places::default()));
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
        secret: None,
        answers: Answers::Agree,
    };
    let webhooks = Webhooks::new(nobody(), Outgoing::on_loopback());
    let verdict = webhooks.call(&endpoint, &payload(), "key").await;
    assert_eq!(
        verdict,
        Verdict::Error("it does not accept connections".to_owned())
    );
}

#[tokio::test]
async fn a_long_answer_is_cut() {
    let server = Server::start(|_| Server::answer(403, "x".repeat(1 << 20))).await;
    let webhooks = Webhooks::new(nobody(), Outgoing::on_loopback());
    let verdict = webhooks
        .call(&endpoint(&server, 0), &payload(), "key")
        .await;
    let why = verdict.objection().unwrap_or_default();
    assert_eq!(why.len(), "it answered 403: ".len() + EXCERPT);
}

/// Calls a hook whose Secret holds what `held` says at that moment, as often as `held` is long.
async fn call_with_secret(held: &'static [&'static str]) -> (Vec<Verdict>, Server) {
    let server = Server::start(|_| Server::answer(403, "you are t0ken? no")).await;
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let client = cluster(move |uri| {
        assert_eq!(uri.path(), "/api/v1/namespaces/test/secrets/gate");
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let data: serde_json::Value = serde_json::from_str(held[turn]).ok()?;
        Some(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "gate", "namespace": "test" },
            "data": data.as_object()?.iter().map(|(key, value)| {
                let value = base64::Engine::encode(
                    &base64::engine::general_purpose::STANDARD,
                    value.as_str().unwrap_or_default(),
                );
                (key.clone(), json!(value))
            }).collect::<serde_json::Map<_, _>>(),
        }))
    });
    let webhooks = Webhooks::new(client, Outgoing::on_loopback());
    let endpoint = Endpoint {
        secret: Some(SecretPlace {
            namespace: "test".to_owned(),
            name: "gate".to_owned(),
        }),
        ..endpoint(&server, 0)
    };
    let mut verdicts = Vec::new();
    for _ in held {
        verdicts.push(webhooks.call(&endpoint, &payload(), "key").await);
    }
    (verdicts, server)
}

#[tokio::test]
async fn what_a_secret_holds_is_sent_as_it_is_at_that_call() {
    let (_, server) = call_with_secret(&[
        r#"{"token": "t0ken"}"#,
        r#"{"username": "ann", "password": "x"}"#,
        r#"{"headers": "X-Team: shop\nContent-Type: text/plain"}"#,
    ])
    .await;
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), "Bearer t0ken");
    assert_eq!(requests[1].header("authorization"), "Basic YW5uOng=");
    assert_eq!(requests[2].header("authorization"), "");
    assert_eq!(requests[2].header("x-team"), "shop");
    assert_eq!(requests[2].header("content-type"), "application/json");
}

#[tokio::test]
async fn a_receiver_can_tell_by_the_signature_who_sent_the_body_and_when() {
    let (_, server) = call_with_secret(&[r#"{"hmacKey": "k"}"#]).await;
    let request = server.requests().remove(0);
    let signed = request.header("x-signature");
    let (at, _) = signed.strip_prefix("t=").unwrap().split_once(',').unwrap();
    let at = jiff::Timestamp::from_second(at.parse().unwrap()).unwrap();
    assert!(clock::now().duration_since(at).as_secs() < 60, "{signed}");
    assert_eq!(signed, signature::sign(b"k", &request.body, at));
}

#[tokio::test]
async fn a_secret_that_does_not_help_is_an_error_that_names_it_and_nothing_is_sent() {
    let (verdicts, server) = call_with_secret(&[
        "no object",
        r#"{"tokens": "t0ken"}"#,
        r#"{"password": "t0ken"}"#,
        r#"{"hmacKey": ""}"#,
    ])
    .await;
    let whys: Vec<&str> = verdicts.iter().filter_map(Verdict::objection).collect();
    assert_eq!(
        whys,
        [
            "Secret `test/gate` does not exist",
            "Secret `test/gate` holds none of `token`, `username` and `password`, `ca.crt`, \
             `headers` and `hmacKey`",
            "Secret `test/gate` holds `password` without `username`",
            "Secret `test/gate` holds an empty `hmacKey`",
        ]
    );
    assert!(
        verdicts
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Error(_)))
    );
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_token_that_the_hook_repeats_is_told_to_nobody() {
    let (verdicts, _) = call_with_secret(&[r#"{"token": "t0ken"}"#]).await;
    assert_eq!(
        verdicts[0].objection(),
        Some("it answered 403: you are ***? no")
    );
}

#[tokio::test]
async fn only_a_hook_that_is_to_be_obeyed_can_give_up_or_put_off() {
    let abort = r#"{"decision": "abort", "message": "wrong schema"}"#;
    for (status, body, obeyed) in [
        (200, abort, "gave the rollout up: wrong schema"),
        (503, "", "wants to be asked again later"),
    ] {
        let server = Server::start(move |_| Server::answer(status, body)).await;
        let webhooks = Webhooks::new(nobody(), Outgoing::on_loopback());
        let plain = endpoint(&server, 0);
        let verdict = webhooks.call(&plain, &payload(), "key").await;
        let expected = if status == 200 { "Passed" } else { "Failed" };
        assert_eq!(verdict.as_str(), expected);
        let direct = Endpoint {
            answers: Answers::Direct,
            retries: 5,
            ..plain
        };
        let verdict = webhooks.call(&direct, &payload(), "key").await;
        assert!(matches!(verdict, Verdict::Abort(_) | Verdict::Later { .. }));
        assert!(verdict.objection().is_some_and(|why| why.ends_with(obeyed)));
        assert_eq!(server.requests().len(), 2, "it is not asked again at once");
    }
}
