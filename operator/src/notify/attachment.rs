//! Slack's legacy attachment, which other chats understand as well. Pure.

use serde_json::{Value, json};

use super::{Alert, Destination};

/// A message with one attachment in this colour.
pub(super) fn message(alert: &Alert, destination: &Destination, color: &str) -> Value {
    let fields: Vec<Value> = alert
        .fields
        .iter()
        .map(|(title, value)| json!({ "title": title, "value": value, "short": false }))
        .collect();
    let author = alert.author();
    json!({
        "channel": destination.channel,
        "username": destination.username,
        "icon_emoji": ":anchor:",
        "attachments": [{
            "color": color,
            "fallback": format!("{author}: {}", alert.text),
            "author_name": author,
            "text": alert.text,
            "mrkdwn_in": ["text"],
            "fields": fields,
        }],
    })
}
