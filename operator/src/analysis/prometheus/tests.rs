//! Prometheus as a server on loopback that answers with fixed texts.

use fairlead_rollout::Verdict;
use serde_json::{Value, json};

use super::*;
use crate::analysis::{Range, measure};
use crate::fake::{Answer, Server};
use crate::outgoing::address::Places;

const AT_LEAST_99: Range = Range {
    min: Some(99.0),
    max: None,
};

fn success(data: &Value) -> Answer {
    let body = json!({ "status": "success", "data": data });
    Server::answer(200, body.to_string()).with_header("content-type", "application/json")
}

fn vector(values: &[&str]) -> Answer {
    let series: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(pod, value)| json!({ "metric": { "pod": pod.to_string() }, "value": [0, value] }))
        .collect();
    success(&json!({ "resultType": "vector", "result": series }))
}

async fn ask(answer: Answer, access: Access) -> (Verdict, Server) {
    let server = Server::start(move |_| answer.clone()).await;
    let access = Access {
        address: server.address(),
        ..access
    };
    let provider = Prometheus::new(&Outgoing::on_loopback(), &access)
        .await
        .unwrap();
    let finding = measure(&provider, "m", "up == 1".to_owned(), AT_LEAST_99).await;
    (finding.verdict, server)
}

async fn check(answer: Answer, expected: &str) {
    let shown = format!("{answer:?}");
    let (verdict, _server) = ask(answer, Access::default()).await;
    let why = verdict.objection().unwrap_or_default();
    let word = format!("{}: {why}", verdict.as_str());
    assert!(word.starts_with(expected), "{word}, for {shown}");
}

#[tokio::test]
async fn a_scalar_and_one_series_are_one_number() {
    let scalar = |value| success(&json!({ "resultType": "scalar", "result": [0, value] }));
    check(scalar("99"), "Passed").await;
    check(scalar("98"), "Failed: metric m: 98 is not at least 99").await;
    check(vector(&["99"]), "Passed").await;
    check(vector(&["98.9"]), "Failed").await;
}

#[tokio::test]
async fn each_of_several_series_must_pass() {
    check(vector(&["100", "99", "99.5"]), "Passed").await;
    check(vector(&["100", "98", "100"]), "Failed").await;
    check(vector(&["98", "100", "100"]), "Failed").await;
}

#[tokio::test]
async fn no_series_as_when_all_are_stale_is_no_data() {
    check(vector(&[]), "NoData").await;
}

#[tokio::test]
async fn nan_is_no_data_and_infinity_is_an_error() {
    check(vector(&["NaN"]), "NoData").await;
    check(vector(&["100", "NaN"]), "NoData").await;
    check(vector(&["+Inf"]), "Error").await;
    check(vector(&["-Inf"]), "Error").await;
}

#[tokio::test]
async fn what_is_not_a_number_at_one_time_is_an_error() {
    let series = json!([{ "metric": {}, "values": [[0, "100"], [1, "100"]] }]);
    let matrix = success(&json!({ "resultType": "matrix", "result": series }));
    check(matrix, "Error: metric m: the query must give a number").await;
    let text = success(&json!({ "resultType": "string", "result": [0, "hello"] }));
    check(text, "Error").await;
}

#[tokio::test]
async fn a_refused_query_is_an_error_with_prometheus_own_words() {
    let body = json!({ "status": "error", "errorType": "bad_data", "error": "unexpected end" });
    let refusal =
        Server::answer(400, body.to_string()).with_header("content-type", "application/json");
    let (verdict, _server) = ask(refusal, Access::default()).await;
    let why = verdict.objection().unwrap_or_default();
    assert!(matches!(verdict, Verdict::Error(_)), "{verdict:?}");
    assert!(why.contains("unexpected end"), "{why}");
}

#[tokio::test]
async fn an_answer_of_someone_else_is_an_error() {
    check(Server::answer(503, "no upstream"), "Error").await;
    check(Server::answer(200, "<html>"), "Error").await;
}

#[tokio::test]
async fn query_and_headers_are_sent_once_each_time() {
    let access = Access {
        credentials: outgoing::access::Credentials::Token("abc".to_owned()),
        headers: vec![("X-Scope-OrgID".to_owned(), "team".to_owned())],
        ..Access::default()
    };
    let (verdict, server) = ask(vector(&["100"]), access).await;
    assert_eq!(verdict, Verdict::Passed);
    let request = server.requests().remove(0);
    assert_eq!(request.uri.path(), "/api/v1/query");
    assert_eq!(&request.body[..], b"query=up+%3D%3D+1");
    let count = |name: &str| request.headers.get_all(name).iter().count();
    assert_eq!((count("authorization"), count("x-scope-orgid")), (1, 1));
    assert_eq!(request.header("authorization"), "Bearer abc");
}

#[tokio::test]
async fn a_prometheus_at_a_forbidden_address_is_an_error_that_names_the_flag() {
    let outgoing = Outgoing::for_tests(&[], Places::default());
    let access = |host: &str| Access {
        address: format!("http://{host}:9090/secret"),
        ..Access::default()
    };
    let literal = Prometheus::new(&outgoing, &access("127.0.0.1")).await;
    let literal = literal.unwrap_err().to_string();
    let named = Prometheus::new(&outgoing, &access("localhost"))
        .await
        .unwrap();
    let named = named.query("up").await.unwrap_err().to_string();
    for text in [literal, named] {
        assert!(text.contains("--allow-outgoing=loopback"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
