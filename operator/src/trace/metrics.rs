//! What became of spans, for `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counts spans.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    sent: Counter,
    lost: Counter,
}

impl Metrics {
    /// Adds the counters to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "fairlead_operator_spans_sent",
            "Spans of rollouts that the collector has taken",
            metrics.sent.clone(),
        );
        registry.register(
            "fairlead_operator_spans_lost",
            "Spans of rollouts that were dropped, since too many waited or the collector refused",
            metrics.lost.clone(),
        );
        metrics
    }

    pub(super) fn sent(&self, spans: usize) {
        self.sent.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }

    pub(super) fn lost(&self, spans: usize) {
        self.lost.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.sent.get(), self.lost.get())
    }
}
