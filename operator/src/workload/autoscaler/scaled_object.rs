//! KEDA's ScaledObjects. Pure.

use serde_json::{Value, json};

use super::{Autoscaler, Scaled, limit};

/// While it is there KEDA keeps a workload at that many replicas.
const PAUSED: &str = "autoscaling.keda.sh/paused-replicas";

/// The spec of the primary's.
pub(super) fn primary(autoscaler: &Autoscaler, scaler: &Value, scaled: Scaled<'_>) -> Value {
    let mut spec = scaler["spec"].clone();
    spec["scaleTargetRef"]["name"] = json!(scaled.primary);
    limit(
        &mut spec,
        autoscaler.limits,
        ["minReplicaCount", "maxReplicaCount"],
    );
    // Two ScaledObjects cannot have one HorizontalPodAutoscaler; without a name KEDA finds one.
    let named = spec.pointer_mut("/advanced/horizontalPodAutoscalerConfig/name");
    if let Some(Value::String(name)) = named.filter(|name| name.as_str() != Some("")) {
        name.push_str("-primary");
    }
    for trigger in spec["triggers"].as_array_mut().into_iter().flatten() {
        let name = trigger["name"].as_str().unwrap_or_default();
        let asked = autoscaler.queries.get(name).cloned();
        if let Some(Value::String(query)) = trigger.pointer_mut("/metadata/query") {
            if let Some(asked) = asked {
                *query = asked;
            } else if autoscaler.queries.is_empty() {
                *query = about_primary(query, scaled);
            }
        }
    }
    spec
}

/// A query about the target or its canary's Service, about the primary; Flagger's rule, by text.
fn about_primary(query: &str, scaled: Scaled<'_>) -> String {
    let canary = format!("{}-canary", scaled.target);
    let parts = query.split(&canary);
    let parts: Vec<String> = parts
        .map(|part| part.replace(scaled.target, scaled.primary))
        .collect();
    parts.join(scaled.primary)
}

/// KEDA would give a resting target its fewest replicas.
pub(super) fn hold(scaler: &Value, rests: bool) -> Option<Value> {
    let held = scaler["metadata"]["annotations"].get(PAUSED);
    let (stands, wanted) = if rests {
        (
            held.is_some_and(|replicas| replicas == "0"),
            Value::from("0"),
        )
    } else {
        (held.is_none(), Value::Null)
    };
    (!stands).then(|| json!({ "metadata": { "annotations": { PAUSED: wanted } } }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fairlead_crds::canary::ScalerReplicas;

    use super::super::Kind;
    use super::*;

    const SCALED: Scaled<'_> = Scaled {
        target: "podinfo",
        primary: "podinfo-primary",
    };

    fn autoscaler(queries: &[(&str, &str)]) -> Autoscaler {
        let queries = queries.iter();
        Autoscaler {
            kind: Kind::ScaledObject,
            name: "podinfo".to_owned(),
            limits: ScalerReplicas {
                min_replicas: Some(3),
                max_replicas: None,
            },
            queries: queries
                .map(|(name, query)| ((*name).to_owned(), (*query).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn scaler() -> Value {
        let trigger = |name: &str, query: &str| json!({ "type": "prometheus", "name": name, "metadata": { "query": query, "threshold": "5" } });
        json!({
            "metadata": { "name": "podinfo", "namespace": "test" },
            "spec": {
                "scaleTargetRef": { "name": "podinfo" },
                "maxReplicaCount": 10,
                "advanced": { "horizontalPodAutoscalerConfig": { "name": "own" } },
                "triggers": [
                    trigger("load", r#"sum(rate(requests{app="podinfo-canary", svc="podinfo"}[2m]))"#),
                    trigger("queue", "depth{queue=\"podinfo\"}"),
                    { "type": "cron", "metadata": { "start": "0 6 * * *" } },
                ],
            },
        })
    }

    #[test]
    fn the_copy_asks_about_the_primary() {
        let spec = primary(&autoscaler(&[]), &scaler(), SCALED);
        assert_eq!(spec["scaleTargetRef"]["name"], "podinfo-primary");
        assert_eq!(spec["minReplicaCount"], 3);
        assert_eq!(spec["maxReplicaCount"], 10);
        let name = &spec["advanced"]["horizontalPodAutoscalerConfig"]["name"];
        assert_eq!(name, "own-primary");
        assert_eq!(
            spec["triggers"][0]["metadata"]["query"],
            r#"sum(rate(requests{app="podinfo-primary", svc="podinfo-primary"}[2m]))"#
        );
        assert_eq!(spec["triggers"][2], scaler()["spec"]["triggers"][2]);
    }

    #[test]
    fn queries_of_the_canary_are_taken_by_name_and_no_other_is_touched() {
        let spec = primary(&autoscaler(&[("load", "own")]), &scaler(), SCALED);
        assert_eq!(spec["triggers"][0]["metadata"]["query"], "own");
        let untouched = &scaler()["spec"]["triggers"][1];
        assert_eq!(&spec["triggers"][1], untouched);
    }

    #[test]
    fn a_target_at_rest_is_left_alone() {
        let mut scaler = scaler();
        let held = hold(&scaler, true).unwrap();
        assert_eq!(held["metadata"]["annotations"][PAUSED], "0");
        assert_eq!(hold(&scaler, false), None);
        scaler["metadata"]["annotations"] = json!({ PAUSED: "0" });
        assert_eq!(hold(&scaler, true), None);
        let free = hold(&scaler, false).unwrap();
        assert!(free["metadata"]["annotations"][PAUSED].is_null());
    }

    #[test]
    fn one_that_may_have_none_has_one_when_there_is_something_to_do() {
        assert_eq!(autoscaler(&[]).minimum(&scaler()), 1);
        let none = json!({ "spec": { "minReplicaCount": 0 } });
        assert_eq!(autoscaler(&[]).minimum(&none), 1);
    }
}
