//! Success rate and latency without a Prometheus: from the counters of our mesh's own proxies.
//!
//! While rollouts need it, one task reads the callers' and gateways' proxies every few seconds and
//! keeps the readings of the last minutes; a query is answered from them. After a restart of the
//! operator readings begin anew.
//! With many proxies Prometheus is the better source: it reads each of them once for everybody.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fairlead_rollout::Counted;
use fairlead_runtime::clock;
use fairlead_runtime::tasks::Tasks;
use futures::future::BoxFuture;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod comparison;
mod counts;
mod scrape;
mod share;
mod window;

use self::comparison::Comparisons;
use self::scrape::Scraper;
use self::window::{History, Snapshot};
use super::{Provider, QueryError};
use crate::outgoing::Outgoing;

pub use self::comparison::{Comparison, Pods};
pub use self::counts::{BOUNDS, Target};
pub use self::share::Share;

/// How often proxies are read.
const PERIOD: Duration = Duration::from_secs(5);
/// A reading that is not older than this answers a query.
const FRESH: Duration = Duration::from_millis(500);
/// How long readings must go back at least, or the window where that is shorter.
const WARM_UP: Duration = Duration::from_secs(15);
/// The longest window that can be asked for.
const LONGEST_WINDOW: Duration = Duration::from_secs(15 * 60);
/// A target that nobody asked about for so long is no longer read.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// How long one proxy may take to answer.
const PROXY_PATIENCE: Duration = Duration::from_secs(2);
/// How long a query waits for its reading.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is measured of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Percentage of requests that were answered, and not with 5xx.
    SuccessRate,
    /// 99th percentile of the latency in milliseconds: the upper bound of its bucket.
    Duration,
}

/// The readings of the proxies; clones share them.
#[derive(Clone, Debug)]
pub struct Mesh(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    targets: Mutex<HashMap<Target, Instant>>,
    wanted: Notify,
    readings: watch::Sender<Readings>,
    comparisons: Mutex<Comparisons>,
}

#[derive(Clone, Debug, Default)]
struct Readings {
    history: History,
    /// Why the last attempt brought nothing.
    trouble: Option<String>,
    attempts: u64,
}

impl Mesh {
    /// Starts the task that reads; it rests while nothing is wanted.
    pub fn start(tasks: &Tasks, client: Client, outgoing: Outgoing) -> Self {
        let mesh = Self(Arc::new(Shared {
            targets: Mutex::default(),
            wanted: Notify::new(),
            readings: watch::Sender::default(),
            comparisons: Mutex::default(),
        }));
        let scraper = Scraper { client, outgoing };
        let reader = mesh.clone();
        tasks.spawn("mesh metrics", reader.read(scraper, tasks.token().clone()));
        mesh
    }

    /// Begins to read about `target`, or goes on with it.
    pub fn follow(&self, target: &Target) {
        let now = clock::instant();
        let known = self.0.targets.lock().insert(target.clone(), now);
        if known.is_none() {
            self.0.wanted.notify_one();
        }
    }

    /// Counts two workloads side by side for a Canary, from now on or still.
    pub fn compare(&self, canary: &str, comparison: Comparison) {
        if self.0.comparisons.lock().keep(canary, comparison) {
            self.0.wanted.notify_one();
        }
    }

    /// Stops counting for a Canary; what was not taken is lost.
    pub fn stop_comparing(&self, canary: &str) {
        self.0.comparisons.lock().end(canary);
    }

    /// What was counted for a Canary and not stored yet.
    pub fn counted(&self, canary: &str) -> Option<Counted> {
        self.0.comparisons.lock().counted(canary)
    }

    /// How requests were divided since a time, as far as both targets are read about.
    pub fn share(&self, canary: &Target, primary: &Target, since: Instant) -> Option<Share> {
        share::share(&self.0.readings.borrow().history, canary, primary, since)
    }

    /// One metric of one target.
    pub fn provider(
        &self,
        target: Target,
        measure: Measure,
        window: Duration,
    ) -> impl Provider + use<> {
        Metric {
            mesh: self.clone(),
            target,
            measure,
            window: window.min(LONGEST_WINDOW),
        }
    }

    /// Reads while something is wanted, until `shutdown`.
    async fn read(self, scraper: Scraper, shutdown: CancellationToken) -> Result<(), Infallible> {
        loop {
            let targets = self.targets();
            let wanted = self.0.wanted.notified();
            if targets.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = wanted => continue,
                }
            }
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                outcome = scraper.scrape(&targets, self.patience()) => outcome,
            };
            self.pair(&scraper, outcome.as_ref().map_err(String::as_str))
                .await;
            self.0.readings.send_modify(|readings| {
                readings.attempts += 1;
                match outcome {
                    Ok(snapshot) => {
                        readings.history.push(snapshot, LONGEST_WINDOW);
                        readings.trouble = None;
                    }
                    Err(trouble) => readings.trouble = Some(trouble),
                }
            });
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.period()) => {}
                () = wanted => {}
            }
        }
    }

    /// Adds to each comparison what the proxies said.
    async fn pair(&self, scraper: &Scraper, outcome: Result<&Snapshot, &str>) {
        let comparisons = self.0.comparisons.lock().all();
        for (canary, comparison) in comparisons {
            let warmth = scraper.warmth(&comparison).await;
            let mut comparisons = self.0.comparisons.lock();
            match (&warmth, outcome) {
                (Ok(warmth), Ok(snapshot)) => comparisons.read(&canary, snapshot, *warmth),
                (Err(trouble), _) => comparisons.miss(&canary, trouble),
                (_, Err(trouble)) => comparisons.miss(&canary, trouble),
            }
        }
    }

    /// The pause between two readings: each ends a block where versions are compared.
    fn period(&self) -> Duration {
        let shortest = self.0.comparisons.lock().shortest();
        shortest.map_or(PERIOD, |length| length.min(PERIOD))
    }

    /// How long one proxy may take: one that is gone must not delay the blocks of others.
    fn patience(&self) -> Duration {
        self.period().min(PROXY_PATIENCE)
    }

    /// What is read about: forgets what nobody asks about any more.
    fn targets(&self) -> BTreeSet<Target> {
        let now = clock::instant();
        let mut targets = self.0.targets.lock();
        targets.retain(|_, asked| now.saturating_duration_since(*asked) < IDLE);
        let compared = self.0.comparisons.lock().all();
        let compared = compared
            .into_iter()
            .flat_map(|(_, comparison)| [comparison.canary, comparison.primary]);
        targets.keys().cloned().chain(compared).collect()
    }

    /// Readings that reach from now far enough into the past.
    async fn history(&self, target: &Target, window: Duration) -> Result<History, QueryError> {
        self.follow(target);
        let history = self.fresh(target).await?;
        let missing = window.min(WARM_UP).saturating_sub(history.span(target));
        if missing.is_zero() {
            return Ok(history);
        }
        tokio::time::sleep(missing).await;
        self.fresh(target).await
    }

    /// The readings with one that is not older than [`FRESH`].
    async fn fresh(&self, target: &Target) -> Result<History, QueryError> {
        let mut readings = self.0.readings.subscribe();
        let begun = clock::instant();
        let is_enough = |readings: &Readings| {
            let last = readings.history.last();
            last.is_some_and(|last| {
                begun.saturating_duration_since(last.at) < FRESH && last.knows(target)
            })
        };
        let attempts = readings.borrow().attempts;
        if !is_enough(&readings.borrow()) {
            self.0.wanted.notify_one();
        }
        let found = readings
            .wait_for(|now| is_enough(now) || (now.attempts > attempts && now.trouble.is_some()));
        let found = tokio::time::timeout(PATIENCE, found).await;
        let Ok(Ok(found)) = found else {
            return Err(QueryError::late(PATIENCE));
        };
        match &found.trouble {
            Some(trouble) if !is_enough(&found) => Err(QueryError::Unreachable(trouble.clone())),
            Some(_) | None => Ok(found.history.clone()),
        }
    }
}

/// One metric of one target.
struct Metric {
    mesh: Mesh,
    target: Target,
    measure: Measure,
    window: Duration,
}

impl Metric {
    async fn measure(&self) -> Result<Vec<f64>, QueryError> {
        let history = self.mesh.history(&self.target, self.window).await?;
        let counts = history.window(&self.target, self.window);
        let value = match self.measure {
            Measure::SuccessRate => counts.success_rate(),
            Measure::Duration => counts.quantile(0.99),
        };
        // As with Prometheus: a share of nothing is not a number, and so no data.
        Ok(vec![value.unwrap_or(f64::NAN)])
    }
}

impl Provider for Metric {
    /// The text says what is measured, for people; it is settled already.
    fn query<'a>(&'a self, _described: &'a str) -> BoxFuture<'a, Result<Vec<f64>, QueryError>> {
        Box::pin(self.measure())
    }
}

impl Measure {
    /// What is measured, in words that stand where a query would.
    pub fn describe(self, target: &Target, window: Duration) -> String {
        let what = match self {
            Self::SuccessRate => "share of requests without 5xx or reset, in percent",
            Self::Duration => "99th percentile of the latency as upper bound of its bucket, in ms",
        };
        format!(
            "{what}, of {}/{} over {window:?}, by the proxies of callers and gateways",
            target.namespace,
            target.workload.as_ref().unwrap_or(&target.service)
        )
    }
}

#[cfg(test)]
mod tests;
