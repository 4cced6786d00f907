//! GitRepository: the files of a git revision, fetched when it changes, offered as an artifact.
//!
//! The last good artifact stays where it is and is served whatever goes wrong later.

pub mod dereference;
pub mod fetch;
pub mod status;
pub mod validate;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fairlead_controller::{ApiError, Class, Failure, applier};
use fairlead_crds::source::{Artifact, GitRepository};
use fairlead_runtime::{clock, report};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use crate::artifact::Digest;
use crate::artifact::store::{self, Store};
use crate::context::Context;
use crate::fetch::{FailureKind, Fetched};
use crate::finalizer;
use crate::watch;
use status::{New, Outcome, Reason};
use validate::ValidatedGitRepository;

/// The part of the interval by which it is stretched or cut, so that repositories spread out.
const JITTER: f64 = 0.05;

/// Why a GitRepository is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object does not fit its own schema.
    #[error("the object is malformed: {0}")]
    Malformed(String),
    /// The finalizer could not be added or removed.
    #[error("failed to write the finalizer")]
    Finalize(#[source] ApiError),
    /// A Secret could not be read.
    #[error("failed to read what the spec refers to")]
    Dereference(#[source] dereference::Error),
    /// The spec makes no sense.
    #[error("the spec cannot be acted on")]
    Validate(#[source] validate::Error),
    /// The source was not fetched.
    #[error("failed to fetch `{url}`")]
    Fetch {
        /// The repository.
        url: String,
        /// When to try again if nothing changes before.
        retry: Duration,
        /// Why.
        source: fetch::Error,
    },
    /// While the source was fetched the object changed.
    #[error("fetching was given up for something newer")]
    Superseded,
    /// The artifact could not be stored.
    #[error("failed to store the artifact")]
    Store(#[source] store::Error),
    /// The status could not be written.
    #[error("failed to write the status")]
    Status(#[source] applier::Error),
}

impl Failure for Error {
    fn class(&self) -> Class {
        match self {
            Self::Malformed(_) | Self::Validate(_) => Class::Invalid,
            Self::Finalize(_) | Self::Dereference(_) | Self::Store(_) => Class::Transient,
            Self::Superseded => Class::Waiting(Duration::ZERO),
            Self::Status(source) => source.class(),
            Self::Fetch { retry, source, .. } => match source {
                fetch::Error::Run(_) | fetch::Error::Died { .. } | fetch::Error::Timeout(_) => {
                    Class::Transient
                }
                fetch::Error::TooLarge => Class::Waiting(*retry),
                fetch::Error::Fetch(failed) => match failed.kind {
                    FailureKind::Transient => Class::Transient,
                    FailureKind::Request => Class::Invalid,
                    // Only a push or another Secret helps, and nothing tells of either.
                    FailureKind::Authentication | FailureKind::Reference | FailureKind::Content => {
                        Class::Waiting(*retry)
                    }
                },
            },
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Finalize(_) => "finalizer",
            Self::Dereference(_) => "dereference",
            Self::Validate(_) => "invalid",
            Self::Fetch { .. } => "fetch",
            Self::Superseded => "superseded",
            Self::Store(_) => "storage",
            Self::Status(_) => "status",
        }
    }
}

/// Brings one GitRepository's artifact up to date.
pub async fn reconcile(
    object: Arc<DeserializeGuard<GitRepository>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if object.meta().deletion_timestamp.is_some() {
        return cleanup(&object, &context).await;
    }
    let object = object
        .0
        .as_ref()
        .map_err(|invalid| Error::Malformed(invalid.error.clone()))?;
    if object.spec.suspend == Some(true) {
        return Ok(Action::await_change());
    }
    if !finalizer::is_set(object) {
        finalizer::add(&context.client, object)
            .await
            .map_err(Error::Finalize)?;
    }
    let outcome = advance(object, &context).await;
    if let Err(error @ Error::Superseded) = outcome {
        return Err(error);
    }
    // Client required.
    let wanted = status::build(object, &outcome, clock::now());
    if object.status.as_ref() != Some(&wanted) {
        context
            .applier
            .apply_status(object, &wanted)
            .await
            .map_err(Error::Status)?;
    }
    publish(object, &outcome, &context).await;
    outcome.map(|outcome| Action::requeue(jittered(outcome.interval, rand::random())))
}

/// The steps of a reconcile; every error ends up in the status.
async fn advance(object: &GitRepository, context: &Context) -> Result<Outcome, Error> {
    // Client required.
    let dereferenced = dereference::dereference(&context.client, object)
        .await
        .map_err(Error::Dereference)?;
    // Pure.
    let repository = validate::validate(object, &dereferenced).map_err(Error::Validate)?;
    // File IO: an artifact that is damaged or gone is made anew.
    let known = match current_artifact(object, &repository, &context.store) {
        Some((artifact, digest)) if context.store.is_intact(&artifact.path, &digest).await => {
            Some(artifact)
        }
        _ => None,
    };
    // A process of its own.
    let permit = context.fetches.acquire().await;
    let revision = known.map(|artifact| artifact.revision.clone());
    let scratch = context.store.scratch_root();
    let fetched = fetch::fetch(&context.settings.program, &scratch, &repository, revision);
    // A server that does not answer must not delay what the user does about it.
    let fetched = tokio::select! {
        fetched = fetched => fetched,
        () = watch::rewritten(context, object) => return Err(Error::Superseded),
    };
    drop(permit);
    let fetched = fetched.map_err(|source| Error::Fetch {
        url: repository.url_without_credentials(),
        retry: repository.interval,
        source,
    })?;
    // File IO.
    let artifact = match fetched {
        fetch::Outcome::Unchanged => None,
        fetch::Outcome::New {
            fetched,
            archive,
            folder,
        } => {
            let stored = store_artifact(object, &repository, &fetched, &archive, context).await;
            drop(folder);
            Some(stored.map_err(Error::Store)?)
        }
    };
    Ok(Outcome {
        interval: repository.interval,
        artifact,
    })
}

/// The artifact of the status, if it was made as the spec asks now.
fn current_artifact<'object>(
    object: &'object GitRepository,
    repository: &ValidatedGitRepository,
    store: &Store,
) -> Option<(&'object Artifact, Digest)> {
    let status = object.status.as_ref()?;
    let artifact = status.artifact.as_ref()?;
    let digest = Digest::parse(&artifact.digest).ok()?;
    let is_alike = status.observed_ignore == repository.ignore
        && status.observed_sparse_checkout == repository.directories
        && artifact.path == Store::path(&repository.owner, &digest)
        && artifact.url == store.url(&artifact.path);
    is_alike.then_some((artifact, digest))
}

/// Puts an archive into the store; the artifact before it stays for those who still read it.
async fn store_artifact(
    object: &GitRepository,
    repository: &ValidatedGitRepository,
    fetched: &Fetched,
    archive: &Path,
    context: &Context,
) -> Result<New, store::Error> {
    let digest = Digest::of_hex(&fetched.sha256);
    let path = context
        .store
        .adopt(archive, &repository.owner, &digest)
        .await?;
    let before = object
        .status
        .as_ref()
        .and_then(|status| status.artifact.as_ref());
    let before = before.and_then(|artifact| Digest::parse(&artifact.digest).ok());
    let keep: Vec<&Digest> = before.iter().chain([&digest]).collect();
    context.store.collect(&repository.owner, &keep).await?;
    let artifact = Artifact {
        digest: digest.to_string(),
        last_update_time: Time(clock::now()),
        metadata: std::collections::BTreeMap::new(),
        url: context.store.url(&path),
        path,
        revision: fetched.revision.clone(),
        size: i64::try_from(fetched.size).ok(),
    };
    Ok(New {
        artifact,
        summary: fetched.summary.clone(),
    })
}

/// Removes the artifacts of an object that is being deleted; its spec does not matter.
async fn cleanup(
    object: &DeserializeGuard<GitRepository>,
    context: &Context,
) -> Result<Action, Error> {
    if finalizer::is_set(object) {
        context
            .store
            .collect(&validate::owner(object), &[])
            .await
            .map_err(Error::Store)?;
        finalizer::remove(&context.client, object)
            .await
            .map_err(Error::Finalize)?;
    }
    Ok(Action::await_change())
}

async fn publish(object: &GitRepository, outcome: &Result<Outcome, Error>, context: &Context) {
    match outcome {
        Ok(Outcome {
            artifact: Some(new),
            ..
        }) => {
            let note = format!(
                "stored artifact for revision '{}': {}",
                new.artifact.revision, new.summary
            );
            context
                .recorder
                .publish(object, Reason::NewArtifact, note)
                .await;
        }
        Ok(Outcome { artifact: None, .. }) => {}
        Err(error) => {
            let note = report(error).to_string();
            // The same failure again is in the status already.
            if status::message(object) != Some(note.as_str()) {
                context
                    .recorder
                    .publish(object, status::reason(error), note)
                    .await;
            }
        }
    }
}

/// Shorter intervals, and an interval of zero, would keep us busy with one object.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The interval that is kept where the spec asks for this one.
pub(crate) fn paced(interval: Duration) -> Duration {
    interval.max(SHORTEST_INTERVAL)
}

/// Spreads objects of the same interval; `roll` is in `0.0..1.0`.
pub(crate) fn jittered(interval: Duration, roll: f64) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * roll - 1.0))
}
