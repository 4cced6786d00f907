//! Whether an applied object is up: the kstatus rules, per kind. Pure.
//!
//! See <https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus>; a kind without a rule
//! of its own is judged by `observedGeneration`, `Reconciling`, `Stalled` and `Ready`.

use serde_json::Value;

/// The verdict on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is what its spec says.
    Current,
    /// It is on its way there.
    InProgress(String),
    /// It will not get there by itself.
    Failed(String),
}

/// Judges an object as the API server holds it.
pub fn assess(object: &Value) -> Health {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return progress("it is being deleted");
    }
    let generation = object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64);
    let observed = object
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    if let (Some(generation), Some(observed)) = (generation, observed)
        && generation != observed
    {
        return progress("its controller has not seen its latest generation");
    }
    let api_version = text(object, "/apiVersion");
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, text(object, "/kind")) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") => replicas(object, &["readyReplicas", "availableReplicas"]),
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => phase(object, "Bound"),
        ("", "Namespace") => phase(object, "Active"),
        ("", "Service") => service(object),
        ("batch", "Job") => job(object),
        ("policy", "PodDisruptionBudget") => disruption_budget(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => required(object, "Available"),
        // Their controllers set Ready; before that they have only just been made.
        ("flagger.app", "Canary") | ("fairlead.dev", _) => {
            stalled(object).unwrap_or_else(|| required(object, "Ready"))
        }
        _ => generic(object),
    }
}

fn generic(object: &Value) -> Health {
    if let Some(health) = stalled(object) {
        return health;
    }
    if let Some(condition) = condition(object, "Reconciling").filter(|condition| is_true(condition))
    {
        return progress(message(condition));
    }
    match condition(object, "Ready") {
        Some(condition) if !is_true(condition) => progress(message(condition)),
        _ => Health::Current,
    }
}

fn stalled(object: &Value) -> Option<Health> {
    let condition = condition(object, "Stalled").filter(|condition| is_true(condition))?;
    Some(Health::Failed(message(condition).to_owned()))
}

fn required(object: &Value, type_: &str) -> Health {
    match condition(object, type_) {
        Some(condition) if is_true(condition) => Health::Current,
        Some(condition) => progress(message(condition)),
        None => progress(format!("it has no condition {type_} yet")),
    }
}

fn deployment(object: &Value) -> Health {
    if let Some(condition) = condition(object, "Progressing")
        && text(condition, "/reason") == "ProgressDeadlineExceeded"
    {
        return Health::Failed(message(condition).to_owned());
    }
    let wanted = wanted(object);
    let (total, updated) = (
        status(object, "replicas"),
        status(object, "updatedReplicas"),
    );
    if total > updated.max(wanted) {
        return progress(format!("{} old pods are still there", total - updated));
    }
    replicas(
        object,
        &["updatedReplicas", "readyReplicas", "availableReplicas"],
    )
}

fn stateful_set(object: &Value) -> Health {
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::Current;
    }
    if let other @ (Health::InProgress(_) | Health::Failed(_)) =
        replicas(object, &["readyReplicas"])
    {
        return other;
    }
    let partition = object
        .pointer("/spec/updateStrategy/rollingUpdate/partition")
        .and_then(Value::as_i64);
    let updated = status(object, "updatedReplicas");
    let is_updated = match partition {
        Some(partition) if partition > 0 => updated >= wanted(object) - partition,
        _ => text(object, "/status/currentRevision") == text(object, "/status/updateRevision"),
    };
    if is_updated {
        Health::Current
    } else {
        progress(format!("{updated} of {} pods are updated", wanted(object)))
    }
}

fn daemon_set(object: &Value) -> Health {
    if object.pointer("/status/desiredNumberScheduled").is_none() {
        return progress("its controller has not seen it");
    }
    let wanted = status(object, "desiredNumberScheduled");
    counts(
        object,
        wanted,
        &["updatedNumberScheduled", "numberAvailable", "numberReady"],
    )
}

fn replicas(object: &Value, fields: &[&str]) -> Health {
    counts(object, wanted(object), fields)
}

fn counts(object: &Value, wanted: i64, fields: &[&str]) -> Health {
    match fields.iter().find(|field| status(object, field) < wanted) {
        Some(field) => progress(format!("{field} is {} of {wanted}", status(object, field))),
        None => Health::Current,
    }
}

fn pod(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Succeeded" => Health::Current,
        "Failed" => Health::Failed(format!(
            "the pod failed: {}",
            text(object, "/status/message")
        )),
        "Running" if condition(object, "Ready").is_some_and(is_true) => Health::Current,
        phase => {
            let is_crashing = object
                .pointer("/status/containerStatuses")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .any(|container| text(container, "/state/waiting/reason") == "CrashLoopBackOff");
            if is_crashing {
                Health::Failed("a container crashes again and again".to_owned())
            } else {
                progress(format!("the pod is {phase}"))
            }
        }
    }
}

fn service(object: &Value) -> Health {
    let is_load_balancer = text(object, "/spec/type") == "LoadBalancer";
    let has_address = object
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|addresses| !addresses.is_empty());
    if is_load_balancer && !has_address {
        return progress("the load balancer has no address yet");
    }
    Health::Current
}

fn job(object: &Value) -> Health {
    if condition(object, "Complete").is_some_and(is_true) {
        return Health::Current;
    }
    match condition(object, "Failed").filter(|condition| is_true(condition)) {
        Some(condition) => Health::Failed(message(condition).to_owned()),
        None => progress("the job runs"),
    }
}

fn disruption_budget(object: &Value) -> Health {
    let (healthy, desired) = (
        status(object, "currentHealthy"),
        status(object, "desiredHealthy"),
    );
    if healthy >= desired {
        Health::Current
    } else {
        progress(format!("{healthy} of {desired} pods are healthy"))
    }
}

fn definition(object: &Value) -> Health {
    match condition(object, "NamesAccepted") {
        Some(condition) if text(condition, "/status") == "False" => {
            Health::Failed(message(condition).to_owned())
        }
        _ => required(object, "Established"),
    }
}

fn phase(object: &Value, wanted: &str) -> Health {
    let phase = text(object, "/status/phase");
    if phase == wanted {
        Health::Current
    } else {
        progress(format!("it is {phase}, not {wanted} yet"))
    }
}

fn wanted(object: &Value) -> i64 {
    object
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1)
}

fn status(object: &Value, field: &str) -> i64 {
    object
        .get("status")
        .and_then(|status| status.get(field))
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

fn condition<'object>(object: &'object Value, type_: &str) -> Option<&'object Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| text(condition, "/type") == type_)
}

fn is_true(condition: &Value) -> bool {
    text(condition, "/status") == "True"
}

fn message(condition: &Value) -> &str {
    match text(condition, "/message") {
        "" => text(condition, "/reason"),
        message => message,
    }
}

fn text<'value>(value: &'value Value, pointer: &str) -> &'value str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn progress(message: impl Into<String>) -> Health {
    Health::InProgress(message.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(object: &Value, expected: &Health) {
        assert_eq!(&assess(object), expected, "{object}");
    }

    fn deployment(status: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2},
            "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn a_deployment_is_current_when_all_its_pods_are_new_and_available() {
        let up = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2});
        check(&deployment(&up), &Health::Current);
        let mut old = up.clone();
        old["observedGeneration"] = json!(1);
        check(
            &deployment(&old),
            &progress("its controller has not seen its latest generation"),
        );
        let mut surplus = up.clone();
        surplus["replicas"] = json!(3);
        check(
            &deployment(&surplus),
            &progress("1 old pods are still there"),
        );
        let mut stuck = up;
        stuck["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}]);
        check(&deployment(&stuck), &Health::Failed("late".to_owned()));
    }

    #[test]
    fn custom_resources_are_judged_by_their_conditions() {
        let object = |type_: &str, status: &str| {
            json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {},
                "status": {"conditions": [{"type": type_, "status": status, "message": "m"}]}})
        };
        check(&object("Ready", "True"), &Health::Current);
        check(&object("Ready", "False"), &progress("m"));
        check(&object("Stalled", "True"), &Health::Failed("m".to_owned()));
        check(&object("Reconciling", "True"), &progress("m"));
        check(
            &json!({"apiVersion": "example.org/v1", "kind": "Thing"}),
            &Health::Current,
        );
    }

    #[test]
    fn a_canary_without_conditions_is_not_current_yet() {
        let mut canary =
            json!({"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {}});
        check(&canary, &progress("it has no condition Ready yet"));
        canary["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        check(&canary, &Health::Current);
    }

    #[test]
    fn jobs_must_complete_and_definitions_must_be_established() {
        let job = |type_: &str| json!({"apiVersion": "batch/v1", "kind": "Job", "status": {"conditions": [{"type": type_, "status": "True", "message": "m"}]}});
        check(&job("Complete"), &Health::Current);
        check(&job("Failed"), &Health::Failed("m".to_owned()));
        let crd = |status: &str| json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "status": {"conditions": [{"type": "Established", "status": status, "message": "m"}]}});
        check(&crd("True"), &Health::Current);
        check(&crd("False"), &progress("m"));
    }
}
