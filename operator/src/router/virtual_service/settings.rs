//! What `spec.service` says about each request, as fields of a route. Pure.

use serde_json::{Map, Value, json};

use crate::router::RoutePlan;

/// The settings of `spec.service`, as far as they are set, under the names that routes use.
pub(super) fn settings(plan: &RoutePlan) -> Map<String, Value> {
    let service = &plan.service;
    let rewrite = service
        .rewrite
        .as_ref()
        .map(|rewrite| json!({ "uri": rewrite.uri, "authority": rewrite.authority }));
    let matches = (!service.r#match.is_empty()).then(|| json!(service.r#match));
    [
        ("match", matches),
        ("rewrite", rewrite),
        (
            "timeout",
            service.timeout.as_ref().map(|timeout| json!(timeout)),
        ),
        (
            "retries",
            service.retries.as_ref().map(|retries| json!(retries)),
        ),
        (
            "corsPolicy",
            service.cors_policy.as_ref().map(|cors| json!(cors)),
        ),
        (
            "headers",
            service.headers.as_ref().map(|headers| json!(headers)),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), without_nulls(value?))))
    .collect()
}

/// The same without fields that are not set.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
