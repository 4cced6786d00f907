//! Alerts: what chat services and other receivers are told of a rollout.
//!
//! Each kind of receiver is one small file under `notify/` that turns an [`Alert`] into a body.
//! Nothing here ever holds a rollout up: deliveries wait in a bounded [`Queue`], and what does not
//! arrive is counted and told where the user looks.
//! Addresses are secrets and stand in no text.

use std::fmt;

use fairlead_rollout::Severity;
use jiff::Timestamp;
use serde_json::Value;

mod attachment;
mod deliver;
mod discord;
mod gchat;
mod metrics;
mod msteams;
mod provider;
mod queue;
mod rocket;
mod slack;
mod webhook;

pub use self::deliver::deliver;
pub use self::metrics::{Loss, Metrics};
pub use self::provider::{Providers, fetch};
pub use self::queue::{Full, Queue};

/// What happened to a Canary, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The Canary's name.
    pub name: String,
    /// The Canary's namespace.
    pub namespace: String,
    /// What the Canary is in.
    pub phase: &'static str,
    /// Why it is told, as the event of the same occasion says it.
    pub reason: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// When it happened.
    pub at: Timestamp,
    /// What tells this occasion from all others, in ASCII: the same in each attempt, and for each
    /// receiver.
    pub key: String,
    /// What happened.
    pub text: String,
    /// More to know, name and value.
    pub fields: Vec<(String, String)>,
}

impl Alert {
    /// The Canary in one word, as Flagger's users know it.
    fn author(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }
}

/// What a receiver understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An incoming webhook of Slack, or `chat.postMessage` with a token.
    #[default]
    Slack,
    /// A workflow or incoming webhook of Microsoft Teams.
    Msteams,
    /// A webhook of Discord.
    Discord,
    /// An incoming webhook of Rocket.Chat.
    Rocket,
    /// A webhook of Google Chat.
    Gchat,
    /// Anything that takes JSON.
    Webhook,
}

impl Kind {
    /// The kind that manifests call by this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "slack" => Self::Slack,
            "msteams" => Self::Msteams,
            "discord" => Self::Discord,
            "rocket" => Self::Rocket,
            "gchat" => Self::Gchat,
            "webhook" => Self::Webhook,
            _ => return None,
        })
    }
}

/// Where an alert goes; the address may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// What is understood there.
    pub kind: Kind,
    /// The address.
    pub address: String,
    /// A bearer token.
    pub token: Option<String>,
    /// The key that signs bodies.
    pub hmac_key: Option<Vec<u8>>,
    /// The channel.
    pub channel: String,
    /// Who it is from.
    pub username: String,
    /// An HTTP proxy on the way.
    pub proxy: Option<String>,
}

impl fmt::Debug for Destination {
    /// Shows no address, no token and no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("kind", &self.kind)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// The body for a receiver.
fn body(alert: &Alert, destination: &Destination) -> Value {
    match destination.kind {
        Kind::Slack => slack::body(alert, destination),
        Kind::Msteams => msteams::body(alert),
        Kind::Discord => discord::body(alert, destination),
        Kind::Rocket => rocket::body(alert, destination),
        Kind::Gchat => gchat::body(alert),
        Kind::Webhook => webhook::body(alert),
    }
}

/// Text in which nothing is markup, for Slack and for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// At most `most` characters, the last three of them dots where something is missing.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
