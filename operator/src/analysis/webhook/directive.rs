//! Answers of a hook that mean more than yes or no, for hooks whose answers are to be obeyed. Pure.
//!
//! 429 and 503 mean "ask again later" (RFC 6585, section 4; RFC 9110, section 15.6.4), after the
//! time that `Retry-After` says. A body `{"decision": "abort"}` gives the rollout up, and
//! `{"decision": "retry"}` is as 503, with any status.

use std::time::Duration;

use fairlead_rollout::Verdict;
use jiff::SignedDuration;
use reqwest::StatusCode;
use serde::Deserialize;

/// What a body may say; everything else in it is the hook's own matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    decision: Option<String>,
    retry_after: Option<u64>,
    message: Option<String>,
}

/// What an answer asks for beside yes or no; `asked` is what its `Retry-After` says.
///
/// A decision that is not known is an error, never a yes: the hook meant something by it.
pub(super) fn read(status: StatusCode, asked: Option<Duration>, body: &[u8]) -> Option<Verdict> {
    let body: Option<Body> = serde_json::from_slice(body).ok();
    let says = |word: &str, more: Option<&str>| {
        let more = more.map(|more| format!(": {more}")).unwrap_or_default();
        format!("it {word}{more}")
    };
    let (decision, message) = match &body {
        Some(body) => (body.decision.as_deref(), body.message.as_deref()),
        None => (None, None),
    };
    let later = |message| {
        let seconds = body.as_ref().and_then(|body| body.retry_after);
        let pause = seconds.map(Duration::from_secs).or(asked);
        Verdict::Later {
            why: says("wants to be asked again later", message),
            pause: pause
                .map(|pause| SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX)),
        }
    };
    match decision {
        Some("abort") => Some(Verdict::Abort(says("gave the rollout up", message))),
        Some("retry") => Some(later(message)),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            Some(Verdict::Error(format!(
                "it answered with the decision `{other}`; only `abort` and `retry` are known"
            )))
        }
        None if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) =>
        {
            Some(later(message))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, asked: Option<u64>, body: &str, expected: Option<&Verdict>) {
        let status = StatusCode::from_u16(status).unwrap();
        let verdict = read(status, asked.map(Duration::from_secs), body.as_bytes());
        assert_eq!(verdict.as_ref(), expected, "{status} {body}");
    }

    fn later(more: &str, pause: Option<SignedDuration>) -> Verdict {
        Verdict::Later {
            why: format!("it wants to be asked again later{more}"),
            pause,
        }
    }

    #[test]
    fn busy_means_later_and_a_body_says_when_before_the_header() {
        let after = |seconds| later("", Some(SignedDuration::from_secs(seconds)));
        check(503, None, "", Some(&later("", None)));
        check(429, Some(30), "<html>", Some(&after(30)));
        check(503, Some(30), r#"{"retryAfter": 5}"#, Some(&after(5)));
        check(
            200,
            None,
            r#"{"decision": "retry"}"#,
            Some(&later("", None)),
        );
        let busy = r#"{"decision": "retry", "message": "tests run"}"#;
        check(200, None, busy, Some(&later(": tests run", None)));
        let forever = format!(r#"{{"decision": "retry", "retryAfter": {}}}"#, u64::MAX);
        check(
            200,
            None,
            &forever,
            Some(&later("", Some(SignedDuration::MAX))),
        );
    }

    #[test]
    fn an_abort_counts_with_any_status() {
        for status in [200, 403, 503] {
            let abort = Verdict::Abort("it gave the rollout up: wrong schema".to_owned());
            let body = r#"{"decision": "abort", "message": "wrong schema"}"#;
            check(status, None, body, Some(&abort));
        }
    }

    #[test]
    fn what_is_not_said_in_these_words_is_yes_or_no() {
        let others = [
            "",
            "abort",
            "[]",
            r#"{"status": "abort"}"#,
            r#"{"decision": 1}"#,
        ];
        for body in others {
            check(200, None, body, None);
            check(500, Some(3), body, None);
        }
    }

    #[test]
    fn an_unknown_decision_is_no_yes() {
        let verdict = read(StatusCode::OK, None, br#"{"decision": "Abort"}"#);
        let why = verdict.as_ref().and_then(Verdict::objection);
        assert!(
            why.is_some_and(|why| why.contains("`Abort`")),
            "{verdict:?}"
        );
        assert!(matches!(verdict, Some(Verdict::Error(_))));
    }
}
