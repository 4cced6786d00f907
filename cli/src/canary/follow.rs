//! Follows one Canary until something is so, or time is up.

use std::time::Duration;

use fairlead_crds::canary::Canary;
use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::Canaries;

/// Watches the Canary until `find` gives something; `None` when time is up or it is gone.
///
/// What breaks a watch is tried again: whoever waits has seen the object already.
pub(super) async fn until<T>(
    canaries: &Canaries,
    name: &str,
    timeout: Duration,
    find: impl Fn(&Canary) -> Option<T>,
) -> Option<T> {
    let stream = watcher::watch_object(canaries.api.clone(), name)
        .default_backoff()
        .filter_map(async |seen| seen.ok());
    let mut stream = std::pin::pin!(stream);
    let followed = async {
        while let Some(seen) = stream.next().await {
            // Gone.
            let canary = seen?;
            if let Some(found) = find(&canary) {
                return Some(found);
            }
        }
        None
    };
    tokio::time::timeout(timeout, followed).await.ok().flatten()
}
