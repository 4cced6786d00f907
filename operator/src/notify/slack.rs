//! Slack messages: one attachment, as Flagger's users know it. Pure.

use fairlead_rollout::Severity;
use serde_json::{Value, json};

use super::{Alert, Destination};

/// The body of an incoming webhook or of `chat.postMessage`.
pub fn message(alert: &Alert, destination: &Destination) -> Value {
    let color = match alert.severity {
        Severity::Info => "good",
        Severity::Warn => "warning",
        Severity::Error => "danger",
    };
    let fields: Vec<Value> = alert
        .fields
        .iter()
        .map(|(title, value)| json!({ "title": title, "value": value, "short": false }))
        .collect();
    let author = format!("{}.{}", alert.name, alert.namespace);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_canary_and_carries_no_secret() {
        let alert = Alert {
            name: "podinfo".to_owned(),
            namespace: "test".to_owned(),
            severity: Severity::Error,
            text: "revision abc is rolled back".to_owned(),
            fields: vec![("Cluster".to_owned(), "prod".to_owned())],
        };
        let destination = Destination {
            address: "https://hooks/secret".to_owned(),
            token: Some("secret".to_owned()),
            channel: "releases".to_owned(),
            username: "fairlead".to_owned(),
            proxy: None,
        };
        let body = message(&alert, &destination);
        assert_eq!(body["attachments"][0]["author_name"], "podinfo.test");
        assert_eq!(body["attachments"][0]["color"], "danger");
        assert_eq!(body["channel"], "releases");
        assert!(!body.to_string().contains("secret"));
    }
}
