//! How urgent a look at a Canary is. Pure.
//!
//! Urgency is a time: of two looks the one with the earlier time comes first. Whoever waits grows
//! no less urgent while others come, so that nobody waits for ever.

use fairlead_crds::annotation::COMMAND;
use fairlead_crds::canary::Canary;
use fairlead_rollout::{Split, State};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::status;

/// Before everybody else: a person waits, or requests may be lost.
const AT_ONCE: SignedDuration = SignedDuration::from_mins(10);
/// The most that counts of the time since the last action of a run in progress.
const MOST_OVERDUE: SignedDuration = SignedDuration::from_secs(60);
/// What part of that time it comes earlier: enough to put those in order that come together, as
/// after a start, and too little for one to come a second time before the others have come once.
const HEAD_START: i32 = 20;
/// How long a Canary at rest lets others pass.
const PATIENCE: SignedDuration = SignedDuration::from_secs(2);

/// How urgent a look is that is asked for `now`; `endpoints_changed` says whether the ready
/// endpoints have changed since the last look.
pub(super) fn urgency(canary: &Canary, endpoints_changed: bool, now: Timestamp) -> Timestamp {
    let before = |time: SignedDuration| now.saturating_sub(time).unwrap_or(Timestamp::MIN);
    let state = canary.status.as_ref().map(status::load).unwrap_or_default();
    let is_urgent = canary.metadata.deletion_timestamp.is_some()
        || has_news(canary)
        || state.retained
        || is_in_doubt(&state)
        || (endpoints_changed && reaches_canary(&state));
    if is_urgent {
        return before(AT_ONCE);
    }
    match state.run.as_ref().filter(|_| state.is_under_way()) {
        Some(run) if !state.paused => {
            let effective = state.traffic.and_then(|intent| intent.in_effect);
            let last = run.checked_at.map(|checked| effective.max(Some(checked)));
            let last = last.flatten().unwrap_or(now);
            let overdue = now.duration_since(last.clamp(before(MOST_OVERDUE), now));
            before(overdue / HEAD_START)
        }
        Some(_) => now,
        None => now.saturating_add(PATIENCE).unwrap_or(now),
    }
}

/// Whether a person has left a command that was not heard yet.
fn has_news(canary: &Canary) -> bool {
    let status = canary.status.as_ref();
    let handled = status.and_then(|status| status.last_handled.as_deref());
    let command = canary.annotations().get(COMMAND).map(|text| text.trim());
    command.is_some_and(|text| !text.is_empty() && Some(text) != handled)
}

/// Whether traffic was to be taken from a canary and may still be there.
fn is_in_doubt(state: &State) -> bool {
    state.traffic.is_some_and(|intent| {
        intent.in_effect.is_none() && intent.before.raises_primary(intent.target)
    })
}

fn reaches_canary(state: &State) -> bool {
    let held = state.traffic.map(|intent| intent.target);
    held.is_some_and(Split::reaches_canary)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    /// The urgency in milliseconds before now.
    fn ahead(endpoints_changed: bool, change: impl FnOnce(&mut Value)) -> i128 {
        let mut canary = json!({
            "metadata": { "name": "web", "annotations": { COMMAND: "pause@1" } },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "analysis": {},
            },
            "status": {
                "phase": "Progressing",
                "lastHandled": "pause@1",
                "rollout": {
                    "run": {
                        "id": 1, "revision": "r", "weight": 10,
                        "checkedAt": "2026-01-01T00:59:50.000000Z",
                    },
                },
            },
        });
        change(&mut canary);
        let canary: Canary = serde_json::from_value(canary).unwrap();
        let now: Timestamp = NOW.parse().unwrap();
        let urgency = urgency(&canary, endpoints_changed, now);
        now.duration_since(urgency).as_millis()
    }

    fn traffic(before: u8, target: u8, in_effect: Option<&str>) -> Value {
        json!({
            "weight": target,
            "weightBefore": before,
            "since": "2026-01-01T00:59:55.000000Z",
            "inEffect": in_effect,
        })
    }

    #[test]
    fn a_run_is_more_urgent_the_longer_nothing_was_done() {
        assert_eq!(ahead(false, |_| {}), 500);
        let long_ago = |canary: &mut Value| {
            canary["status"]["rollout"]["run"]["checkedAt"] = json!("2025-01-01T00:00:00.000000Z");
        };
        assert_eq!(ahead(false, long_ago), 3_000);
        let from_the_future = |canary: &mut Value| {
            canary["status"]["rollout"]["run"]["checkedAt"] = json!("2027-01-01T00:00:00.000000Z");
        };
        assert_eq!(ahead(false, from_the_future), 0);
        let begun = |canary: &mut Value| {
            canary["status"]["rollout"]["run"]["checkedAt"] = Value::Null;
        };
        assert_eq!(ahead(false, begun), 0);
        let at_rest = |canary: &mut Value| canary["status"]["phase"] = json!("Succeeded");
        assert_eq!(ahead(false, at_rest), -2_000);
    }

    #[test]
    fn persons_and_requests_that_may_be_lost_come_first() {
        let commanded = |canary: &mut Value| {
            canary["metadata"]["annotations"][COMMAND] = json!("abort@2");
        };
        assert_eq!(ahead(false, commanded), 600_000);
        let deleted = |canary: &mut Value| canary["metadata"]["deletionTimestamp"] = json!(NOW);
        assert_eq!(ahead(false, deleted), 600_000);
        let with = |intent: Value| {
            move |canary: &mut Value| canary["status"]["rollout"]["traffic"] = intent
        };
        let (rising, falling) = (traffic(0, 10, None), traffic(10, 0, None));
        assert_eq!(ahead(false, with(rising.clone())), 500);
        assert_eq!(ahead(true, with(rising)), 600_000);
        assert_eq!(ahead(false, with(falling)), 600_000);
        let fallen = traffic(10, 0, Some("2026-01-01T00:59:56.000000Z"));
        assert_eq!(ahead(true, with(fallen)), 200);
    }
}
