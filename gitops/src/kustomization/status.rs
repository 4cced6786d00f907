//! The status of a Kustomization and the reasons of its events, as Flux has them. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_controller::conditions::Conditions;
use fairlead_controller::{Class, Failure as _, events};
use fairlead_crds::kustomization::{
    Inventory, InventoryEntry, Kustomization, KustomizationStatus, Snapshot,
};
use fairlead_crds::{ConditionStatus, ConditionType, annotation, find_condition};
use fairlead_kustomize::{Id, inventory};
use fairlead_runtime::report;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Error, validate};

/// Entries of the history that are kept.
const HISTORY: usize = 5;

/// Reasons of conditions and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All is applied.
    ReconciliationSucceeded,
    /// Something was refused.
    ReconciliationFailed,
    /// It failed, and is tried again.
    ProgressingWithRetry,
    /// It is being worked on.
    Progressing,
    /// The source has nothing yet.
    ArtifactFailed,
    /// The manifests are wrong.
    BuildFailed,
    /// An object could not be deleted.
    PruneFailed,
    /// Objects did not become healthy.
    HealthCheckFailed,
    /// A newer revision made the health of this one uninteresting.
    HealthCheckCanceled,
    /// Objects are healthy.
    Succeeded,
    /// A dependency is not ready.
    DependencyNotReady,
    /// The path is not in the source.
    InvalidPath,
    /// A reference is not allowed.
    AccessDenied,
    /// The spec asks for what is not done here.
    UnsupportedField,
    /// The spec makes no sense.
    InvalidSpec,
}

impl events::Reason for Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::ReconciliationSucceeded => "ReconciliationSucceeded",
            Self::ReconciliationFailed => "ReconciliationFailed",
            Self::ProgressingWithRetry => "ProgressingWithRetry",
            Self::Progressing => "Progressing",
            Self::ArtifactFailed => "ArtifactFailed",
            Self::BuildFailed => "BuildFailed",
            Self::PruneFailed => "PruneFailed",
            Self::HealthCheckFailed => "HealthCheckFailed",
            Self::HealthCheckCanceled => "HealthCheckCanceled",
            Self::Succeeded => "Succeeded",
            Self::DependencyNotReady => "DependencyNotReady",
            Self::InvalidPath => "InvalidPath",
            Self::AccessDenied => "AccessDenied",
            Self::UnsupportedField => "UnsupportedField",
            Self::InvalidSpec => "InvalidSpec",
        }
    }

    fn action(self) -> &'static str {
        "Reconcile"
    }

    fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::ReconciliationSucceeded
                | Self::Progressing
                | Self::Succeeded
                | Self::HealthCheckCanceled
                | Self::DependencyNotReady
        )
    }
}

/// Why, in one word, a reconcile failed.
pub fn reason(error: &Error) -> Reason {
    use super::{build, dereference};
    match error {
        Error::Malformed(_) => Reason::InvalidSpec,
        Error::Dereference(dereference::Error::CrossNamespace { .. }) => Reason::AccessDenied,
        Error::Dereference(_) | Error::Artifact(_) => Reason::ArtifactFailed,
        Error::Validate { source, .. } => match source {
            validate::Error::Unsupported { .. } => Reason::UnsupportedField,
            validate::Error::NoArtifact(_) => Reason::ArtifactFailed,
            validate::Error::Dependency { .. } | validate::Error::Cycle => {
                Reason::DependencyNotReady
            }
            validate::Error::Duration { .. } | validate::Error::Variables(_) => Reason::InvalidSpec,
        },
        Error::Build {
            source: build::Error::Path(_),
            ..
        } => Reason::InvalidPath,
        Error::Build { .. } | Error::Panicked(_) => Reason::BuildFailed,
        Error::Apply { .. } | Error::Act(_) | Error::Finalize(_) | Error::Status(_) => {
            Reason::ReconciliationFailed
        }
        Error::Prune { .. } => Reason::PruneFailed,
        Error::Health { .. } => Reason::HealthCheckFailed,
        Error::Superseded => Reason::HealthCheckCanceled,
    }
}

/// The message of the object's Ready condition.
pub fn message(object: &Kustomization) -> Option<&str> {
    let conditions = &object.status.as_ref()?.conditions;
    find_condition(conditions, ConditionType::Ready).map(|condition| condition.message.as_str())
}

/// What the status says was applied. Entries that are none are left out: nothing could be done
/// with them.
pub fn inventory_of(status: &KustomizationStatus) -> Vec<Id> {
    let entries = status
        .inventory
        .iter()
        .flat_map(|inventory| &inventory.entries);
    entries
        .filter_map(|entry| inventory::parse_entry(&entry.id, &entry.v).ok())
        .collect()
}

/// The inventory of these objects, sorted, each once.
pub fn inventory<'a>(ids: impl IntoIterator<Item = &'a Id>) -> Inventory {
    let entries: BTreeMap<String, String> = ids
        .into_iter()
        .map(|id| (inventory::entry_id(id), id.version.clone()))
        .collect();
    Inventory {
        entries: entries
            .into_iter()
            .map(|(id, v)| InventoryEntry { id, v })
            .collect(),
    }
}

/// The status of a Kustomization in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    status: KustomizationStatus,
    generation: Option<i64>,
}

impl Draft {
    /// Starts from what the object's status holds now.
    pub fn new(object: &Kustomization) -> Self {
        Self {
            status: object.status.clone().unwrap_or_default(),
            generation: object.metadata.generation,
        }
    }

    /// The status as it stands.
    pub fn status(&self) -> &KustomizationStatus {
        &self.status
    }

    /// Notes which objects may be in the cluster because of us.
    pub fn set_inventory(&mut self, inventory: Inventory) {
        self.status.inventory = Some(inventory);
    }

    /// Notes which revision is worked on.
    pub fn attempt(&mut self, revision: &str) {
        self.status.last_attempted_revision = Some(revision.to_owned());
    }

    /// The work goes on for a while.
    pub fn progress(&mut self, message: &str, now: Timestamp) {
        use events::Reason as _;
        let reason = Reason::Progressing.as_str();
        self.change(now, |conditions| {
            conditions.set(
                ConditionType::Reconciling,
                ConditionStatus::True,
                reason,
                message,
            );
            conditions.set(
                ConditionType::Ready,
                ConditionStatus::Unknown,
                reason,
                message,
            );
        });
    }

    /// The spec was looked at, and so was a request for that.
    fn observe(&mut self, object: &Kustomization) {
        self.status.observed_generation = self.generation;
        let annotations = object.metadata.annotations.as_ref();
        if let Some(token) = annotations.and_then(|all| all.get(annotation::RECONCILE_REQUESTED_AT))
        {
            self.status.last_handled_reconcile_at = Some(token.clone());
        }
    }

    /// All went well.
    pub fn succeed(&mut self, object: &Kustomization, success: &Success, now: Timestamp) {
        use events::Reason as _;
        self.observe(object);
        self.status.last_applied_revision = Some(success.revision.clone());
        let message = format!("Applied revision: {}", success.revision);
        self.change(now, |conditions| {
            conditions
                .remove(ConditionType::Reconciling)
                .remove(ConditionType::Stalled);
            conditions.set(
                ConditionType::Ready,
                ConditionStatus::True,
                Reason::ReconciliationSucceeded.as_str(),
                message,
            );
            match success.health {
                Some(took) => {
                    let message = format!("Health check passed in {took:.1?}");
                    conditions.set(
                        ConditionType::Healthy,
                        ConditionStatus::True,
                        Reason::Succeeded.as_str(),
                        message,
                    );
                }
                None => {
                    conditions.remove(ConditionType::Healthy);
                }
            }
        });
        self.remember(success, now);
    }

    /// Something failed; what was applied before stays.
    pub fn fail(&mut self, object: &Kustomization, error: &Error, now: Timestamp) {
        use events::Reason as _;
        self.observe(object);
        let (reason, message) = (reason(error), report(error).to_string());
        let is_final = error.class() == Class::Invalid;
        self.change(now, |conditions| {
            conditions.set(
                ConditionType::Ready,
                ConditionStatus::False,
                reason.as_str(),
                &message,
            );
            if matches!(error, Error::Health { .. }) {
                conditions.set(
                    ConditionType::Healthy,
                    ConditionStatus::False,
                    reason.as_str(),
                    &message,
                );
            }
            if is_final {
                conditions.set(
                    ConditionType::Stalled,
                    ConditionStatus::True,
                    reason.as_str(),
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
        });
    }

    fn change(&mut self, now: Timestamp, change: impl FnOnce(&mut Conditions)) {
        let current = std::mem::take(&mut self.status.conditions);
        let mut conditions = Conditions::new(current, self.generation, now);
        change(&mut conditions);
        self.status.conditions = conditions.into_vec();
    }

    /// Adds to the history, or to its newest entry when that is the same build.
    ///
    /// An unchanged build of an unchanged revision is not counted, so that a look at a cluster that
    /// is as it should be writes nothing.
    fn remember(&mut self, success: &Success, now: Timestamp) {
        let duration = format!("{}ms", success.took.as_millis());
        let metadata = BTreeMap::from([("revision".to_owned(), success.revision.clone())]);
        let history = &mut self.status.history;
        let newest = history
            .first_mut()
            .filter(|newest| newest.digest == success.digest);
        if let Some(newest) = newest {
            if newest.metadata != metadata {
                newest.last_reconciled = Time(now);
                newest.last_reconciled_duration = duration;
                newest.total_reconciliations += 1;
                newest.metadata = metadata;
            }
            return;
        }
        let snapshot = Snapshot {
            digest: success.digest.clone(),
            first_reconciled: Time(now),
            last_reconciled: Time(now),
            last_reconciled_duration: duration,
            last_reconciled_status: "ReconciliationSucceeded".to_owned(),
            metadata,
            total_reconciliations: 1,
        };
        history.insert(0, snapshot);
        history.truncate(HISTORY);
    }
}

/// What a reconcile came to.
#[derive(Clone, Debug)]
pub struct Success {
    /// The revision that is in the cluster now.
    pub revision: String,
    /// Hash of its objects.
    pub digest: String,
    /// How long the whole took.
    pub took: Duration,
    /// How long the objects took to become healthy, where that was asked for.
    pub health: Option<Duration>,
    /// Objects that were written or deleted, in words.
    pub changes: Vec<String>,
}
