//! Histories, and the spans that they become.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::json;

use super::*;

fn at(second: i64) -> MicroTime {
    MicroTime(Timestamp::from_second(second).unwrap())
}

fn made(second: i64, step: u32, decision: &str) -> DecisionHistory {
    DecisionHistory {
        at: at(second),
        step,
        weight: u8::try_from(step * 10).unwrap(),
        decision: decision.to_owned(),
        message: Some(format!("{decision} at {second}")),
        count: None,
        asked_at: None,
        asked_in: None,
        answers: Vec::new(),
    }
}

/// A check of `asked_in`, asked two seconds before.
fn check(second: i64, asked_in: u32, step: u32, decision: &str, verdict: &str) -> DecisionHistory {
    DecisionHistory {
        asked_at: Some(at(second - 2)),
        asked_in: (asked_in != step).then_some(asked_in),
        answers: vec![AnswerHistory {
            asked: "errors".to_owned(),
            values: vec!["0.5".to_owned()],
            max: Some(1.0.into()),
            verdict: verdict.to_owned(),
            ..AnswerHistory::default()
        }],
        ..made(second, step, decision)
    }
}

fn canary(runs: Vec<RunHistory>) -> Canary {
    let mut canary: Canary = serde_json::from_value(json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": { "name": "podinfo", "namespace": "shop", "uid": "u1" },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "analysis": {},
        },
    }))
    .unwrap();
    canary.status = Some(CanaryStatus {
        history: runs,
        ..CanaryStatus::default()
    });
    canary
}

fn run(decisions: Vec<DecisionHistory>, end: Option<(i64, RunOutcome)>) -> RunHistory {
    RunHistory {
        run: 3,
        revision: "r3".to_owned(),
        started_at: at(100),
        ended_at: end.map(|(second, _)| at(second)),
        outcome: end.map(|(_, outcome)| outcome),
        queries: Default::default(),
        omitted: 0,
        decisions,
    }
}

/// A whole run: begun at step 0, one weight, promoted.
fn whole() -> RunHistory {
    let decisions = vec![
        made(100, 0, "NewRevision"),
        check(110, 0, 1, "CheckPassed", "Passed"),
        check(120, 1, 1, "CheckFailed", "Failed"),
        check(130, 1, 2, "Promoting", "Passed"),
        made(140, 2, "Promoted"),
    ];
    run(decisions, Some((140, RunOutcome::Promoted)))
}

/// Plays a run decision by decision, as statuses are stored, and collects what is told.
fn told(run: &RunHistory) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut before = None;
    for length in 1..=run.decisions.len() {
        let is_last = length == run.decisions.len();
        let page = RunHistory {
            decisions: run.decisions[..length].to_vec(),
            ended_at: run.ended_at.clone().filter(|_| is_last),
            outcome: run.outcome.filter(|_| is_last),
            ..run.clone()
        };
        let canary = canary(vec![page]);
        spans.extend(ended(&canary, before.as_ref()));
        before = canary.status;
    }
    spans
}

fn seconds(span: &Span) -> (u64, u64) {
    let second = |nanos| nanos / 1_000_000_000;
    (
        second(span.start_time_unix_nano),
        second(span.end_time_unix_nano),
    )
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[test]
fn a_run_is_a_trace_of_its_steps_and_their_checks() {
    let spans = told(&whole());
    let [root] = named(&spans, "rollout")[..] else {
        unreachable!("{spans:?}")
    };
    assert_eq!(seconds(root), (100, 140));
    assert!(root.parent_span_id.is_empty());
    let steps = named(&spans, "step");
    let times: Vec<_> = steps.iter().map(|span| seconds(span)).collect();
    assert_eq!(times, [(100, 110), (110, 130), (130, 140)]);
    let checks = named(&spans, "check");
    let times: Vec<_> = checks.iter().map(|span| seconds(span)).collect();
    assert_eq!(times, [(108, 110), (118, 120), (128, 130)]);
    // Each check is within the step that was asked about.
    for (check, step) in checks.iter().zip([0, 1, 1]) {
        assert_eq!(check.parent_span_id, steps[step].span_id);
    }
    for step in &steps {
        assert_eq!(step.parent_span_id, root.span_id);
    }
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id));
    assert_eq!((root.trace_id.len(), root.span_id.len()), (16, 8));
    let failed = checks[1].status.clone().unwrap();
    assert_eq!(failed.code(), StatusCode::Error);
    assert_eq!(failed.message, "CheckFailed at 120");
}

#[test]
fn nothing_is_told_twice_and_all_of_it_has_a_name_of_its_own() {
    let spans = told(&whole());
    let mut ids: Vec<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), spans.len());
    let page = canary(vec![whole()]);
    assert_eq!(ended(&page, page.status.as_ref()), []);
}

#[test]
fn whoever_takes_over_goes_on_with_the_same_trace() {
    let all = told(&whole());
    // One that comes after the second decision and sees the end alone.
    let known = RunHistory {
        decisions: whole().decisions[..2].to_vec(),
        ended_at: None,
        outcome: None,
        ..whole()
    };
    let before = canary(vec![known]).status;
    let late = ended(&canary(vec![whole()]), before.as_ref());
    for span in &late {
        assert!(all.contains(span), "{span:?}");
    }
    assert_eq!(named(&late, "rollout").len(), 1);
}

#[test]
fn another_run_and_another_canary_are_other_traces() {
    let first = told(&whole());
    let second = told(&RunHistory { run: 4, ..whole() });
    assert_ne!(first[0].trace_id, second[0].trace_id);
    let mut other = canary(vec![whole()]);
    other.metadata.uid = Some("u2".to_owned());
    assert_ne!(ended(&other, None)[0].trace_id, first[0].trace_id);
}

#[test]
fn a_run_whose_place_is_taken_ends() {
    let open = run(vec![made(100, 0, "NewRevision")], None);
    let before = canary(vec![open.clone()]).status;
    let superseded = RunHistory {
        ended_at: Some(at(105)),
        outcome: Some(RunOutcome::Superseded),
        ..open
    };
    let next = RunHistory {
        run: 4,
        ..run(vec![made(105, 0, "RevisionSuperseded")], None)
    };
    let spans = ended(&canary(vec![next, superseded]), before.as_ref());
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["step", "rollout"]);
}

#[test]
fn an_answer_that_is_not_the_last_ends_no_check() {
    let open = run(vec![check(110, 0, 0, CHECKING, "Passed")], None);
    assert_eq!(ended(&canary(vec![open]), None), []);
}
