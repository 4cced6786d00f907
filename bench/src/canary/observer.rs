//! When which weight was seen, by a watch of its own.

use std::collections::HashMap;

use anyhow::Context as _;
use fairlead_crds::networking::VirtualService;
use fairlead_runtime::clock;
use fairlead_tests::timeline::canary_weight;
use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stage::PATIENCE;

/// The weights of a canary as an observer saw them, oldest first.
pub(crate) type Weights = Vec<(Instant, i64)>;

/// Sees the weights of all canaries; their names differ.
#[derive(Clone)]
pub(crate) struct Observer {
    seen: watch::Receiver<HashMap<String, Weights>>,
}

impl Observer {
    /// Watches until the curtain falls.
    pub(crate) fn watch(client: &Client, curtain: CancellationToken) -> Self {
        let api: Api<VirtualService> = Api::all(client.clone());
        let (sender, seen) = watch::channel(HashMap::new());
        let watching = async move {
            let events = watcher(api, watcher::Config::default());
            let mut routes = std::pin::pin!(events.default_backoff().applied_objects());
            while let Some(next) = routes.next().await {
                let at = clock::instant();
                // The watch recovers by itself, and the waits on it have a deadline.
                let Ok(route) = next else { continue };
                if let Some(weight) = canary_weight(&route) {
                    let canary = route.name_any();
                    sender.send_modify(|seen: &mut HashMap<String, Weights>| {
                        let weights = seen.entry(canary).or_default();
                        // Proxies confirm a weight by a change of the same object.
                        if weights.last().is_none_or(|(_, last)| *last != weight) {
                            weights.push((at, weight));
                        }
                    });
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the stage")]
        tokio::spawn(async move { curtain.run_until_cancelled(watching).await });
        Self { seen }
    }

    /// All weights of a canary so far.
    pub(crate) fn weights(&self, canary: &str) -> Weights {
        self.seen.borrow().get(canary).cloned().unwrap_or_default()
    }

    /// When a weight of the canary for which `is` holds was first seen after `since`.
    pub(crate) async fn first(
        &self,
        canary: &str,
        since: Instant,
        is: impl Fn(i64) -> bool,
    ) -> anyhow::Result<Instant> {
        let mut seen = self.seen.clone();
        let find = |all: &HashMap<String, Weights>| {
            let mut weights = all.get(canary)?.iter();
            weights
                .find(|(at, weight)| *at >= since && is(*weight))
                .map(|(at, _)| *at)
        };
        let found = async {
            loop {
                if let Some(at) = find(&seen.borrow_and_update()) {
                    return Ok(at);
                }
                seen.changed().await.context("the observer has ended")?;
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .with_context(|| format!("the weight of `{canary}` was not seen"))?
    }
}
