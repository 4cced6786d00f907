//! Leader election on a `coordination.k8s.io` Lease: at most one process writes at a time.
//!
//! The holder renews its lease; others take it over only when they have seen no renewal for the
//! lease's whole duration on their own monotonic clock, so that clocks of machines need not agree.
//! A holder that could not renew for [`Config::renew_deadline`], which is shorter, stops before
//! that. Writes are replacements guarded by the resource version, the one exception to server-side
//! apply: two candidates must not both succeed.

use std::time::Duration;

use fairlead_runtime::{clock, report};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ApiError;

/// Which lease, for whom, and its times.
#[derive(Clone, Debug)]
pub struct Config {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// Who we are: unique among candidates. A process that is started again under the same identity
    /// takes its lease back at once, so use the pod's name.
    pub identity: String,
    /// How long others wait after the last renewal.
    pub duration: Duration,
    /// How long the holder tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How often everybody tries.
    pub interval: Duration,
}

impl Config {
    /// The times that Kubernetes' own controllers use.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            interval: Duration::from_secs(2),
        }
    }
}

/// Why leadership ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lease could not be renewed in time, or somebody else has it.
    #[error("lost the lease `{lease}`: {why}")]
    Lost {
        /// The lease's name.
        lease: String,
        /// Who has it, or what failed.
        why: String,
    },
    /// The work that needed the lease failed.
    #[error("the leader's work failed")]
    Work(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Waits for the lease, then does `work` while renewing it, then releases it.
///
/// `work` gets a token that is cancelled at shutdown; it then ends what it has begun and returns.
/// The lease is renewed until `work` has returned, and only then released, so that the next leader
/// starts at once and never beside us.
///
/// # Errors
/// When the lease is lost: `work` is dropped on the spot, and the caller must end the process.
pub async fn lead<W, F, E>(
    client: Client,
    config: Config,
    shutdown: CancellationToken,
    work: W,
) -> Result<(), Error>
where
    W: FnOnce(CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut candidate = Candidate::new(client, config);
    tokio::select! {
        () = candidate.acquire() => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let lease = &candidate.config.name;
    tracing::info!(lease, identity = candidate.config.identity, "leading");
    let outcome = {
        let work = work(shutdown);
        let keep = candidate.keep();
        tokio::select! {
            outcome = work => outcome.map_err(|error| Error::Work(error.into())),
            lost = keep => Err(lost),
        }
    };
    if !matches!(outcome, Err(Error::Lost { .. })) {
        candidate.release().await;
    }
    outcome
}

struct Candidate {
    api: Api<Lease>,
    config: Config,
    /// The lease as last seen, and when we first saw it so.
    seen: Option<(Lease, Instant)>,
}

impl Candidate {
    fn new(client: Client, config: Config) -> Self {
        Self {
            api: Api::namespaced(client, &config.namespace),
            config,
            seen: None,
        }
    }

    /// Returns when we hold the lease.
    async fn acquire(&mut self) {
        let mut told = None;
        loop {
            match self.try_hold().await {
                Ok(None) => return,
                Ok(Some(holder)) => {
                    if told.as_ref() != Some(&holder) {
                        let lease = &self.config.name;
                        tracing::info!(lease, holder, "waiting for the lease");
                        told = Some(holder);
                    }
                }
                Err(error) => {
                    let lease = &self.config.name;
                    tracing::warn!(lease, error = %report(&error), "failed to take the lease");
                }
            }
            tokio::time::sleep(self.config.interval).await;
        }
    }

    /// Renews until that fails.
    async fn keep(&mut self) -> Error {
        let mut renewed = clock::instant();
        loop {
            tokio::time::sleep(self.config.interval).await;
            let deadline = renewed + self.config.renew_deadline;
            let why = match tokio::time::timeout_at(deadline, self.try_hold()).await {
                Ok(Ok(None)) => {
                    renewed = clock::instant();
                    continue;
                }
                Ok(Ok(Some(holder))) => return self.lost(format!("`{holder}` has it")),
                Ok(Err(error)) => report(&error).to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if clock::instant() >= deadline {
                return self.lost(why);
            }
            tracing::warn!(
                lease = self.config.name,
                error = why,
                "failed to renew the lease"
            );
        }
    }

    fn lost(&self, why: String) -> Error {
        Error::Lost {
            lease: self.config.name.clone(),
            why,
        }
    }

    /// Takes or renews the lease once. Returns who has it, if not we.
    async fn try_hold(&mut self) -> Result<Option<String>, ApiError> {
        let current = self.api.get_opt(&self.config.name).await?;
        self.observe(current.as_ref());
        let age = self
            .seen
            .as_ref()
            .map(|(_, since)| clock::instant() - *since);
        let wanted = match decide(
            current.as_ref(),
            &self.config,
            age.unwrap_or_default(),
            clock::now(),
        ) {
            Decision::Write(lease) => lease,
            Decision::Wait(holder) => return Ok(Some(holder)),
        };
        let params = PostParams::default();
        let written = match current {
            Some(_) => self.api.replace(&self.config.name, &params, &wanted).await,
            None => self.api.create(&params, &wanted).await,
        };
        let lease = written?;
        self.seen = Some((lease, clock::instant()));
        Ok(None)
    }

    fn observe(&mut self, current: Option<&Lease>) {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        match (current, &self.seen) {
            (Some(now), Some((before, _))) if version(now) == version(before) => {}
            (Some(now), _) => self.seen = Some((now.clone(), clock::instant())),
            (None, _) => self.seen = None,
        }
    }

    /// Lets the next candidate in at once. Best effort: without it, they wait for its duration.
    async fn release(&mut self) {
        let Some((mut lease, _)) = self.seen.take() else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.config.identity.as_str()) {
            return;
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(clock::now()));
        let name = &self.config.name;
        match self.api.replace(name, &PostParams::default(), &lease).await {
            Ok(_) => tracing::info!(lease = name, "released the lease"),
            Err(error) => {
                let error = ApiError::from(error);
                tracing::warn!(lease = name, error = %report(&error), "failed to release the lease");
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Decision {
    /// The lease is ours to take or renew: write this.
    Write(Box<Lease>),
    /// Somebody else has it.
    Wait(String),
}

/// Pure: what to do about the lease as it is, unchanged for `age`.
fn decide(current: Option<&Lease>, config: &Config, age: Duration, now: Timestamp) -> Decision {
    let before = current
        .and_then(|lease| lease.spec.clone())
        .unwrap_or_default();
    let holder = before.holder_identity.filter(|holder| !holder.is_empty());
    let is_ours = holder.as_deref() == Some(config.identity.as_str());
    // What the holder promised counts, not what we would.
    let duration = before
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(config.duration, Duration::from_secs);
    match holder {
        Some(holder) if !is_ours && age < duration => return Decision::Wait(holder),
        Some(_) | None => {}
    }
    let seconds = i32::try_from(config.duration.as_secs()).unwrap_or(i32::MAX);
    let transitions = before.lease_transitions.unwrap_or_default();
    let spec = LeaseSpec {
        holder_identity: Some(config.identity.clone()),
        lease_duration_seconds: Some(seconds),
        acquire_time: before
            .acquire_time
            .filter(|_| is_ours)
            .or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if is_ours {
            transitions
        } else {
            transitions.saturating_add(1)
        }),
        ..LeaseSpec::default()
    };
    let metadata = current.map_or_else(
        || ObjectMeta {
            name: Some(config.name.clone()),
            namespace: Some(config.namespace.clone()),
            ..ObjectMeta::default()
        },
        |lease| lease.metadata.clone(),
    );
    Decision::Write(Box::new(Lease {
        metadata,
        spec: Some(spec),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn config(identity: &str) -> Config {
        Config::new("fairlead-system", "fairlead-operator", identity)
    }

    fn held_by(identity: &str) -> Lease {
        match decide(None, &config(identity), Duration::ZERO, NOW) {
            Decision::Write(lease) => *lease,
            Decision::Wait(holder) => panic!("held by {holder}"),
        }
    }

    fn transitions(decision: Decision) -> Option<i32> {
        match decision {
            Decision::Write(lease) => lease.spec.unwrap().lease_transitions,
            Decision::Wait(_) => None,
        }
    }

    #[test]
    fn a_held_lease_is_left_alone_until_it_was_silent_for_its_duration() {
        let lease = held_by("a");
        let wait = Decision::Wait("a".to_owned());
        let almost = Duration::from_secs(14);
        assert_eq!(decide(Some(&lease), &config("b"), almost, NOW), wait);
        let decision = decide(Some(&lease), &config("b"), Duration::from_secs(15), NOW);
        assert_eq!(transitions(decision), Some(2));
    }

    #[test]
    fn the_holders_promise_counts_not_the_candidates() {
        let lease = held_by("a");
        let impatient = Config {
            duration: Duration::from_secs(1),
            ..config("b")
        };
        let decision = decide(Some(&lease), &impatient, Duration::from_secs(5), NOW);
        assert_eq!(decision, Decision::Wait("a".to_owned()));
    }

    #[test]
    fn the_holder_renews_without_a_transition() {
        let lease = held_by("a");
        assert_eq!(
            transitions(decide(Some(&lease), &config("a"), Duration::ZERO, NOW)),
            Some(1)
        );
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let mut lease = held_by("a");
        lease.spec.as_mut().unwrap().holder_identity = None;
        assert_eq!(
            transitions(decide(Some(&lease), &config("b"), Duration::ZERO, NOW)),
            Some(2)
        );
    }
}
