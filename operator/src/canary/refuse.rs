//! Canaries that cannot be carried out: says what to fix, leaves everything as it is, and lets a
//! deletion go through.

use fairlead_controller::events::Reason;
use fairlead_crds::canary::{Canary, CanaryStatus};
use fairlead_runtime::clock;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::events::Trouble;
use super::look::micros;
use super::{Context, Error, FIELD_MANAGER, Guarded, HELD_POLL, Result, cleanup, status};

impl Context {
    /// Refuses a Canary that is readable.
    pub(super) async fn refuse(
        &self,
        api: &Api<Canary>,
        canary: Canary,
        trouble: Trouble,
        note: String,
    ) -> Result<Action> {
        let name = canary.name_any();
        let namespace = canary.namespace().unwrap_or_default();
        self.memory
            .release(&ObjectRef::new(&name).within(&namespace));
        if canary.metadata.deletion_timestamp.is_some() {
            cleanup::let_go(api, &canary).await?;
            return Ok(Action::await_change());
        }
        let next = match trouble {
            // The other one may be changed, or go, without anything of this one being touched.
            Trouble::TargetTaken => Action::requeue(HELD_POLL),
            _ => Action::await_change(),
        };
        let mut status = canary.status.clone().unwrap_or_default();
        let report = status::Report {
            message: &note,
            trouble: Some(status::Trouble::Stalled(trouble.as_str())),
            inert: &[],
            generation: canary.metadata.generation,
            now: micros(clock::now()),
        };
        status::conclude(&mut status, &report);
        if canary.status.as_ref() == Some(&status) {
            return Ok(next);
        }
        let mut refused = canary.clone();
        refused.status = Some(status);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        api.replace_status(&name, &params, &refused)
            .await
            .map_err(|source| Error::StoreStatus(source.into()))?;
        self.teller.warn(&canary, trouble, note).await;
        Ok(next)
    }

    /// Refuses an object that is not even a Canary by its types.
    pub(super) async fn refuse_unreadable(&self, object: &Guarded, why: &str) -> Result<Action> {
        let resource = ApiResource::erase::<Canary>(&());
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client.clone(), &namespace, &resource);
        if object.meta().deletion_timestamp.is_some() {
            cleanup::let_go(&api, object).await?;
            return Ok(Action::await_change());
        }
        let mut status = CanaryStatus::default();
        let report = status::Report {
            message: why,
            trouble: Some(status::Trouble::Stalled("Unreadable")),
            inert: &[],
            generation: object.meta().generation,
            now: micros(clock::now()),
        };
        status::conclude(&mut status, &report);
        let patch = json!({ "status": { "conditions": status.conditions } });
        api.patch_status(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
        .map_err(|source| Error::StoreStatus(source.into()))?;
        Ok(Action::await_change())
    }
}
