//! Alerts: a bounded queue between rollouts and chat services, which may be slow or down.
//!
//! Nothing here ever holds a rollout up: what the queue cannot take is dropped and counted.

use std::time::Duration;

use fairlead_rollout::Severity;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub mod slack;

/// The most messages that wait.
const CAPACITY: usize = 256;
/// How long a service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts for each message.
const ATTEMPTS: u32 = 4;
/// The longest pause that a service can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What happened to a Canary, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The Canary's name.
    pub name: String,
    /// The Canary's namespace.
    pub namespace: String,
    /// How much it matters.
    pub severity: Severity,
    /// What happened.
    pub text: String,
    /// More to know, name and value.
    pub fields: Vec<(String, String)>,
}

/// Where an alert goes; the address may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub address: String,
    /// A bearer token.
    pub token: Option<String>,
    /// The channel.
    pub channel: String,
    /// Who it is from.
    pub username: String,
    /// An HTTP proxy on the way.
    pub proxy: Option<String>,
}

impl std::fmt::Debug for Destination {
    /// Shows no address and no token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Why a message did not arrive; closed, since it labels a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Loss {
    QueueFull,
    Refused,
    Unreachable,
    Setup,
}

impl Loss {
    const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Setup => "setup",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Lost {
    reason: &'static str,
}

/// What became of alerts.
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
            "Alerts that a chat service took",
            metrics.sent.clone(),
        );
        registry.register(
            "fairlead_operator_alerts_lost",
            "Alerts that did not arrive, by reason",
            metrics.lost.clone(),
        );
        metrics
    }

    fn lose(&self, loss: Loss) {
        self.lost
            .get_or_create(&Lost {
                reason: loss.as_str(),
            })
            .inc();
    }
}

/// Takes alerts.
#[derive(Clone, Debug)]
pub struct Notifier {
    queue: mpsc::Sender<(Alert, Destination)>,
    metrics: Metrics,
}

/// Sends what a [`Notifier`] took.
#[derive(Debug)]
pub struct Sender {
    queue: mpsc::Receiver<(Alert, Destination)>,
    metrics: Metrics,
}

/// The two ends of the queue.
pub fn queue(metrics: Metrics) -> (Notifier, Sender) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (
        Notifier {
            queue: sender,
            metrics: metrics.clone(),
        },
        Sender {
            queue: receiver,
            metrics,
        },
    )
}

impl Notifier {
    /// Takes an alert, or drops it when too many wait.
    pub fn send(&self, alert: Alert, destination: Destination) {
        if let Err(error) = self.queue.try_send((alert, destination)) {
            let (alert, _) = match error {
                mpsc::error::TrySendError::Full(message)
                | mpsc::error::TrySendError::Closed(message) => message,
            };
            self.metrics.lose(Loss::QueueFull);
            tracing::warn!(
                object.name = alert.name,
                object.namespace = alert.namespace,
                "an alert was dropped: too many wait"
            );
        }
    }
}

impl Sender {
    /// Sends alerts one after the other until `shutdown`.
    pub async fn run(
        mut self,
        shutdown: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        loop {
            let next = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                next = self.queue.recv() => next,
            };
            let Some((alert, destination)) = next else {
                shutdown.cancelled().await;
                return Ok(());
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                outcome = deliver(&alert, &destination) => self.note(&alert, outcome),
            }
        }
    }

    fn note(&self, alert: &Alert, outcome: Result<(), Loss>) {
        let Err(loss) = outcome else {
            self.metrics.sent.inc();
            return;
        };
        self.metrics.lose(loss);
        tracing::warn!(
            object.name = alert.name,
            object.namespace = alert.namespace,
            reason = loss.as_str(),
            "an alert did not arrive"
        );
    }
}

/// Tries a few times; a service that asks for a pause gets it.
async fn deliver(alert: &Alert, destination: &Destination) -> Result<(), Loss> {
    let client = client(destination)?;
    let body = slack::message(alert, destination);
    let mut pause = Duration::from_secs(1);
    for attempt in 1..=ATTEMPTS {
        let mut request = client.post(&destination.address).json(&body);
        if let Some(token) = &destination.token {
            request = request.bearer_auth(token.trim());
        }
        let loss = match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if is_final(answer.status()) => return Err(Loss::Refused),
            Ok(answer) => {
                let asked = answer
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok())
                    .map(Duration::from_secs);
                pause = asked.unwrap_or(pause).min(LONGEST_PAUSE);
                Loss::Refused
            }
            Err(error) if error.is_builder() => return Err(Loss::Setup),
            Err(_unreachable) => Loss::Unreachable,
        };
        if attempt == ATTEMPTS {
            return Err(loss);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}

/// Whether trying again is useless.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

fn client(destination: &Destination) -> Result<reqwest::Client, Loss> {
    let mut builder = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("fairlead-operator/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = &destination.proxy {
        let proxy = reqwest::Proxy::all(proxy).map_err(|_no_proxy| Loss::Setup)?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|_no_client| Loss::Setup)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> (Alert, Destination) {
        let alert = Alert {
            name: "podinfo".to_owned(),
            namespace: "test".to_owned(),
            severity: Severity::Info,
            text: "promoted".to_owned(),
            fields: Vec::new(),
        };
        let destination = Destination {
            address: "http://hooks.invalid/secret".to_owned(),
            token: Some("secret".to_owned()),
            channel: "general".to_owned(),
            username: "fairlead".to_owned(),
            proxy: None,
        };
        (alert, destination)
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Metrics::default();
        let (notifier, _sender) = queue(metrics.clone());
        for _ in 0..=CAPACITY {
            let (alert, destination) = alert();
            notifier.send(alert, destination);
        }
        let lost = metrics
            .lost
            .get_or_create(&Lost {
                reason: "queue-full",
            })
            .get();
        assert_eq!(lost, 1);
    }

    #[test]
    fn printing_a_destination_shows_no_secret() {
        let (_, destination) = alert();
        assert!(!format!("{destination:?}").contains("secret"));
    }
}
