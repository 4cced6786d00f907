//! Discord: messages in Slack's format, which Discord takes at `<webhook>/slack`. Pure.

use fairlead_rollout::Severity;
use serde_json::Value;

use super::{Alert, Destination, attachment};

/// The body of a message.
pub(super) fn body(alert: &Alert, destination: &Destination) -> Value {
    let color = match alert.severity {
        Severity::Info => "good",
        Severity::Warn => "warning",
        Severity::Error => "danger",
    };
    attachment::message(alert, destination, color)
}

/// Where messages in Slack's format are taken.
pub(super) fn address(webhook: &str) -> String {
    let webhook = webhook.trim_end_matches('/');
    if webhook.ends_with("/slack") {
        webhook.to_owned()
    } else {
        format!("{webhook}/slack")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_to_the_address_for_slacks_format() {
        for webhook in ["https://d/1", "https://d/1/", "https://d/1/slack"] {
            assert_eq!(address(webhook), "https://d/1/slack");
        }
    }
}
