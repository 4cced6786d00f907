//! The status of a GitRepository and the reasons of its events, as Flux has them. Pure.

use std::time::Duration;

use fairlead_controller::conditions::Conditions;
use fairlead_controller::{Class, Failure as _, events};
use fairlead_crds::source::{Artifact, GitRepository, GitRepositoryStatus};
use fairlead_crds::{ConditionStatus, ConditionType, annotation, find_condition};
use fairlead_runtime::report;
use jiff::Timestamp;

use super::{Error, fetch};
use crate::fetch::FailureKind;

/// What a reconcile came to.
#[derive(Debug)]
pub struct Outcome {
    /// When to look again.
    pub interval: Duration,
    /// The new artifact; none where the stored one is still right.
    pub artifact: Option<New>,
}

/// A new artifact.
#[derive(Debug)]
pub struct New {
    /// The artifact.
    pub artifact: Artifact,
    /// First line of the commit's message.
    pub summary: String,
}

/// Reasons of conditions and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All is well.
    Succeeded,
    /// A new revision is stored.
    NewArtifact,
    /// It failed, and is tried again.
    ProgressingWithRetry,
    /// The server did not deliver.
    GitOperationFailed,
    /// The server refuses us, or is not who it should be.
    AuthenticationFailed,
    /// The URL is not one.
    UrlInvalid,
    /// The spec asks for what is not done here.
    UnsupportedField,
    /// The spec makes no sense.
    InvalidSpec,
    /// The artifact could not be written.
    StorageOperationFailed,
    /// The cluster did not answer.
    Failed,
}

impl events::Reason for Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::NewArtifact => "NewArtifact",
            Self::ProgressingWithRetry => "ProgressingWithRetry",
            Self::GitOperationFailed => "GitOperationFailed",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::UrlInvalid => "URLInvalid",
            Self::UnsupportedField => "UnsupportedField",
            Self::InvalidSpec => "InvalidSpec",
            Self::StorageOperationFailed => "StorageOperationFailed",
            Self::Failed => "Failed",
        }
    }

    fn action(self) -> &'static str {
        "Fetch"
    }

    fn is_warning(self) -> bool {
        !matches!(self, Self::Succeeded | Self::NewArtifact)
    }
}

/// Why, in one word, a reconcile failed.
pub fn reason(error: &Error) -> Reason {
    match error {
        Error::Validate(super::validate::Error::Url) => Reason::UrlInvalid,
        Error::Validate(super::validate::Error::Unsupported { .. }) => Reason::UnsupportedField,
        Error::Validate(super::validate::Error::Secret { .. }) | Error::Dereference(_) => {
            Reason::AuthenticationFailed
        }
        Error::Validate(super::validate::Error::Duration { .. }) | Error::Malformed(_) => {
            Reason::InvalidSpec
        }
        Error::Store(_) => Reason::StorageOperationFailed,
        Error::Fetch {
            source: fetch::Error::Fetch(failed),
            ..
        } => match failed.kind {
            FailureKind::Authentication => Reason::AuthenticationFailed,
            FailureKind::Reference
            | FailureKind::Content
            | FailureKind::Request
            | FailureKind::Transient => Reason::GitOperationFailed,
        },
        Error::Fetch { .. } => Reason::GitOperationFailed,
        Error::Finalize(_) | Error::Superseded | Error::Status(_) => Reason::Failed,
    }
}

/// The message of the object's Ready condition.
pub fn message(object: &GitRepository) -> Option<&str> {
    let conditions = &object.status.as_ref()?.conditions;
    find_condition(conditions, ConditionType::Ready).map(|condition| condition.message.as_str())
}

/// The status after a reconcile.
pub fn build(
    object: &GitRepository,
    outcome: &Result<Outcome, Error>,
    now: Timestamp,
) -> GitRepositoryStatus {
    let mut status = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    status.observed_generation = generation;
    let annotations = object.metadata.annotations.as_ref();
    status.last_handled_reconcile_at = annotations
        .and_then(|annotations| annotations.get(annotation::RECONCILE_REQUESTED_AT))
        .cloned()
        .or(status.last_handled_reconcile_at);
    let mut conditions = Conditions::new(std::mem::take(&mut status.conditions), generation, now);
    match outcome {
        Ok(outcome) => {
            if let Some(New {
                artifact,
                summary: _,
            }) = &outcome.artifact
            {
                status.artifact = Some(artifact.clone());
                status.observed_ignore.clone_from(&object.spec.ignore);
                status
                    .observed_sparse_checkout
                    .clone_from(&object.spec.sparse_checkout);
            }
            let revision = status
                .artifact
                .as_ref()
                .map_or("", |artifact| artifact.revision.as_str());
            succeed(&mut conditions, revision);
        }
        Err(error) => fail(&mut conditions, error),
    }
    status.conditions = conditions.into_vec();
    status
}

fn succeed(conditions: &mut Conditions, revision: &str) {
    use events::Reason as _;
    let message = format!("stored artifact for revision '{revision}'");
    for type_ in [ConditionType::Ready, ConditionType::ArtifactInStorage] {
        conditions.set(
            type_,
            ConditionStatus::True,
            Reason::Succeeded.as_str(),
            &message,
        );
    }
    for type_ in [
        ConditionType::FetchFailed,
        ConditionType::Reconciling,
        ConditionType::Stalled,
    ] {
        conditions.remove(type_);
    }
    conditions.remove(ConditionType::StorageOperationFailed);
}

fn fail(conditions: &mut Conditions, error: &Error) {
    use events::Reason as _;
    let (reason, message) = (reason(error).as_str(), report(error).to_string());
    let failure = match error {
        Error::Store(_) => ConditionType::StorageOperationFailed,
        _ => ConditionType::FetchFailed,
    };
    conditions.set(failure, ConditionStatus::True, reason, &message);
    conditions.set(
        ConditionType::Ready,
        ConditionStatus::False,
        reason,
        &message,
    );
    if error.class() == Class::Invalid {
        conditions.set(
            ConditionType::Stalled,
            ConditionStatus::True,
            reason,
            &message,
        );
        conditions.remove(ConditionType::Reconciling);
    } else {
        let retrying = Reason::ProgressingWithRetry.as_str();
        conditions.set(
            ConditionType::Reconciling,
            ConditionStatus::True,
            retrying,
            &message,
        );
        conditions.remove(ConditionType::Stalled);
    }
}
