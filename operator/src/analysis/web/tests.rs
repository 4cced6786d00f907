//! A server on loopback that answers with JSON.

use fairlead_rollout::Verdict;

use super::*;
use crate::analysis::{Range, measure};
use crate::fake::{Answer, Server};

const AT_MOST_5: Range = Range {
    min: None,
    max: Some(5.0),
};

async fn ask(answer: Answer, path: &str, query: &str) -> (Verdict, Server) {
    let server = Server::start(move |_| answer.clone()).await;
    let access = Access {
        address: format!("{}/base", server.address()),
        headers: vec![("X-Key".to_owned(), "abc".to_owned())],
        ..Access::default()
    };
    let provider = Web::new(&Outgoing::on_loopback(), &access, path)
        .await
        .unwrap();
    let finding = measure(&provider, "m", query.to_owned(), AT_MOST_5).await;
    (finding.verdict, server)
}

async fn check(body: &str, path: &str, expected: &str) {
    let (verdict, _server) = ask(Server::answer(200, body), path, "").await;
    assert_eq!(verdict.as_str(), expected, "{body} at {path}: {verdict:?}");
}

#[tokio::test]
async fn numbers_are_found_by_path_and_each_must_pass() {
    check(r#"{"data": {"value": 5}}"#, "{$.data.value}", "Passed").await;
    check(r#"{"data": {"value": 6}}"#, "{$.data.value}", "Failed").await;
    check(r#"{"all": [{"v": 1}, {"v": 6}]}"#, "$.all[*].v", "Failed").await;
    check(r#"{"all": [{"v": 1}, {"v": 6}]}"#, "$.all[0].v", "Passed").await;
}

#[tokio::test]
async fn texts_with_numbers_and_truth_count_as_numbers() {
    check(r#"{"v": "4.5"}"#, "$.v", "Passed").await;
    check(r#"{"v": true}"#, "$.v", "Passed").await;
    check(r#"{"v": "NaN"}"#, "$.v", "NoData").await;
    check(r#"{"v": "inf"}"#, "$.v", "Error").await;
}

#[tokio::test]
async fn what_is_missing_is_no_data_and_what_is_no_number_is_an_error() {
    check("{}", "$.v", "NoData").await;
    check(r#"{"v": null}"#, "$.v", "NoData").await;
    check(r#"{"v": []}"#, "$.v[*]", "NoData").await;
    check(r#"{"v": {}}"#, "$.v", "Error").await;
    check(r#"{"v": "fast"}"#, "$.v", "Error").await;
    check("<html>", "$.v", "Error").await;
}

#[tokio::test]
async fn only_2xx_is_an_answer() {
    for status in [301, 404, 500] {
        let (verdict, _server) = ask(Server::answer(status, r#"{"v": 1}"#), "$.v", "").await;
        let why = verdict.objection().unwrap_or_default();
        assert!(why.contains(&format!("it answered {status}")), "{why}");
    }
}

#[tokio::test]
async fn the_query_follows_the_address() {
    for (query, expected) in [
        ("", "/base"),
        ("?service=a b", "/base?service=a%20b"),
        ("/v1/m?x=1", "/base/v1/m?x=1"),
    ] {
        let (_, server) = ask(Server::answer(200, "{}"), "$.v", query).await;
        let request = server.requests().remove(0);
        assert_eq!(request.uri.to_string(), expected);
        assert_eq!(request.header("x-key"), "abc");
    }
}

#[tokio::test]
async fn a_query_cannot_lead_to_another_server() {
    let server = Server::start(|_| Server::answer(200, "{}")).await;
    let access = Access {
        address: server.address().replace("http://", "http://user@"),
        ..Access::default()
    };
    let web = Web::new(&Outgoing::on_loopback(), &access, "$")
        .await
        .unwrap();
    // The parser ends the base with a slash, so that nothing can reach the host or the port.
    for query in ["@evil.example/", ".evil.example/", "1/", "//evil.example/"] {
        let url = web.url(query).unwrap();
        assert_eq!(url.origin(), web.base.origin(), "{query}");
        assert_eq!(url.host_str(), Some("127.0.0.1"), "{query}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let (verdict, _server) = ask(Server::answer(200, "1".repeat(MOST_BODY + 1)), "$", "").await;
    assert!(
        verdict.objection().is_some_and(|why| why.contains("1 MiB")),
        "{verdict:?}"
    );
}
