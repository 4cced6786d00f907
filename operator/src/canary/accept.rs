//! The last spec that could be carried out: kept in the status, and in force while the one that
//! people see cannot be. Pure.

use fairlead_crds::canary::{Canary, CanarySpec, CanaryStatus};

use super::validate::{Error, Limits, Validated, validate};

/// A plan, and what is wrong with the spec if the plan is not that of the present one.
pub(super) struct Accepted {
    /// What is carried out.
    pub(super) plan: Validated,
    /// Why the present spec is not.
    pub(super) invalid: Option<String>,
}

/// Reads a Canary; one with an invalid edit goes on by its last valid spec.
pub(super) fn accept(canary: &Canary, limits: &Limits) -> Result<Accepted, Error> {
    let error = match validate(canary, limits) {
        Ok(plan) => {
            return Ok(Accepted {
                plan,
                invalid: None,
            });
        }
        Err(error) => error,
    };
    // One that this version does not accept any more is as good as none.
    let plan = recall(canary).and_then(|last| validate(&last, limits).ok());
    match plan {
        Some(plan) => Ok(Accepted {
            plan,
            invalid: Some(error.to_string()),
        }),
        None => Err(error),
    }
}

/// Keeps a spec that can be carried out.
pub(super) fn remember(status: &mut CanaryStatus, spec: &CanarySpec) {
    // Maps of a spec have text keys and its numbers are finite, so that this cannot fail.
    status.rollout.get_or_insert_default().accepted_spec = serde_json::to_string(spec).ok();
}

fn recall(canary: &Canary) -> Option<Canary> {
    let rollout = canary.status.as_ref()?.rollout.as_ref()?;
    let spec = serde_json::from_str(rollout.accepted_spec.as_deref()?).ok()?;
    Some(Canary {
        spec,
        ..canary.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fairlead_rollout::Plan;
    use serde_json::json;

    use super::*;

    fn limits() -> Limits {
        Limits {
            interval_floor: Duration::from_secs(1),
            ..Limits::default()
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn canary(step: serde_json::Value) -> Canary {
        serde_json::from_value(json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": { "name": "podinfo", "namespace": "test", "uid": "1" },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
                "service": { "port": 80, "timeout": "3s" },
                "analysis": { "stepWeight": step },
            },
        }))
        .unwrap()
    }

    #[test]
    fn an_invalid_edit_leaves_the_last_valid_spec_in_force() {
        let valid = canary(json!(10));
        let plan = accept(&valid, &limits()).map_err(|error| error.to_string());
        let plan = plan.unwrap().plan;
        let mut status = CanaryStatus::default();
        remember(&mut status, &valid.spec);
        let edited = Canary {
            status: Some(status),
            ..canary(json!(2.5))
        };
        let accepted = accept(&edited, &limits()).map_err(|error| error.to_string());
        let accepted = accepted.unwrap();
        assert_eq!(accepted.plan.strategy, plan.strategy);
        assert_eq!(accepted.plan.route.service, plan.route.service);
        assert!(matches!(accepted.plan.strategy.plan, Plan::Weighted { .. }));
        let why = accepted.invalid.unwrap();
        assert!(why.contains("spec.analysis.stepWeight"), "{why}");
    }

    #[test]
    fn a_canary_that_was_never_valid_is_refused() {
        assert!(accept(&canary(json!(2.5)), &limits()).is_err());
    }
}
