//! A Canary in a few words. Pure.

use fairlead_crds::canary::{
    AnswerHistory, Canary, CanaryPhase, CanaryStatus, CheckStatus, Number, ShareStatus,
};
use fairlead_crds::{ConditionType, is_true};

use crate::terminal::{Cell, Tone};

/// The status, or that of a Canary that nobody has looked at.
pub(super) fn status(canary: &Canary) -> CanaryStatus {
    canary.status.clone().unwrap_or_default()
}

/// The message of a condition that holds.
pub(super) fn condition(status: &CanaryStatus, type_: ConditionType) -> Option<&str> {
    let conditions = status.conditions.iter();
    let mut holding = conditions.filter(|one| one.type_ == type_.as_str() && one.status == "True");
    holding.next().map(|one| one.message.as_str())
}

/// What is going on, in one sentence.
pub(super) fn message(status: &CanaryStatus) -> &str {
    let ready = ConditionType::Ready.as_str();
    let found = status.conditions.iter().find(|one| one.type_ == ready);
    found.map_or("no operator has looked at it yet", |one| {
        one.message.as_str()
    })
}

/// The phase, and whether a person has paused it or what it promoted bakes.
pub(super) fn phase(status: &CanaryStatus) -> Cell {
    let phase = status.phase.unwrap_or_default();
    let word = if phase == CanaryPhase::New {
        "New"
    } else {
        phase.as_str()
    };
    if is_true(&status.conditions, ConditionType::Paused) {
        return Cell::toned(format!("{word} (paused)"), Tone::Busy);
    }
    if is_true(&status.conditions, ConditionType::Baking) {
        return Cell::toned(format!("{word} (baking)"), Tone::Busy);
    }
    let tone = match phase {
        CanaryPhase::Initialized | CanaryPhase::Succeeded => Tone::Good,
        CanaryPhase::Failed => Tone::Bad,
        CanaryPhase::New
        | CanaryPhase::Initializing
        | CanaryPhase::Waiting
        | CanaryPhase::Progressing
        | CanaryPhase::WaitingPromotion
        | CanaryPhase::Promoting
        | CanaryPhase::Finalising
        | CanaryPhase::Terminating
        | CanaryPhase::Terminated => Tone::Busy,
    };
    Cell::toned(word, tone)
}

/// A number, or nothing.
pub(super) fn number(number: Option<Number>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// The limits of a metric in words.
pub(super) fn limit(min: Option<Number>, max: Option<Number>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => String::new(),
    }
}

/// A verdict in its colour.
pub(super) fn verdict(verdict: &str) -> Cell {
    let tone = match verdict {
        "Passed" => Tone::Good,
        "Failed" => Tone::Bad,
        _ => Tone::Busy,
    };
    Cell::toned(verdict, tone)
}

/// The share of requests that the canary really gets.
pub(super) fn share(share: &ShareStatus) -> String {
    let ShareStatus {
        weight,
        percent,
        requests,
        ..
    } = share;
    format!("at weight {weight} the canary got {percent}% of {requests} requests")
}

/// The columns of what a metric said.
pub(super) const CHECK: [&str; 4] = ["CHECK", "VALUE", "LIMIT", "VERDICT"];

/// A row of [`CHECK`].
pub(super) fn check(check: &CheckStatus) -> [Cell; 4] {
    [
        check.metric.as_str().into(),
        check.values.join(", ").into(),
        limit(check.min, check.max).into(),
        verdict(&check.verdict),
    ]
}

/// An answer in a few words: `latency 995 (at most 250) Failed`.
pub(super) fn answer(answer: &AnswerHistory) -> String {
    let mut words = vec![answer.asked.clone()];
    words.extend((!answer.values.is_empty()).then(|| answer.values.join(", ")));
    let limit = limit(answer.min, answer.max);
    words.extend((!limit.is_empty()).then(|| format!("({limit})")));
    words.push(answer.verdict.clone());
    words.join(" ")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{from_value, json};

    use super::*;

    /// A Canary in the middle of a run, paused, after a check that failed.
    pub(in crate::canary) fn canary() -> Canary {
        let condition = |type_: &str, message: &str| {
            json!({
                "type": type_, "status": "True", "reason": "Progressing", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let at = |second: u8| format!("2026-01-01T00:00:{second:02}.000000Z");
        let latency = |value: &str, verdict: &str| json!({ "asked": "latency", "values": [value], "max": 250, "verdict": verdict });
        from_value(json!({
            "metadata": { "name": "podinfo", "namespace": "shop" },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
                "analysis": { "interval": "10s", "threshold": 3 },
            },
            "status": {
                "phase": "Progressing",
                "canaryWeight": 25,
                "failedChecks": 1,
                "lastHandled": "pause@2",
                "conditions": [
                    condition("Ready", "paused: `resume` goes on, `abort` gives up"),
                    condition("Paused", "paused by alice: `resume` goes on"),
                ],
                "rollout": {
                    "promotedRevision": "r1",
                    "keptRevisions": ["r0"],
                    "paused": true,
                    "run": { "id": 2, "revision": "r2", "weight": 25, "failedChecks": 1 },
                    "commands": [
                        { "command": "pause@2", "by": "alice", "verified": true, "at": at(30) },
                        {
                            "command": "retry@1", "by": "git", "at": at(20),
                            "refused": "retry makes no sense now: it has not failed",
                        },
                    ],
                    "observedShare": {
                        "weight": 25, "percent": 31.2, "requests": 1200, "at": at(15),
                    },
                    "judgement": [{
                        "metric": "request-success-rate", "verdict": "Inconclusive",
                        "message": "request-success-rate: inconclusive: the planned time has not \
                                    passed",
                        "canaryRequests": 120, "primaryRequests": 1080,
                    }],
                    "checks": [{
                        "metric": "latency", "query": "histogram_quantile(…)", "values": ["300"],
                        "max": 250, "verdict": "Failed", "message": "300 is not at most 250",
                    }],
                },
                "history": [
                    {
                        "run": 2, "revision": "r2", "startedAt": at(0),
                        "queries": { "latency": "histogram_quantile(…)" },
                        "decisions": [
                            {
                                "at": at(5), "step": 1, "weight": 25,
                                "decision": "WeightInEffect", "message": "traffic is 75/25",
                            },
                            {
                                "at": at(15), "step": 1, "weight": 25, "count": 2,
                                "decision": "CheckFailed", "message": "check failed (1 of 3)",
                                "answers": [latency("300", "Failed")],
                            },
                        ],
                    },
                    {
                        "run": 1, "revision": "r1", "startedAt": "2025-12-31T00:00:00.000000Z",
                        "endedAt": "2025-12-31T00:01:40.000000Z", "outcome": "Promoted",
                        "omitted": 4,
                        "decisions": [{
                            "at": "2025-12-31T00:01:40.000000Z", "step": 2, "weight": 0,
                            "decision": "Promoted", "message": "revision r1 is promoted",
                        }],
                    },
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn limits_are_words() {
        let number = |value: f64| Some(Number::from(value));
        assert_eq!(limit(number(99.5), None), "at least 99.5");
        assert_eq!(limit(None, number(250.0)), "at most 250");
        assert_eq!(limit(number(1.0), number(2.0)), "1 to 2");
        assert_eq!(limit(None, None), "");
    }
}
