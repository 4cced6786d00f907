//! Rollouts as OpenTelemetry traces: a span for a run, and below it one for each step and each
//! check, sent by OTLP.
//!
//! Spans are written from the recorded history when what they tell of has ended, under ids that
//! follow from the Canary and the run: an operator that takes over goes on with the same trace.
//! Nothing waits for them, and what cannot be sent is counted and dropped.

use fairlead_crds::canary::{Canary, CanaryStatus};
use fairlead_runtime::report;
use fairlead_runtime::tasks::Tasks;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod export;
mod metrics;
mod settings;
mod span;

use export::Exporter;
pub use metrics::Metrics;
pub use settings::{ENDPOINT, Error, Settings};

/// The most spans that wait to be sent.
const CAPACITY: usize = 2048;

/// Takes what happened to Canaries; clones share the same queue.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: Option<mpsc::Sender<span::Span>>,
    metrics: Metrics,
}

impl Tracer {
    /// Sends spans where `settings` say, until `shutdown`; without settings there are none, and
    /// with wrong ones only the log says so: rollouts go on.
    pub fn start(
        tasks: &Tasks,
        settings: Result<Option<Settings>, Error>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        let exporter = settings.and_then(|settings| {
            let exporter = settings.map(|settings| Exporter::new(settings, metrics.clone()));
            exporter.transpose()
        });
        let queue = match exporter {
            Ok(Some(exporter)) => {
                let (queue, spans) = mpsc::channel(CAPACITY);
                tasks.spawn("traces", exporter.run(spans, shutdown));
                Some(queue)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(error = %report(&error), "rollouts are not traced");
                None
            }
        };
        Self { queue, metrics }
    }

    /// Tells what ended between a status and the one of `canary`; never waits.
    pub fn tell(&self, canary: &Canary, before: Option<&CanaryStatus>) {
        let Some(queue) = &self.queue else { return };
        let lost = span::ended(canary, before)
            .into_iter()
            .filter_map(|span| queue.try_send(span).err());
        self.metrics.lost(lost.count());
    }
}
