//! What a controller asks of the API server, by its audit log.

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
    requests.count()
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

    /// How many there were.
    pub(crate) fn count(self) -> Result<usize> {
        let mut requests = 0;
        for line in BufReader::new(self.log).lines() {
            // The last line may be written just now.
            if let Ok(entry) = serde_json::from_str::<Value>(&line?) {
                requests += usize::from(counts(&entry));
            }
        }
        Ok(requests)
    }
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
