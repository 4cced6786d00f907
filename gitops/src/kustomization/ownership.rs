//! Taking over fields that `kubectl` set before git had them. Pure.
//!
//! Server-side apply removes only what its own manager once set. Fields that `kubectl apply` or
//! `kubectl edit` wrote would stay for ever when they leave git; so their entries in
//! `managedFields` are joined to ours before the first apply.

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::context::FIELD_MANAGER;

/// Whether an entry belongs to a manager whose fields become ours.
fn is_taken_over(entry: &Value) -> bool {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let manager = text("manager");
    let is_ours_by_update = manager == FIELD_MANAGER && text("operation") == "Update";
    text("subresource").is_empty()
        && (manager.starts_with("kubectl") || manager == "before-first-apply" || is_ours_by_update)
}

/// Whether a live object has fields of managers that we take over from.
pub fn needs_transfer(live: &Value) -> bool {
    let entries = live
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    entries.into_iter().flatten().any(is_taken_over)
}

/// The merge patch that makes their fields ours; none where there is nothing to take over.
pub fn transfer(live: &DynamicObject) -> Option<Value> {
    let entries = serde_json::to_value(live.managed_fields()).ok()?;
    let entries = entries.as_array()?;
    if !entries.iter().any(is_taken_over) {
        return None;
    }
    let is_ours = |entry: &&Value| {
        entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry.get("subresource").is_none()
    };
    let first = entries
        .iter()
        .find(is_ours)
        .or_else(|| entries.iter().find(|entry| is_taken_over(entry)))?;
    let mut ours = first.clone();
    let mut fields = Value::Object(Map::new());
    for entry in entries
        .iter()
        .filter(|entry| is_taken_over(entry) || is_ours(entry))
    {
        join(&mut fields, entry.get("fieldsV1").unwrap_or(&Value::Null));
    }
    ours["manager"] = json!(FIELD_MANAGER);
    ours["operation"] = json!("Apply");
    ours["fieldsV1"] = fields;
    let mut kept: Vec<Value> = entries
        .iter()
        .filter(|entry| !is_taken_over(entry) && !is_ours(entry))
        .cloned()
        .collect();
    kept.push(ours);
    Some(
        json!({ "metadata": { "resourceVersion": live.resource_version(), "managedFields": kept } }),
    )
}

/// The union of two sets of fields: mappings of mappings.
fn join(set: &mut Value, other: &Value) {
    let (Value::Object(set), Value::Object(other)) = (set, other) else {
        return;
    };
    for (key, fields) in other {
        join(
            set.entry(key).or_insert_with(|| Value::Object(Map::new())),
            fields,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(entries: &Value) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "resourceVersion": "7", "managedFields": entries}}))
        .unwrap()
    }

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn fields_of_kubectl_become_ours_and_those_of_others_stay() {
        let object = live(&json!([
            entry(
                "kubectl-client-side-apply",
                "Update",
                &json!({"f:data": {"f:a": {}}})
            ),
            entry(
                "kustomize-controller",
                "Apply",
                &json!({"f:data": {"f:b": {}}})
            ),
            entry("operator", "Apply", &json!({"f:data": {"f:c": {}}})),
        ]));
        let patch = transfer(&object).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(
            patch["metadata"]["managedFields"],
            json!([
                entry("operator", "Apply", &json!({"f:data": {"f:c": {}}})),
                entry(
                    "kustomize-controller",
                    "Apply",
                    &json!({"f:data": {"f:a": {}, "f:b": {}}})
                ),
            ])
        );
    }

    #[test]
    fn nothing_is_done_where_nobody_is_taken_over_from() {
        let object = live(&json!([entry("operator", "Apply", &json!({"f:data": {}}))]));
        assert!(transfer(&object).is_none());
    }
}
