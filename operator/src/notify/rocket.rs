//! Rocket.Chat: messages in Slack's format; colours must be numbers. Pure.

use fairlead_rollout::Severity;
use serde_json::Value;

use super::{Alert, Destination, attachment};

/// The body of a message.
pub(super) fn body(alert: &Alert, destination: &Destination) -> Value {
    let color = match alert.severity {
        Severity::Info => "#0076D7",
        Severity::Warn => "#FFA500",
        Severity::Error => "#FF0000",
    };
    attachment::message(alert, destination, color)
}
