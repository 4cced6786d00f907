//! Canaries that cannot be carried out: says what to fix, leaves everything as it is, and lets a
//! deletion go through.

use fairlead_controller::events::Reason;
use fairlead_crds::canary::{Canary, CanaryStatus};
use fairlead_runtime::clock;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::events::Trouble;
use super::look::micros;
use super::{Context, Error, FIELD_MANAGER, Guarded, Result, cleanup, status};

impl Context {
    /// Refuses a Canary that is readable.
    pub(super) async fn refuse(
        &self,
        api: &Api<Canary>,
        canary: Canary,
        trouble: Trouble,
        note: String,
    ) -> Result<Action> {
        if canary.metadata.deletion_timestamp.is_some() {
            cleanup::let_go(api, &canary).await?;
            return Ok(Action::await_change());
        }
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
            return Ok(Action::await_change());
        }
        let mut refused = canary.clone();
        refused.status = Some(status);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        api.replace_status(&canary.name_any(), &params, &refused)
            .await
            .map_err(|source| Error::StoreStatus(source.into()))?;
        self.teller.warn(&canary, trouble, note).await;
        Ok(Action::await_change())
    }

    /// Refuses an object that is not even a Canary by its types.
    pub(super) async fn refuse_unreadable(&self, object: &Guarded, why: &str) -> Result<Action> {
        let resource = ApiResource::erase::<Canary>(&());
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &resource);
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
