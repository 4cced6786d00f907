//! Any receiver of JSON. Pure.

use fairlead_rollout::Severity;
use serde_json::{Map, Value, json};

use super::Alert;

/// The body of a message.
pub(super) fn body(alert: &Alert) -> Value {
    let metadata: Map<String, Value> = alert
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "name": alert.name,
        "namespace": alert.namespace,
        "phase": alert.phase,
        "reason": alert.reason,
        "severity": severity(alert.severity),
        "message": alert.text,
        "timestamp": alert.at,
        "metadata": metadata,
    })
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warn => "warn",
        Severity::Error => "error",
    }
}
