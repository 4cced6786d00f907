//! What a controller asks of the API server, by its audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::INTERVAL;
use super::stage::{CONTROLLER, Stage};

/// Counts the controller's requests over `time`, less watches and leases.
pub(crate) async fn while_idle(stage: &Stage, time: Duration) -> Result<usize> {
    // What the last release left to do is done after an interval at most.
    tokio::time::sleep(INTERVAL).await;
    let requests = Requests::from_now(stage)?;
    tokio::time::sleep(time).await;
    Ok(requests.by_kind()?.values().sum())
}

/// The controller's requests since a moment, less watches and leases.
pub(crate) struct Requests {
    log: File,
}

impl Requests {
    /// Counts from here.
    pub(crate) fn from_now(stage: &Stage) -> Result<Self> {
        let log = File::open(stage.server.audit_log()).context("failed to open the audit log")?;
        let mut requests = Self { log };
        requests.log.seek(SeekFrom::End(0))?;
        Ok(requests)
    }

    /// How many there were, by verb and resource such as `update canaries/status`.
    pub(crate) fn by_kind(self) -> Result<BTreeMap<String, usize>> {
        let mut requests = BTreeMap::new();
        for line in BufReader::new(self.log).lines() {
            // The last line may be written just now.
            let Ok(entry) = serde_json::from_str::<Value>(&line?) else {
                continue;
            };
            if counts(&entry) {
                *requests.entry(kind(&entry)).or_default() += 1;
            }
        }
        Ok(requests)
    }
}

fn kind(entry: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &entry["objectRef"];
    let resource = [text(&object["resource"]), text(&object["subresource"])];
    let resource = resource.join("/");
    format!(
        "{} {}",
        text(&entry["verb"]),
        resource.trim_end_matches('/')
    )
}

fn counts(entry: &Value) -> bool {
    entry["user"]["username"] == CONTROLLER
        && entry["verb"] != "watch"
        && entry["objectRef"]["resource"] != "leases"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn watches_and_leases_and_others_do_not_count() {
        let entry = |user: &str, verb: &str, resource: &str| json!({ "user": { "username": user }, "verb": verb, "objectRef": { "resource": resource } });
        assert!(counts(&entry(CONTROLLER, "get", "canaries")));
        assert!(!counts(&entry(CONTROLLER, "watch", "canaries")));
        assert!(!counts(&entry(CONTROLLER, "update", "leases")));
        assert!(!counts(&entry("admin", "get", "canaries")));
    }
}
