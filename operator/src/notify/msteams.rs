//! Microsoft Teams: an adaptive card, which workflows and incoming webhooks both take. Pure.
//!
//! The schema: <https://adaptivecards.io/explorer/>.

use fairlead_rollout::Severity;
use serde_json::{Value, json};

use super::Alert;

/// The body of a message.
pub(super) fn body(alert: &Alert) -> Value {
    let color = match alert.severity {
        Severity::Info => "Accent",
        Severity::Warn => "Warning",
        Severity::Error => "Attention",
    };
    let mut content = vec![
        json!({
            "type": "TextBlock",
            "text": alert.text,
            "color": color,
            "weight": "Bolder",
            "wrap": true,
        }),
        json!({
            "type": "TextBlock",
            "text": alert.author(),
            "isSubtle": true,
            "spacing": "None",
            "wrap": true,
        }),
    ];
    if !alert.fields.is_empty() {
        let facts: Vec<Value> = alert
            .fields
            .iter()
            .map(|(title, value)| json!({ "title": title, "value": value }))
            .collect();
        content.push(json!({ "type": "FactSet", "facts": facts }));
    }
    json!({
        "type": "message",
        "summary": format!("{}: {}", alert.author(), alert.text),
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": content,
            },
        }],
    })
}
