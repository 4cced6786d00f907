//! What the control plane counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of what is counted by resource type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByType {
    /// Short name of the resource type, such as `cds`.
    pub r#type: &'static str,
}

/// Labels of what is counted by its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByOutcome {
    /// One word.
    pub outcome: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Proxies with an open stream.
    pub connected: Gauge,
    /// Responses sent to proxies.
    pub pushes: Family<ByType, Counter>,
    /// Responses that proxies refused.
    pub rejects: Family<ByType, Counter>,
    /// Streams refused, by reason.
    pub refused_streams: Family<ByOutcome, Counter>,
    /// Seconds from a snapshot to the last acknowledgement of what it changed for one proxy.
    pub convergence: Histogram,
    /// Seconds to build a snapshot and its translations.
    pub snapshot: Histogram,
    /// Certificates asked for.
    pub certificates: Family<ByOutcome, Counter>,
    /// Pods that the injector looked at.
    pub injections: Family<ByOutcome, Counter>,
    /// Writes of statuses.
    pub status_writes: Family<ByOutcome, Counter>,
}

impl Metrics {
    /// Registers them under `fairlead_control_plane`.
    pub fn register(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            connected: Gauge::default(),
            pushes: Family::default(),
            rejects: Family::default(),
            refused_streams: Family::default(),
            convergence: seconds(),
            snapshot: seconds(),
            certificates: Family::default(),
            injections: Family::default(),
            status_writes: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("fairlead_control_plane");
        let own = metrics.clone();
        registry.register(
            "proxies_connected",
            "Proxies with an open stream",
            own.connected,
        );
        registry.register("pushes", "Responses sent to proxies", own.pushes);
        registry.register("rejects", "Responses that proxies refused", own.rejects);
        registry.register("refused_streams", "Streams refused", own.refused_streams);
        registry.register(
            "convergence_seconds",
            "From a snapshot to a proxy's acknowledgement of all that it changed",
            own.convergence,
        );
        registry.register("snapshot_seconds", "Time to build a snapshot", own.snapshot);
        registry.register("certificates", "Certificates asked for", own.certificates);
        registry.register(
            "injections",
            "Pods that the injector looked at",
            own.injections,
        );
        registry.register("status_writes", "Writes of statuses", own.status_writes);
        metrics
    }
}
