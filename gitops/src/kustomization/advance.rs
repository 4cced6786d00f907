//! The steps of one reconcile, from the source to healthy objects.
//!
//! The inventory is written before the objects that it names: see [`Work::note_intent`].

use std::time::Duration;

use fairlead_crds::kustomization::Kustomization;
use fairlead_kustomize::{Id, inventory};
use fairlead_runtime::{clock, report};
use kube::Client;

use super::apply::{self, Applied};
use super::build::{self, Built};
use super::plan::{self, Change};
use super::status::{self, Draft, Reason, Success};
use super::validate::{self, HealthScope, ValidatedKustomization};
use super::{Error, dereference, prune, wait};
use crate::artifact::reader;
use crate::context::Context;

/// One reconcile in progress.
pub(super) struct Work<'a> {
    context: &'a Context,
    object: &'a Kustomization,
    pub(super) draft: Draft,
}

impl<'a> Work<'a> {
    pub(super) fn new(context: &'a Context, object: &'a Kustomization) -> Self {
        Self {
            context,
            object,
            draft: Draft::new(object),
        }
    }

    /// The steps of a reconcile; every error ends up in the status.
    pub(super) async fn advance(&mut self) -> Result<(Success, Duration), Error> {
        let start = clock::instant();
        // Client required.
        let dereferenced = dereference::dereference(self.context, self.object)
            .await
            .map_err(Error::Dereference)?;
        // Pure.
        let retry = self.context.settings.dependency_interval;
        let kustomization = validate::validate(self.object, &dereferenced)
            .map_err(|source| Error::Validate { source, retry })?;
        self.draft.attempt(&kustomization.artifact.revision);
        let permit = self.context.workers.acquire().await;
        // HTTP, then pure.
        let built = self.build(&kustomization).await?;
        // Client required.
        let client = self.client()?;
        let (applied, mut changes) = self.apply(&kustomization, &built, &client).await?;
        changes.extend(self.prune(&kustomization, &applied, &client).await?);
        drop(permit);
        let health = self.await_health(&kustomization, &applied, &client).await?;
        let success = Success {
            revision: kustomization.artifact.revision.clone(),
            digest: built.digest.to_string(),
            took: start.elapsed(),
            health,
            changes,
        };
        Ok((success, kustomization.interval))
    }

    async fn build(&self, kustomization: &ValidatedKustomization) -> Result<Built, Error> {
        let retry = kustomization.retry_interval;
        let artifact = &kustomization.artifact;
        let tree = reader::read(
            &self.context.store,
            &self.context.http,
            &artifact.url,
            &artifact.digest,
        )
        .await
        .map_err(Error::Artifact)?;
        let kustomization = kustomization.clone();
        // It takes a processor for as long as the manifests are many.
        tokio::task::spawn_blocking(move || build::build(&tree, &kustomization))
            .await
            .map_err(Error::Panicked)?
            .map_err(|source| Error::Build { source, retry })
    }

    /// The client whose rights count.
    fn client(&self) -> Result<Client, Error> {
        let account = self.object.spec.service_account_name.as_ref();
        match account.or(self.context.settings.default_service_account.as_ref()) {
            Some(account) => {
                let namespace = self
                    .object
                    .metadata
                    .namespace
                    .as_deref()
                    .unwrap_or_default();
                self.context
                    .cluster
                    .act_as(namespace, account)
                    .map_err(Error::Act)
            }
            None => Ok(self.context.client.clone()),
        }
    }

    async fn apply(
        &mut self,
        kustomization: &ValidatedKustomization,
        built: &Built,
        client: &Client,
    ) -> Result<(Vec<Applied>, Vec<String>), Error> {
        let access = self.context.access(client);
        let planner = plan::Planner {
            access,
            force: kustomization.force,
        };
        let fail = |source| Error::Apply {
            source,
            retry: kustomization.retry_interval,
        };
        let mut applied = Vec::new();
        for (stage, resources) in &built.stages {
            let planned = planner.plan(resources).await;
            let planned = planned.map_err(|refusals| fail(apply::Error::Refused(refusals)))?;
            self.note_intent(planned.iter().map(|planned| planned.id.clone()))
                .await?;
            applied.extend(apply::write(access, *stage, planned).await.map_err(fail)?);
        }
        let changes = applied
            .iter()
            .filter_map(|Applied { id, change }| match change {
                Change::Created => Some(format!("{id} created")),
                Change::Configured => Some(format!("{id} configured")),
                Change::Unchanged | Change::Skipped => None,
            });
        let changes = changes.collect();
        Ok((applied, changes))
    }

    /// Intent before effect: from here on objects may exist that only the inventory knows.
    async fn note_intent(&mut self, wanted: impl Iterator<Item = Id>) -> Result<(), Error> {
        let mut ids = status::inventory_of(self.draft.status());
        ids.extend(wanted);
        let intent = status::inventory(&ids);
        if self.draft.status().inventory.as_ref() != Some(&intent) {
            self.draft.set_inventory(intent);
            self.save().await?;
        }
        Ok(())
    }

    async fn prune(
        &mut self,
        kustomization: &ValidatedKustomization,
        applied: &[Applied],
        client: &Client,
    ) -> Result<Vec<String>, Error> {
        let present: Vec<Id> = applied.iter().map(|applied| applied.id.clone()).collect();
        let stale = inventory::stale(&status::inventory_of(self.draft.status()), &present);
        let mut pruned = prune::Pruned::default();
        if kustomization.prune && !stale.is_empty() {
            let pruner = prune::Pruner {
                access: self.context.access(client),
                namespace: &kustomization.namespace,
                name: &kustomization.name,
                wait: None,
            };
            pruned = pruner.prune(stale).await;
        }
        self.draft
            .set_inventory(status::inventory(present.iter().chain(&pruned.left)));
        if !pruned.errors.is_empty() {
            return Err(Error::Prune {
                errors: pruned.errors,
                retry: kustomization.retry_interval,
            });
        }
        Ok(pruned
            .deleted
            .iter()
            .map(|id| format!("{id} deleted"))
            .collect())
    }

    /// Waits for health; how long that took, or none where nothing is asked for.
    async fn await_health(
        &mut self,
        kustomization: &ValidatedKustomization,
        applied: &[Applied],
        client: &Client,
    ) -> Result<Option<Duration>, Error> {
        let ids: Vec<Id> = match &kustomization.health {
            HealthScope::Nothing => return Ok(None),
            HealthScope::All => applied
                .iter()
                .filter(|applied| applied.change != Change::Skipped)
                .map(|applied| applied.id.clone())
                .collect(),
            HealthScope::Listed(ids) => ids.clone(),
        };
        let is_self = |id: &Id| {
            (id.kind.as_str(), &id.namespace, &id.name)
                == (
                    "Kustomization",
                    &kustomization.namespace,
                    &kustomization.name,
                )
        };
        let ids: Vec<Id> = ids.into_iter().filter(|id| !is_self(id)).collect();
        let start = clock::instant();
        let revision = &kustomization.artifact.revision;
        let limit = kustomization.timeout;
        let message =
            format!("Running health checks for revision {revision} with a timeout of {limit:?}");
        self.draft.progress(&message, clock::now());
        self.save().await?;
        let context = self.context;
        let healthy = wait::until_healthy(context.access(client), &ids, limit);
        let newer = Box::pin(crate::watch::newer(context, self.object, revision));
        let outcome = tokio::select! {
            outcome = healthy => outcome,
            () = newer => return Err(Error::Superseded),
        };
        let took = start.elapsed();
        outcome.map_err(|source| Error::Health {
            source,
            took,
            retry: kustomization.retry_interval,
        })?;
        Ok(Some(took))
    }

    pub(super) async fn save(&self) -> Result<(), Error> {
        if self.object.status.as_ref() == Some(self.draft.status()) {
            return Ok(());
        }
        self.context
            .applier
            .apply_status(self.object, self.draft.status())
            .await
            .map_err(Error::Status)
    }

    pub(super) async fn publish(&self, outcome: &Result<(Success, Duration), Error>) {
        let (reason, note) = match outcome {
            Ok((Success { changes, .. }, _)) if changes.is_empty() => return,
            Ok((
                Success {
                    changes, revision, ..
                },
                _,
            )) => {
                let note = format!("Applied revision: {revision}\n{}", changes.join("\n"));
                (Reason::ReconciliationSucceeded, note)
            }
            // Its source has only just been made, as a rule.
            Err(Error::Validate {
                source: validate::Error::NoArtifact(_),
                ..
            }) => return,
            Err(error) => {
                let note = report(error).to_string();
                // The same failure again is in the status already.
                if status::message(self.object) == Some(note.as_str()) {
                    return;
                }
                let attempted = self.draft.status().last_attempted_revision.as_deref();
                let revision = attempted.map(|revision| format!("revision {revision}: "));
                (
                    status::reason(error),
                    format!("{}{note}", revision.unwrap_or_default()),
                )
            }
        };
        self.context
            .recorder
            .publish(self.object, reason, note)
            .await;
    }
}
