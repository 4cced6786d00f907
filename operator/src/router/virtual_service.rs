//! VirtualServices of Istio's API: ours in full, or the routes to the apex in someone else's.
//!
//! They are handled as JSON, so that fields that no type of ours knows survive every change.

mod adopted;
mod bound;
mod chosen;
mod created;
mod settings;

use fairlead_rollout::Split;
use futures::future::BoxFuture;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::{Error, RoutePlan, Router, Routes, is_ours};
use crate::canary::FIELD_MANAGER;

/// The kind that is written.
fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    ApiResource::from_gvk_with_plural(&kind, "virtualservices")
}

/// Divides traffic by the weights of a VirtualService.
#[derive(Clone)]
pub(super) struct VirtualServices {
    client: Client,
}

impl std::fmt::Debug for VirtualServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualServices").finish_non_exhaustive()
    }
}

impl VirtualServices {
    /// Uses `client`.
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource())
    }

    async fn find(&self, plan: &RoutePlan) -> Result<Option<DynamicObject>, Error> {
        self.api(&plan.namespace)
            .get_opt(&plan.apex)
            .await
            .map_err(|source| Error::Read {
                object: describe(plan),
                source: source.into(),
            })
    }

    async fn patch<P: serde::Serialize + std::fmt::Debug>(
        &self,
        plan: &RoutePlan,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<DynamicObject, Error> {
        let patched = self
            .api(&plan.namespace)
            .patch(&plan.apex, params, patch)
            .await;
        patched.map_err(|source| Error::Write {
            object: describe(plan),
            source: source.into(),
        })
    }

    /// Writes the routes to the apex in a VirtualService that is not ours.
    async fn patch_adopted(
        &self,
        plan: &RoutePlan,
        patch: json_patch::Patch,
    ) -> Result<DynamicObject, Error> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.patch(plan, &params, &Patch::<()>::Json(patch)).await
    }
}

/// What a VirtualService holds.
fn read(plan: &RoutePlan, found: DynamicObject) -> Routes {
    let is_ours = is_ours(&found, &plan.owner);
    let routes = if is_ours {
        created::read(plan, &found)
    } else {
        adopted::read(plan, &found)
    };
    Routes {
        acked: is_acked(&found),
        version: found.resource_version(),
        foreign: (!is_ours).then(|| Box::new(found)),
        ..routes
    }
}

impl Router for VirtualServices {
    fn read<'a>(&'a self, plan: &'a RoutePlan) -> BoxFuture<'a, Result<Routes, Error>> {
        Box::pin(async move {
            let found = self.find(plan).await?;
            Ok(found.map_or_else(Routes::default, |found| read(plan, found)))
        })
    }

    fn write<'a>(
        &'a self,
        plan: &'a RoutePlan,
        split: Split,
        seen: &'a Routes,
    ) -> BoxFuture<'a, Result<Routes, Error>> {
        Box::pin(async move {
            let version = seen.version.as_deref();
            let written = if let Some(found) = &seen.foreign {
                let patch = adopted::patch(plan, found, split, version)?;
                self.patch_adopted(plan, patch).await?
            } else {
                let object = created::build(plan, split, version);
                let params = PatchParams::apply(FIELD_MANAGER).force();
                self.patch(plan, &params, &Patch::Apply(object)).await?
            };
            Ok(read(plan, written))
        })
    }

    fn give_back<'a>(&'a self, plan: &'a RoutePlan) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let Some(found) = self.find(plan).await? else {
                return Ok(());
            };
            if !is_ours(&found, &plan.owner) {
                return match adopted::restore(plan, &found) {
                    Some(patch) => self.patch_adopted(plan, patch).await.map(drop),
                    None => Ok(()),
                };
            }
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: found.uid(),
                resource_version: None,
            });
            match self.api(&plan.namespace).delete(&plan.apex, &params).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                Err(source) => Err(Error::Write {
                    object: describe(plan),
                    source: source.into(),
                }),
            }
        })
    }
}

fn describe(plan: &RoutePlan) -> String {
    format!("VirtualService `{}/{}`", plan.namespace, plan.apex)
}

/// Whether the control plane has seen every proxy take this generation.
fn is_acked(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let generation = object.metadata.generation.unwrap_or_default();
    let reconciled = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Reconciled" && condition["status"] == "True");
    reconciled && number(&status["observedGeneration"]).is_some_and(|seen| seen >= generation)
}

/// A number, or the text of one: Istio's API has had both.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
