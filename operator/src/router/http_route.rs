//! HTTPRoutes of the Gateway API, made and kept by the Canary.
//!
//! See the [specification](https://gateway-api.sigs.k8s.io/reference/spec/#httproute).

mod bound;
mod build;
mod matches;

use fairlead_rollout::Split;
use futures::future::BoxFuture;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;

pub(super) use self::build::validate;

use super::{Error, Provider, RoutePlan, Router, Routes, is_ours};
use crate::canary::FIELD_MANAGER;

/// The kind that is written.
pub fn resource(version: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", version, "HTTPRoute");
    ApiResource::from_gvk_with_plural(&kind, "httproutes")
}

/// Divides traffic by the weights of an HTTPRoute.
#[derive(Clone)]
pub(super) struct HttpRoutes {
    client: Client,
}

impl std::fmt::Debug for HttpRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRoutes").finish_non_exhaustive()
    }
}

impl HttpRoutes {
    /// Uses `client`.
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, plan: &RoutePlan) -> Api<DynamicObject> {
        let resource = resource(version(plan));
        Api::namespaced_with(self.client.clone(), &plan.namespace, &resource)
    }
}

fn version(plan: &RoutePlan) -> &'static str {
    match plan.provider {
        Provider::GatewayApi { version } => version,
        Provider::Istio | Provider::Kubernetes => "v1",
    }
}

fn describe(plan: &RoutePlan) -> String {
    format!("HTTPRoute `{}/{}`", plan.namespace, plan.apex)
}

/// What an HTTPRoute holds.
fn read(plan: &RoutePlan, found: &DynamicObject) -> Routes {
    let routes = if is_ours(found, &plan.owner) {
        build::read(plan, found)
    } else {
        Routes {
            conflict: Some(format!(
                "`spec.service.name`: {} is not ours; remove it, or give the Canary another name",
                describe(plan)
            )),
            ..Routes::default()
        }
    };
    Routes {
        acked: is_accepted(found),
        version: found.resource_version(),
        ..routes
    }
}

impl Router for HttpRoutes {
    fn read<'a>(&'a self, plan: &'a RoutePlan) -> BoxFuture<'a, Result<Routes, Error>> {
        Box::pin(async move {
            let found = self.api(plan).get_opt(&plan.apex).await;
            let found = found.map_err(|source| Error::Read {
                object: describe(plan),
                source: source.into(),
            })?;
            Ok(found.map_or_else(Routes::default, |found| read(plan, &found)))
        })
    }

    fn write<'a>(
        &'a self,
        plan: &'a RoutePlan,
        split: Split,
        seen: &'a Routes,
    ) -> BoxFuture<'a, Result<Routes, Error>> {
        Box::pin(async move {
            let object = build::build(plan, version(plan), split, seen.version.as_deref());
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let patched = self
                .api(plan)
                .patch(&plan.apex, &params, &Patch::Apply(object))
                .await;
            let written = patched.map_err(|source| Error::Write {
                object: describe(plan),
                source: source.into(),
            })?;
            Ok(read(plan, &written))
        })
    }

    /// The object goes with its owner, once the Canary is gone and the target serves.
    fn give_back<'a>(&'a self, _plan: &'a RoutePlan) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(futures::future::ready(Ok(())))
    }
}

/// Whether each gateway has accepted this generation.
fn is_accepted(object: &DynamicObject) -> bool {
    let generation = object.metadata.generation.unwrap_or_default();
    let parents = object.data["status"]["parents"].as_array();
    let accepts = |parent: &Value| {
        let mut conditions = parent["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| {
            condition["type"] == "Accepted"
                && condition["status"] == "True"
                && condition["observedGeneration"].as_i64() >= Some(generation)
        })
    };
    parents.is_some_and(|parents| !parents.is_empty() && parents.iter().all(accepts))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_weight_is_in_effect_when_every_gateway_has_accepted_its_generation() {
        let accepted = |generations: &[i64]| {
            let mut object = DynamicObject::new("podinfo", &resource("v1"));
            object.metadata.generation = Some(2);
            let parent = |generation: &i64| {
                json!({ "conditions": [
                    { "type": "Accepted", "status": "True", "observedGeneration": generation },
                ] })
            };
            let parents: Vec<_> = generations.iter().map(parent).collect();
            object.data = json!({ "status": { "parents": parents } });
            is_accepted(&object)
        };
        assert!(accepted(&[2, 3]));
        assert!(!accepted(&[2, 1]));
        assert!(!accepted(&[]));
    }
}
