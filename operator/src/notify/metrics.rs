//! What became of messages, as metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a message did not arrive; closed, since it labels a counter. The texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Too many wait.
    #[error(transparent)]
    QueueFull(#[from] super::Full),
    /// The receiver does not want it.
    #[error("the receiver {0}")]
    Refused(String),
    /// The receiver does not answer.
    #[error("the receiver cannot be reached: {0}")]
    Unreachable(String),
    /// The message cannot be sent at all until someone corrects its provider.
    #[error("{0}")]
    Setup(String),
}

impl Loss {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::QueueFull(_) => "queue-full",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Setup(_) => "setup",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Lost {
    reason: &'static str,
}

/// What became of alerts and event webhooks.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    sent: Counter,
    lost: Family<Lost, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "fairlead_operator_alerts_sent",
            "Alerts and event webhooks that the receiver took",
            metrics.sent.clone(),
        );
        registry.register(
            "fairlead_operator_alerts_lost",
            "Alerts and event webhooks that did not arrive, by reason",
            metrics.lost.clone(),
        );
        metrics
    }

    /// Counts one message.
    pub fn note(&self, outcome: &Result<(), Loss>) {
        let Err(loss) = outcome else {
            self.sent.inc();
            return;
        };
        let reason = loss.as_str();
        self.lost.get_or_create(&Lost { reason }).inc();
    }
}
