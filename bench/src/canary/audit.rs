//! What a controller asks of the API server while nothing happens.

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
    let mut log =
        std::fs::File::open(stage.server.audit_log()).context("failed to open the audit log")?;
    log.seek(SeekFrom::End(0))?;
    tokio::time::sleep(time).await;
    let mut requests = 0;
    for line in BufReader::new(log).lines() {
        // The last line may be written just now.
        if let Ok(entry) = serde_json::from_str::<Value>(&line?) {
            requests += usize::from(counts(&entry));
        }
    }
    Ok(requests)
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
