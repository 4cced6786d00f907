//! From changes to pushes: gathers them, builds one immutable snapshot, and tells every stream.

pub mod debounce;
mod published;

pub use published::{Published, View};

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use fairlead_runtime::clock;
use fairlead_runtime::readiness::Check;
use fairlead_translate::Mesh;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::registry::watch::Live;
use crate::status::Tracker;

/// Builds snapshots and publishes them.
#[derive(Debug)]
pub struct Pusher {
    /// What changes.
    pub live: Arc<Live>,
    /// What holds for the whole mesh.
    pub mesh: Mesh,
    /// Where snapshots go.
    pub published: watch::Sender<Option<Arc<Published>>>,
    /// Who has accepted what.
    pub tracker: Arc<Tracker>,
    /// Says whether the caches are filled.
    pub caches: Check,
    /// Counts.
    pub metrics: Metrics,
}

impl Pusher {
    /// Runs until shutdown.
    ///
    /// # Errors
    /// None.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        let mut sequence = 0;
        self.caches.waiting("the first lists are being read");
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.live.due() => {}
            }
            let incomplete = self.live.read(Registry::incomplete);
            if !incomplete.is_empty() {
                self.caches
                    .waiting(format!("not yet read: {}", incomplete.join(", ")));
                continue;
            }
            sequence += 1;
            self.publish(sequence);
            self.caches.ready();
        }
    }

    fn publish(&self, sequence: u64) {
        let begun = clock::instant();
        let (snapshot, stated, proxies) = self.live.read(|registry| {
            let proxies: BTreeSet<String> = registry.proxies().collect();
            (
                registry.snapshot(self.mesh.clone()),
                registry.stated(),
                proxies,
            )
        });
        let published = Published::new(sequence, snapshot, begun);
        let objects = published.judge(stated);
        self.tracker.update(|progress| {
            progress.snapshot(objects);
            progress.retain_absent(begun, |name| proxies.contains(name));
        });
        self.published.send_replace(Some(Arc::new(published)));
        let taken = clock::instant().saturating_duration_since(begun);
        self.live.pushed(taken);
        self.metrics.snapshot.observe(taken.as_secs_f64());
        tracing::debug!(sequence, millis = taken.as_millis(), "snapshot published");
    }
}
