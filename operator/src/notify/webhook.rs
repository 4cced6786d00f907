//! Any receiver of JSON; the body is signed where the provider's Secret holds a key. Pure.

use aws_lc_rs::hmac;
use fairlead_rollout::Severity;
use serde_json::{Map, Value, json};

use super::Alert;

/// The header with the signature: `sha256=` and HMAC-SHA256 of the body, in hexadecimal.
pub(super) const SIGNATURE: &str = "x-signature";

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

/// The value of the header [`SIGNATURE`].
pub(super) fn sign(key: &[u8], body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        assert_eq!(
            sign(b"Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
