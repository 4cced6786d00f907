//! Metrics of Canaries, under Flagger's names, so that its dashboards go on working.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use fairlead_rollout::{Phase, Plan, Split, State};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::validate::Validated;
use crate::analysis::Finding;

/// Prometheus' default buckets, which Flagger uses.
const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Name {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Workload {
    workload: String,
    namespace: String,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Namespace {
    namespace: String,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Value {
    name: String,
    namespace: String,
    metric: String,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Outcome {
    name: String,
    namespace: String,
    deployment_strategy: &'static str,
    analysis_status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Info {
    version: &'static str,
    mesh_provider: String,
}

type Float = Gauge<f64, AtomicU64>;

/// The metrics of all Canaries.
#[derive(Clone, Debug)]
pub struct Metrics {
    status: Family<Name, Gauge>,
    total: Family<Namespace, Gauge>,
    weight: Family<Workload, Gauge>,
    analysis: Family<Value, Float>,
    duration: Family<Name, Histogram, fn() -> Histogram>,
    successes: Family<Outcome, Counter>,
    failures: Family<Outcome, Counter>,
    known: Arc<Mutex<BTreeMap<Name, Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    metrics: BTreeSet<Value>,
    counters: BTreeSet<Outcome>,
}

impl Metrics {
    /// Registers the metrics of a process whose Canaries have `provider` where they name none.
    pub fn register(registry: &mut Registry, provider: &str) -> Self {
        let metrics = Self {
            status: Family::default(),
            total: Family::default(),
            weight: Family::default(),
            analysis: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            successes: Family::default(),
            failures: Family::default(),
            known: Arc::default(),
        };
        let info: Family<Info, Gauge> = Family::default();
        info.get_or_create(&Info {
            version: env!("CARGO_PKG_VERSION"),
            mesh_provider: provider.to_owned(),
        })
        .set(1);
        registry.register("flagger_info", "Version of the controller", info);
        registry.register(
            "flagger_canary_status",
            "Last analysis of a Canary: 0 running, 1 successful, 2 failed",
            metrics.status.clone(),
        );
        registry.register("flagger_canary_total", "Canaries", metrics.total.clone());
        registry.register(
            "flagger_canary_weight",
            "Percentage of traffic of a workload",
            metrics.weight.clone(),
        );
        registry.register(
            "flagger_canary_metric_analysis",
            "Last value of a metric of an analysis",
            metrics.analysis.clone(),
        );
        registry.register(
            "flagger_canary_duration_seconds",
            "Time that looking at a Canary took",
            metrics.duration.clone(),
        );
        registry.register(
            "flagger_canary_successes",
            "Runs that ended with a promotion",
            metrics.successes.clone(),
        );
        registry.register(
            "flagger_canary_failures",
            "Runs that were rolled back",
            metrics.failures.clone(),
        );
        metrics
    }

    /// Notes where a Canary stands.
    pub fn note(&self, plan: &Validated, before: &State, state: &State) {
        let name = name(plan);
        self.known.lock().entry(name.clone()).or_default();
        let value = match state.phase {
            Some(Phase::Progressing | Phase::WaitingPromotion | Phase::Waiting) => 0,
            Some(Phase::Failed) => 2,
            Some(
                Phase::Initializing
                | Phase::Initialized
                | Phase::Promoting
                | Phase::Finalising
                | Phase::Succeeded
                | Phase::Terminating
                | Phase::Terminated,
            )
            | None => 1,
        };
        self.status.get_or_create(&name).set(value);
        let split = state.traffic.map_or(Split::PRIMARY, |intent| intent.target);
        let workload = |workload: &str| Workload {
            workload: workload.to_owned(),
            namespace: name.namespace.clone(),
        };
        let primary = i64::from(split.canary.rest().get());
        self.weight
            .get_or_create(&workload(&plan.names.primary))
            .set(primary);
        self.weight
            .get_or_create(&workload(&plan.names.target))
            .set(i64::from(split.canary.get()));
        if before.phase != state.phase {
            self.count(plan, state);
        }
    }

    fn count(&self, plan: &Validated, state: &State) {
        let Name { name, namespace } = name(plan);
        let label = Outcome {
            name,
            namespace,
            deployment_strategy: match plan.strategy.plan {
                Plan::Weighted { .. } | Plan::Staged { .. } => "canary",
                Plan::Iterations { matched: true, .. } => "ab_testing",
                Plan::Iterations { matched: false, .. } => "blue_green",
            },
            analysis_status: if plan.strategy.skip_analysis {
                "skipped"
            } else {
                "completed"
            },
        };
        let family = match state.phase {
            Some(Phase::Succeeded) => &self.successes,
            Some(Phase::Failed) => &self.failures,
            _ => return,
        };
        family.get_or_create(&label).inc();
        self.remember(plan, |known| known.counters.insert(label));
    }

    /// Notes what a check found.
    pub fn measured(&self, plan: &Validated, findings: &[Finding]) {
        for finding in findings {
            let Some(value) = finding.values.first() else {
                continue;
            };
            let Name { name, namespace } = name(plan);
            let label = Value {
                name,
                namespace,
                metric: finding.metric.clone(),
            };
            self.analysis.get_or_create(&label).set(*value);
            self.remember(plan, |known| known.metrics.insert(label));
        }
    }

    fn remember(&self, plan: &Validated, note: impl FnOnce(&mut Known) -> bool) {
        note(self.known.lock().entry(name(plan)).or_default());
    }

    /// Notes how long a look took.
    pub fn took(&self, plan: &Validated, seconds: f64) {
        self.duration.get_or_create(&name(plan)).observe(seconds);
    }

    /// Counts the Canaries that there are, by namespace, and forgets those that are gone;
    /// `targets` holds the namespace and target of each.
    pub fn keep(&self, targets: &BTreeSet<(String, String)>) {
        let mut known = self.known.lock();
        let gone: Vec<Name> = known
            .keys()
            .filter(|name| !targets.contains(&(name.namespace.clone(), name.name.clone())))
            .cloned()
            .collect();
        for name in gone {
            let Some(forgotten) = known.remove(&name) else {
                continue;
            };
            self.status.remove(&name);
            self.duration.remove(&name);
            for workload in [name.name.clone(), format!("{}-primary", name.name)] {
                self.weight.remove(&Workload {
                    workload,
                    namespace: name.namespace.clone(),
                });
            }
            for label in &forgotten.metrics {
                self.analysis.remove(label);
            }
            for label in &forgotten.counters {
                self.successes.remove(label);
                self.failures.remove(label);
            }
        }
        self.total.clear();
        for (namespace, _) in targets {
            self.total
                .get_or_create(&Namespace {
                    namespace: namespace.clone(),
                })
                .inc();
        }
    }
}

fn name(plan: &Validated) -> Name {
    Name {
        name: plan.names.target.clone(),
        namespace: plan.names.namespace.clone(),
    }
}
