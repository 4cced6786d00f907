//! Kustomization: the objects of a source's artifact, kept in the cluster as they are in git.
//!
//! Whatever goes wrong, what was applied before stays, and so does the inventory of it: it is
//! written before the first object is, so that no crash leaves an object that nobody knows of.

mod advance;
pub mod apply;
pub mod build;
pub mod cleanup;
pub mod dereference;
pub mod health;
pub mod ownership;
pub mod plan;
pub mod policy;
pub mod prune;
pub mod status;
pub mod validate;
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use fairlead_controller::{ApiError, Class, Failure, applier};
use fairlead_crds::kustomization::Kustomization;
use fairlead_runtime::{clock, report};
use kube::Resource as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use crate::artifact::reader;
use crate::cluster;
use crate::context::Context;
use crate::finalizer;
use crate::git_repository::jittered;
use advance::Work;

/// Why a Kustomization is not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object does not fit its own schema.
    #[error("the object is malformed: {0}")]
    Malformed(String),
    /// The finalizer could not be added or removed.
    #[error("failed to write the finalizer")]
    Finalize(#[source] ApiError),
    /// A reference could not be followed.
    #[error("failed to read what the spec refers to")]
    Dereference(#[source] dereference::Error),
    /// The spec cannot be acted on, now or ever.
    #[error("{source}")]
    Validate {
        /// Why.
        source: validate::Error,
        /// When to look at an unmet dependency again.
        retry: Duration,
    },
    /// The artifact could not be had.
    #[error("failed to get the artifact of the source")]
    Artifact(#[source] reader::Error),
    /// The manifests are wrong.
    #[error("{source}")]
    Build {
        /// Why.
        source: build::Error,
        /// When to try again: a new revision wakes us before.
        retry: Duration,
    },
    /// Building panicked, which is a bug.
    #[error("building the manifests panicked")]
    Panicked(#[source] tokio::task::JoinError),
    /// No client has the rights that are asked for.
    #[error("failed to get the rights to apply")]
    Act(#[source] cluster::Error),
    /// Objects were refused.
    #[error("failed to apply")]
    Apply {
        /// Which and why.
        source: apply::Error,
        /// When to try again.
        retry: Duration,
    },
    /// Objects could not be deleted.
    #[error("{}", errors.iter().map(|error| report(error).to_string()).collect::<Vec<_>>().join("; "))]
    Prune {
        /// Which and why.
        errors: Vec<prune::Error>,
        /// When to try again.
        retry: Duration,
    },
    /// Objects did not become healthy.
    #[error("health check failed after {took:.1?}")]
    Health {
        /// Which and why.
        source: wait::Error,
        /// How long was waited.
        took: Duration,
        /// When to try again.
        retry: Duration,
    },
    /// While health was awaited something newer came.
    #[error("waiting for health was given up for something newer")]
    Superseded,
    /// The status could not be written.
    #[error("failed to write the status")]
    Status(#[source] applier::Error),
}

impl Failure for Error {
    fn class(&self) -> Class {
        match self {
            Self::Malformed(_) | Self::Dereference(dereference::Error::CrossNamespace { .. }) => {
                Class::Invalid
            }
            Self::Validate { source, retry } => match source {
                validate::Error::NoArtifact(_) | validate::Error::Dependency { .. } => {
                    Class::Waiting(*retry)
                }
                validate::Error::Duration { .. }
                | validate::Error::Unsupported { .. }
                | validate::Error::Cycle
                | validate::Error::Variables(_) => Class::Invalid,
            },
            Self::Build { retry, .. }
            | Self::Apply { retry, .. }
            | Self::Prune { retry, .. }
            | Self::Health { retry, .. } => Class::Waiting(*retry),
            Self::Superseded => Class::Waiting(Duration::ZERO),
            // An artifact that is gone comes back as soon as its source notices.
            Self::Artifact(_)
            | Self::Finalize(_)
            | Self::Dereference(_)
            | Self::Panicked(_)
            | Self::Act(_) => Class::Transient,
            Self::Status(source) => source.class(),
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Finalize(_) => "finalizer",
            Self::Dereference(_) => "dereference",
            Self::Validate { .. } => "invalid",
            Self::Artifact(_) => "artifact",
            Self::Build { .. } => "build",
            Self::Panicked(_) => "panic",
            Self::Act(_) => "impersonate",
            Self::Apply { .. } => "apply",
            Self::Prune { .. } => "prune",
            Self::Health { .. } => "health",
            Self::Superseded => "superseded",
            Self::Status(_) => "status",
        }
    }
}

/// Brings the cluster to what one Kustomization says.
pub async fn reconcile(
    object: Arc<DeserializeGuard<Kustomization>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if object.meta().deletion_timestamp.is_some() {
        return cleanup::cleanup(&object, &context).await;
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
    let mut work = Work::new(&context, object);
    let outcome = work.advance().await;
    // Client required.
    match &outcome {
        Ok((success, _)) => work.draft.succeed(object, success, clock::now()),
        Err(Error::Superseded) => {}
        Err(error) => work.draft.fail(object, error, clock::now()),
    }
    work.save().await?;
    work.publish(&outcome).await;
    outcome.map(|(_, interval)| Action::requeue(jittered(interval, rand::random())))
}
