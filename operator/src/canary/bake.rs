//! The time after a promotion in which checks go on: what the spec asks for, and what the status
//! tells of it. Pure.

use fairlead_crds::canary::{BakeStatus, CanaryAnalysis, CanaryPhase, CanaryStatus};
use fairlead_crds::{ConditionStatus, ConditionType, Finding, remove_condition, set_condition};
use fairlead_rollout::Bake;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::strategy::duration;
use super::validate::Error;

const FIELD: &str = "spec.analysis.bake.duration";

/// How long what was promoted is checked for, when that is asked for.
pub(super) fn length(analysis: &CanaryAnalysis) -> Result<Option<SignedDuration>, Error> {
    let Some(bake) = &analysis.bake else {
        return Ok(None);
    };
    let length = duration(FIELD, Some(&bake.duration))?.filter(|length| !length.is_zero());
    let length = length.ok_or_else(|| Error::Field {
        field: FIELD,
        fix: "must be a duration such as 30m; leave `bake` out to check nothing after promotion"
            .to_owned(),
    })?;
    Ok(Some(
        SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX),
    ))
}

pub(super) const fn load(status: &BakeStatus) -> Bake {
    Bake {
        since: status.since.0,
        failed_checks: status.failed_checks,
    }
}

pub(super) const fn store(bake: Bake) -> BakeStatus {
    BakeStatus {
        since: MicroTime(bake.since),
        failed_checks: bake.failed_checks,
    }
}

/// Sets the Baking condition, or takes it away.
pub(super) fn mark(
    status: &mut CanaryStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let run = status
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.run.as_ref());
    let bakes = run.is_some_and(|run| run.bake.is_some());
    if !bakes || status.phase != Some(CanaryPhase::Succeeded) {
        return remove_condition(&mut status.conditions, ConditionType::Baking);
    }
    let finding = Finding {
        type_: ConditionType::Baking,
        status: ConditionStatus::True,
        reason: "Promoted",
        message: message.to_owned(),
        generation,
    };
    set_condition(&mut status.conditions, finding, now);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn check(analysis: Value, expected: Result<Option<i64>, &str>) {
        let read: CanaryAnalysis = serde_json::from_value(analysis.clone()).unwrap();
        let found = length(&read).map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(length), Ok(expected)) => {
                assert_eq!(length.map(|length| length.as_secs()), expected);
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (found, expected) => unreachable!("{analysis}: {found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_bake_has_a_length_that_can_be_read() {
        check(json!({}), Ok(None));
        check(json!({ "bake": { "duration": "1m30s" } }), Ok(Some(90)));
        check(
            json!({ "bake": { "duration": "long" } }),
            Err("spec.analysis.bake.duration"),
        );
        check(
            json!({ "bake": { "duration": "0s" } }),
            Err("leave `bake` out"),
        );
        check(
            json!({ "bake": { "duration": "" } }),
            Err("leave `bake` out"),
        );
    }

    #[test]
    fn the_condition_stands_while_what_was_promoted_bakes() {
        let mut status: CanaryStatus = serde_json::from_value(json!({
            "phase": "Succeeded",
            "rollout": { "run": {
                "id": 1, "revision": "r", "bake": { "since": "2026-01-01T00:00:00.000000Z" },
            } },
        }))
        .unwrap();
        mark(&mut status, "it bakes", None, Timestamp::UNIX_EPOCH);
        let [baking] = &status.conditions[..] else {
            unreachable!("{:?}", status.conditions)
        };
        assert_eq!(
            (baking.type_.as_str(), baking.message.as_str()),
            ("Baking", "it bakes")
        );
        status.phase = Some(CanaryPhase::Failed);
        mark(&mut status, "it failed", None, Timestamp::UNIX_EPOCH);
        assert_eq!(status.conditions, []);
    }
}
