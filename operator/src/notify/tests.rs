//! Alerts: their bodies, and their way to a server on loopback.

use fairlead_rollout::Severity;
use serde_json::json;

use super::*;
use crate::fake::Server;
use crate::outgoing::address::Places;
use crate::outgoing::{Outgoing, signature};

const KINDS: [Kind; 6] = [
    Kind::Slack,
    Kind::Msteams,
    Kind::Discord,
    Kind::Rocket,
    Kind::Gchat,
    Kind::Webhook,
];

fn alert() -> Alert {
    Alert {
        name: "podinfo".to_owned(),
        namespace: "test".to_owned(),
        phase: "Failed",
        reason: "RolledBack",
        severity: Severity::Error,
        at: "2026-03-02T10:00:00Z".parse().unwrap(),
        key: "uid/1/2/alert/RolledBack/7".to_owned(),
        text: "revision <abc> & co are rolled back".to_owned(),
        fields: vec![("Cluster".to_owned(), "prod".to_owned())],
    }
}

fn destination(kind: Kind, address: String) -> Destination {
    Destination {
        kind,
        address,
        token: Some("token-secret".to_owned()),
        hmac_key: Some(b"key-secret".to_vec()),
        channel: "releases".to_owned(),
        username: "fairlead".to_owned(),
        proxy: None,
    }
}

#[test]
fn every_body_names_the_canary_and_carries_no_secret() {
    for kind in KINDS {
        let address = "https://hooks/address-secret".to_owned();
        let destination = destination(kind, address);
        let text = body(&alert(), &destination).to_string();
        for part in ["podinfo", "test", "rolled back", "Cluster", "prod"] {
            assert!(text.contains(part), "{kind:?} lacks {part}: {text}");
        }
        assert!(!text.contains("secret"), "{kind:?}: {text}");
        assert!(!format!("{destination:?}").contains("secret"));
    }
}

#[test]
fn slack_gets_blocks_that_say_what_the_text_says() {
    let body = body(&alert(), &destination(Kind::Slack, String::new()));
    let attachment = &body["attachments"][0];
    assert_eq!(body["channel"], "releases");
    assert_eq!(attachment["color"], "danger");
    let section = &attachment["blocks"][0];
    assert_eq!(
        section["text"]["text"],
        "*podinfo.test*\nrevision &lt;abc&gt; &amp; co are rolled back"
    );
    assert_eq!(section["fields"][0]["text"], "*Cluster*\nprod");
}

#[test]
fn slack_takes_no_more_than_its_limits() {
    let mut alert = alert();
    alert.text = "x".repeat(5000);
    alert.fields = vec![("Field".to_owned(), "y".repeat(5000)); 20];
    let body = body(&alert, &destination(Kind::Slack, String::new()));
    let section = &body["attachments"][0]["blocks"][0];
    let length = |text: &Value| text["text"].as_str().unwrap().chars().count();
    assert_eq!(length(&section["text"]), 3000);
    let fields = section["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 10);
    assert!(fields.iter().all(|field| length(field) == 2000));
}

#[test]
fn teams_gets_an_adaptive_card() {
    let body = body(&alert(), &destination(Kind::Msteams, String::new()));
    let attachment = &body["attachments"][0];
    assert_eq!(
        attachment["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    let content = attachment["content"]["body"].as_array().unwrap();
    let types: Vec<_> = content.iter().map(|block| &block["type"]).collect();
    assert_eq!(types, ["TextBlock", "TextBlock", "FactSet"]);
    assert_eq!(content[0]["color"], "Attention");
}

#[test]
fn a_plain_webhook_gets_everything_by_name() {
    let body = body(&alert(), &destination(Kind::Webhook, String::new()));
    let expected = json!({
        "name": "podinfo",
        "namespace": "test",
        "phase": "Failed",
        "reason": "RolledBack",
        "severity": "error",
        "message": "revision <abc> & co are rolled back",
        "timestamp": "2026-03-02T10:00:00Z",
        "metadata": { "Cluster": "prod" },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_webhooks_signature_is_about_the_bytes_that_arrive() {
    let server = Server::start(|_| Server::answer(204, "")).await;
    let destination = destination(Kind::Webhook, server.address());
    deliver(&Outgoing::on_loopback(), &alert(), &destination)
        .await
        .unwrap();
    let request = server.requests().remove(0);
    let signed = request.header(signature::HEADER);
    let at = signed
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(','));
    let at = at.and_then(|(seconds, _)| seconds.parse().ok()).unwrap();
    let at = Timestamp::from_second(at).unwrap();
    assert_eq!(signed, signature::sign(b"key-secret", &request.body, at));
    assert_eq!(request.header("authorization"), "Bearer token-secret");
    assert_eq!(request.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_busy_receiver_is_tried_again_after_the_pause_that_it_asks_for() {
    let server = Server::start(|count| match count {
        0 => Server::answer(429, "").with_header("retry-after", "0"),
        1 => Server::answer(503, "").with_header("retry-after", "0"),
        _ => Server::answer(200, "ok"),
    })
    .await;
    let destination = destination(Kind::Slack, server.address());
    let outcome = deliver(&Outgoing::on_loopback(), &alert(), &destination).await;
    assert_eq!(outcome, Ok(()));
    let requests = server.requests();
    let keys: Vec<_> = requests
        .iter()
        .map(|one| one.header("idempotency-key"))
        .collect();
    assert_eq!(keys, ["uid/1/2/alert/RolledBack/7"; 3]);
}

#[tokio::test]
async fn a_refusal_is_final_and_told_without_the_address() {
    let server = Server::start(|_| Server::answer(404, "no_service")).await;
    let address = format!("{}/address-secret", server.address());
    let loss = deliver(
        &Outgoing::on_loopback(),
        &alert(),
        &destination(Kind::Slack, address),
    )
    .await
    .unwrap_err();
    assert_eq!(loss.to_string(), "the receiver answered 404");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_alert_to_a_forbidden_address_names_the_flag_and_no_secret() {
    let outgoing = Outgoing::for_tests(&[], Places::default());
    for address in ["http://127.0.0.1/secret", "http://localhost/secret"] {
        let destination = destination(Kind::Slack, address.to_owned());
        let loss = deliver(&outgoing, &alert(), &destination)
            .await
            .unwrap_err();
        let text = loss.to_string();
        assert!(matches!(loss, Loss::Setup(_)), "{loss:?}");
        assert!(text.contains("--allow-outgoing=loopback"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
