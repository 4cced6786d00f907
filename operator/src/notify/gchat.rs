//! Google Chat: one card. Pure.
//!
//! The schema: <https://developers.google.com/workspace/chat/api/reference/rest/v1/cards>.

use fairlead_rollout::Severity;
use serde_json::{Value, json};

use super::{Alert, escape};

/// The body of a message.
pub(super) fn body(alert: &Alert) -> Value {
    let color = match alert.severity {
        Severity::Info => "#1A73E8",
        Severity::Warn => "#E37400",
        Severity::Error => "#D93025",
    };
    let text = format!(
        "<font color=\"{color}\"><b>{}</b></font>",
        escape(&alert.text)
    );
    let mut widgets = vec![json!({ "textParagraph": { "text": text } })];
    widgets.extend(alert.fields.iter().map(|(name, value)| {
        json!({ "decoratedText": {
            "topLabel": escape(name),
            "text": escape(value),
            "wrapText": true,
        } })
    }));
    json!({
        "text": format!("{}: {}", alert.author(), alert.text),
        "cardsV2": [{
            "cardId": alert.author(),
            "card": {
                "header": { "title": "Fairlead", "subtitle": alert.author() },
                "sections": [{ "widgets": widgets }],
            },
        }],
    })
}
