//! Slack: a coloured attachment made of blocks. Pure.
//!
//! Blocks and their limits: <https://docs.slack.dev/reference/block-kit/blocks/section-block>.

use fairlead_rollout::Severity;
use serde_json::{Value, json};

use super::{Alert, Destination, cut, escape};

/// The most characters of a section's text.
const MOST_TEXT: usize = 3000;
/// The most fields of a section.
const MOST_FIELDS: usize = 10;
/// The most characters of a field.
const MOST_FIELD: usize = 2000;

/// The body of an incoming webhook or of `chat.postMessage`.
pub(super) fn body(alert: &Alert, destination: &Destination) -> Value {
    let color = match alert.severity {
        Severity::Info => "good",
        Severity::Warn => "warning",
        Severity::Error => "danger",
    };
    let author = alert.author();
    let text = format!("*{}*\n{}", escape(&author), escape(&alert.text));
    let mut section = json!({ "type": "section", "text": markdown(&cut(&text, MOST_TEXT)) });
    let fields: Vec<Value> = alert
        .fields
        .iter()
        .take(MOST_FIELDS)
        .map(|(name, value)| format!("*{}*\n{}", escape(name), escape(value)))
        .map(|text| markdown(&cut(&text, MOST_FIELD)))
        .collect();
    // Slack refuses an empty list.
    if !fields.is_empty() {
        section["fields"] = json!(fields);
    }
    json!({
        "channel": destination.channel,
        "username": destination.username,
        "icon_emoji": ":anchor:",
        "attachments": [{
            "color": color,
            "fallback": format!("{author}: {}", alert.text),
            "blocks": [section],
        }],
    })
}

fn markdown(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text })
}
