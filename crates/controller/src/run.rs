//! Runs a controller: reconciles, counts, logs each failure, tries again as [`requeue`] says.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use fairlead_runtime::{clock, report};
use futures::StreamExt;
use kube::Resource;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::ObjectRef;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::api_error::watch_text;
use crate::requeue::{self, Backoff, Failure};

/// Seconds, from a cached no-op to a slow API server.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Labels of the counters.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    controller: &'static str,
    result: &'static str,
}

/// Labels of the histogram.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    controller: &'static str,
}

/// What run loops count; one for all controllers of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<Outcome, Counter>,
    duration: Family<Of, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        };
        registry.register(
            "fairlead_controller_reconciles",
            "Reconciles by result: `ok` or the category of the failure",
            metrics.reconciles.clone(),
        );
        registry.register(
            "fairlead_controller_reconcile_duration_seconds",
            "Time that a reconcile took",
            metrics.duration.clone(),
        );
        metrics
    }
}

/// How a controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// Stops it: reconciles that have begun are finished.
    pub shutdown: CancellationToken,
    /// What it counts.
    pub metrics: Metrics,
}

/// Runs a controller until `options.shutdown`.
///
/// # Guarantees
/// Each failure is logged with its causes. One object is never reconciled twice at once. Reconciles
/// that have begun are finished before this returns.
pub async fn run<K, C, R, F, E>(
    controller: Controller<K>,
    reconcile: R,
    context: Arc<C>,
    options: Options,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    C: Send + Sync + 'static,
    R: Fn(Arc<K>, Arc<C>) -> F,
    F: Future<Output = Result<Action, E>> + Send + 'static,
    E: Failure,
{
    let Options {
        name,
        shutdown,
        metrics,
    } = options;
    let backoff = Arc::new(Backoff::default());
    let timed = |object: Arc<K>, context: Arc<C>| {
        let key = ObjectRef::from_obj(&*object).to_string();
        let outcome = reconcile(object, context);
        let (metrics, backoff) = (metrics.clone(), Arc::clone(&backoff));
        async move {
            let start = clock::instant();
            let outcome = outcome.await;
            let result = match &outcome {
                Ok(_) => {
                    backoff.succeeded(&key);
                    "ok"
                }
                Err(error) => error.category(),
            };
            metrics
                .reconciles
                .get_or_create(&Outcome {
                    controller: name,
                    result,
                })
                .inc();
            let seconds = start.elapsed().as_secs_f64();
            metrics
                .duration
                .get_or_create(&Of { controller: name })
                .observe(seconds);
            outcome
        }
    };
    let retry = |object: Arc<K>, error: &E, _: Arc<C>| {
        let key = ObjectRef::from_obj(&*object).to_string();
        backoff.failed(&key, error.class(), rand::random())
    };
    tracing::info!(controller = name, "started");
    controller
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(timed, retry, context)
        .for_each(|result| {
            if let Err(error) = result {
                log(name, &error);
            }
            std::future::ready(())
        })
        .await;
    tracing::info!(controller = name, "stopped");
}

fn log<E: Failure>(name: &str, error: &controller::Error<E, kube::runtime::watcher::Error>) {
    match error {
        // It was deleted while it waited for its turn.
        controller::Error::ObjectNotFound(object) => {
            tracing::debug!(controller = name, %object, "the object is gone");
        }
        controller::Error::ReconcilerFailed(error, object) => match error.class() {
            requeue::Class::Waiting(_) => tracing::info!(
                controller = name, %object, reason = %report(error), "waiting"
            ),
            requeue::Class::Invalid | requeue::Class::Transient => tracing::error!(
                controller = name, %object, error = %report(error), "failed to reconcile"
            ),
        },
        controller::Error::QueueError(error) => {
            let error = watch_text(error);
            tracing::warn!(controller = name, error, "a watch broke; it is restarted");
        }
        controller::Error::RunnerError(error) => {
            tracing::error!(controller = name, error = %report(error), "the controller broke");
        }
    }
}
