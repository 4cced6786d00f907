//! How large a canary is asked to be. Pure.

use fairlead_crds::canary::{CanaryCapacity, CanarySpec, WeightScope};
use fairlead_rollout::{Capacity, Plan};

use super::validate::Error;
use crate::workload::Kind;

/// Reads it, and refuses what would leave the canary too small for its traffic.
pub(super) fn capacity(spec: &CanarySpec, kind: Kind, plan: &Plan) -> Result<Capacity, Error> {
    let analysis = &spec.analysis;
    match analysis.capacity {
        None | Some(CanaryCapacity::Full) => return Ok(Capacity::Full),
        Some(CanaryCapacity::Proportional) => {}
    }
    let objection = if spec.autoscaler_ref.is_some() {
        Some("the autoscaler of spec.autoscalerRef owns the number of pods")
    } else if let Some(why) = kind.fixed_size() {
        Some(why)
    } else if matches!(plan, Plan::Iterations { .. }) {
        Some("without weights the new version gets all requests, or all that match")
    } else if analysis.session_affinity.is_some() {
        Some("clients that stay with the new version add up to more than its weight")
    } else if analysis.weight_scope == Some(WeightScope::Rest) {
        Some("requests that match go to the new version beside its weight")
    } else {
        None
    };
    match objection {
        None => Ok(Capacity::Proportional),
        Some(why) => Err(Error::Field {
            field: "spec.analysis.capacity",
            fix: format!("cannot be Proportional here, since {why}; leave it out"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::{Ladder, Weight};
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: Kind, change: impl FnOnce(&mut Value)) -> Result<Capacity, String> {
        let mut spec = json!({
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "analysis": { "stepWeight": 10, "capacity": "Proportional" },
        });
        change(&mut spec);
        let spec: CanarySpec = serde_json::from_value(spec).unwrap();
        let plan = if spec.analysis.iterations.is_some() {
            Plan::Iterations {
                count: 1,
                matched: false,
                mirror: false,
            }
        } else {
            Plan::Weighted {
                ladder: Ladder::Listed(vec![Weight::FULL]),
                mirror: false,
            }
        };
        capacity(&spec, kind, &plan).map_err(|error| error.to_string())
    }

    #[test]
    fn a_share_is_taken_where_the_weight_tells_it() {
        assert_eq!(read(Kind::Deployment, |_| {}), Ok(Capacity::Proportional));
        assert_eq!(read(Kind::StatefulSet, |_| {}), Ok(Capacity::Proportional));
        let full = |spec: &mut Value| spec["analysis"]["capacity"] = json!("Full");
        assert_eq!(read(Kind::DaemonSet, full), Ok(Capacity::Full));
    }

    #[test]
    fn where_the_weight_does_not_tell_it_the_reason_does() {
        let check = |kind, change: fn(&mut Value), reason: &str| {
            let why = read(kind, change).unwrap_err();
            assert!(why.contains("spec.analysis.capacity"), "{why}");
            assert!(why.contains(reason), "{why}");
        };
        check(Kind::DaemonSet, |_| {}, "as many pods as nodes");
        check(Kind::Service, |_| {}, "no pods of its own");
        let scaler = |spec: &mut Value| {
            spec["autoscalerRef"] = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "a" });
        };
        check(Kind::Deployment, scaler, "spec.autoscalerRef");
        let counted = |spec: &mut Value| {
            spec["analysis"] = json!({ "iterations": 3, "capacity": "Proportional" });
        };
        check(Kind::Deployment, counted, "without weights");
        let sticky =
            |spec: &mut Value| spec["analysis"]["sessionAffinity"] = json!({ "cookieName": "c" });
        check(Kind::Deployment, sticky, "clients that stay");
        let chosen = |spec: &mut Value| spec["analysis"]["weightScope"] = json!("Rest");
        check(Kind::Deployment, chosen, "requests that match");
    }
}
