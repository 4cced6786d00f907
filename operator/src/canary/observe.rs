//! Looks at the cluster and says what the machine must know. Reads only.
//!
//! Everything is read from the API server and not from caches: a weight may only rise on what was
//! true after the last change.

use std::collections::BTreeMap;

use fairlead_controller::ApiError;
use fairlead_rollout::{
    Answer, Counted, Inheritance, Observation, Phase, Request, Revision, Role as Side, State,
};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::PodSpec;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::objects::{self, Role};
use super::revision::compose;
use super::takeover::{self, Incumbent};
use super::validate::Validated;
use crate::router::{self, Provider, Router, Routes, includes};
use crate::workload::autoscaler;
use crate::workload::configs::{self, Configs};
use crate::workload::{self, Snapshot, Workload};

/// Why the cluster could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server did not give something.
    #[error("failed to read {object}")]
    Read {
        /// What.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// A workload.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// The routes.
    #[error(transparent)]
    Router(#[from] router::Error),
}

/// What was seen, with what is needed to act on it.
pub(super) struct World {
    /// For the machine.
    pub(super) observation: Observation,
    /// The target.
    pub(super) target: Option<Snapshot>,
    /// The primary.
    pub(super) primary: Option<Snapshot>,
    /// The routes.
    pub(super) routes: Routes,
    /// The configs of the target's template.
    pub(super) configs: Option<Configs>,
    /// The apex Service as it is.
    pub(super) apex: Option<Value>,
    /// The target's autoscaler.
    pub(super) autoscaler: Option<Value>,
}

impl World {
    /// The hashes of the tracked configs.
    pub(super) fn hashes(&self) -> BTreeMap<String, String> {
        self.configs
            .as_ref()
            .map(Configs::hashes)
            .unwrap_or_default()
    }
}

/// What came in since the last look, beside what is read now.
#[derive(Default)]
pub(super) struct Heard {
    /// Answers to questions.
    pub(super) answers: Vec<Answer>,
    /// What was counted for the judgement.
    pub(super) counted: Option<Counted>,
    /// What a person wants.
    pub(super) command: Option<Request>,
}

/// Reads what concerns one Canary.
#[derive(Clone, Copy)]
pub(super) struct Observer<'a> {
    /// The cluster.
    pub(super) client: &'a Client,
    /// The kind of its workloads.
    pub(super) workload: &'a dyn Workload,
    /// The kind of its routes.
    pub(super) router: &'a dyn Router,
    /// The Canary.
    pub(super) plan: &'a Validated,
    /// What is wrong with its spec, when the plan is that of an earlier one.
    pub(super) invalid: Option<&'a str>,
    /// Whether a Flagger that still runs matters.
    pub(super) incumbent: Incumbent,
}

impl Observer<'_> {
    /// Looks once.
    pub(super) async fn observe(
        &self,
        heard: Heard,
        deleting: bool,
        state: &State,
    ) -> Result<World, Error> {
        let plan = self.plan;
        let Heard {
            answers,
            counted,
            command,
        } = heard;
        let (target, primary, routes, endpoints, objects, scalers) = tokio::try_join!(
            async { self.workload.target(&plan.names).await.map_err(Error::from) },
            async {
                self.workload
                    .primary(&plan.names)
                    .await
                    .map_err(Error::from)
            },
            async { self.router.read(&plan.route).await.map_err(Error::from) },
            self.endpoints(),
            self.objects(),
            self.scalers(),
        )?;
        let (configs, mut revision) = self.revision(target.as_ref()).await?;
        if let Some(why) = self.missing_autoscaler(scalers.as_ref()) {
            revision = Err(why);
        }
        let [apex, ..] = &objects.services;
        let pod = template_pod(target.as_ref());
        let in_place = |role: Role| self.is_in_place(role, &objects, target.as_ref(), pod);
        let apex_in_place = in_place(Role::Apex);
        let leads_to_us = selects_primary(apex.as_ref(), target.as_ref());
        let canary = self
            .canary(
                target.as_ref(),
                endpoints.canary,
                revision.as_ref().ok(),
                state,
            )
            .await?;
        let inheritance = self
            .inheritance(state, target.as_ref(), configs.as_ref())
            .await?;
        let observation = Observation {
            revision,
            canary,
            primary: primary.as_ref().map(|primary| {
                side(
                    primary,
                    endpoints.primary,
                    plan.thresholds.primary,
                    primary.revision.as_ref(),
                )
            }),
            autoscaler_minimum: scalers.as_ref().map(Scalers::minimum),
            prepared: in_place(Role::Primary)
                && in_place(Role::Canary)
                && self.scaler_stands(scalers.as_ref()),
            split: routes.split.filter(|_| leads_to_us),
            routes_current: routes.current && apex_in_place,
            acked: routes.acked,
            answers,
            counted,
            deleting,
            inheritance,
            invalid: self
                .invalid
                .map(ToOwned::to_owned)
                .or_else(|| routes.conflict.clone()),
            command,
        };
        let apex = apex.clone();
        Ok(World {
            observation,
            target,
            primary,
            routes,
            configs,
            apex,
            autoscaler: scalers.and_then(|scalers| scalers.target),
        })
    }

    /// What to say of an autoscaler that is named and is not there.
    fn missing_autoscaler(&self, scalers: Option<&Scalers>) -> Option<String> {
        let (Scalers { target: None, .. }, Some(autoscaler)) = (scalers?, &self.plan.autoscaler)
        else {
            return None;
        };
        Some(format!(
            "the autoscaler `{}` does not exist",
            autoscaler.name
        ))
    }

    /// The canary's side, with what its pods say where that matters.
    async fn canary(
        &self,
        target: Option<&Snapshot>,
        endpoints: u32,
        revision: Option<&Revision>,
        state: &State,
    ) -> Result<Option<Side>, Error> {
        let Some(target) = target else {
            return Ok(None);
        };
        let mut canary = side(target, endpoints, self.plan.thresholds.canary, revision);
        if is_in_flight(state) {
            self.notice_crashes(&mut canary, target).await?;
        }
        Ok(Some(canary))
    }

    /// What another controller left, as long as it is not ours.
    async fn inheritance(
        &self,
        state: &State,
        target: Option<&Snapshot>,
        configs: Option<&Configs>,
    ) -> Result<Option<Inheritance>, Error> {
        if !state.is_foreign() {
            return Ok(None);
        }
        if self.incumbent == Incumbent::Heeded
            && let Some(objection) = takeover::objection(self.client).await?
        {
            return Ok(Some(objection));
        }
        let resource = self.plan.kind.resource();
        let names = &self.plan.names;
        let left = takeover::inheritance(self.client, &resource, names, target, configs);
        Ok(Some(left.await?))
    }

    /// The target's revision: its template's identity, and a hash of its configs.
    async fn revision(
        &self,
        target: Option<&Snapshot>,
    ) -> Result<(Option<Configs>, Result<Revision, String>), Error> {
        let Some(target) = target else {
            return Ok((None, Err("the target does not exist".to_owned())));
        };
        let template = match &target.template {
            Ok(template) => template,
            Err(why) => return Ok((None, Err(why.clone()))),
        };
        let pod = template.spec.spec.clone().unwrap_or_default();
        match Configs::read(self.client, &self.plan.names.namespace, &pod).await {
            Ok(configs) => {
                let revision = compose(&template.identity, &configs.hashes());
                Ok((Some(configs), Ok(revision)))
            }
            // What is not there is no change: it is waited for.
            Err(error @ configs::Error::Missing(_)) => Ok((None, Err(error.to_string()))),
            Err(error) => Err(workload::Error::from(error).into()),
        }
    }

    async fn objects(&self) -> Result<Objects, Error> {
        let plan = &self.plan.route;
        let services = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
        let rules = ApiResource::from_gvk_with_plural(&kind, "destinationrules");
        let (apex, primary, canary, primary_rule, canary_rule) = tokio::try_join!(
            self.find(&services, &plan.apex),
            self.find(&services, &plan.primary),
            self.find(&services, &plan.canary),
            self.find_rule(&rules, &plan.primary),
            self.find_rule(&rules, &plan.canary),
        )?;
        Ok(Objects {
            services: [apex, primary, canary],
            rules: [primary_rule, canary_rule],
        })
    }

    /// A mesh's rule; other providers have none, and may not know the kind.
    async fn find_rule(&self, rules: &ApiResource, name: &str) -> Result<Option<Value>, Error> {
        match self.plan.route.provider {
            Provider::Istio => self.find(rules, name).await,
            Provider::Kubernetes | Provider::GatewayApi { .. } => Ok(None),
        }
    }

    async fn find(&self, resource: &ApiResource, name: &str) -> Result<Option<Value>, Error> {
        let namespace = &self.plan.route.namespace;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, resource);
        let object = || format!("{} `{namespace}/{name}`", resource.kind);
        let found = api.get_opt(name).await.map_err(|source| Error::Read {
            object: object(),
            source: source.into(),
        })?;
        found
            .map(serde_json::to_value)
            .transpose()
            .map_err(|source| {
                workload::Error::Convert {
                    object: object(),
                    source,
                }
                .into()
            })
    }

    /// The target's autoscaler and the primary's, when the Canary names one.
    async fn scalers(&self) -> Result<Option<Scalers>, Error> {
        let Some(autoscaler) = &self.plan.autoscaler else {
            return Ok(None);
        };
        let resource = ApiResource::erase::<HorizontalPodAutoscaler>(&());
        let copy = format!("{}-primary", autoscaler.name);
        let (target, primary) = tokio::try_join!(
            self.find(&resource, &autoscaler.name),
            self.find(&resource, &copy)
        )?;
        Ok(Some(Scalers { target, primary }))
    }

    /// Whether the primary's autoscaler is the copy that it should be.
    fn scaler_stands(&self, scalers: Option<&Scalers>) -> bool {
        let (Some(scalers), Some(autoscaler)) = (scalers, &self.plan.autoscaler) else {
            return true;
        };
        let Some(target) = &scalers.target else {
            return true;
        };
        let plan = self.plan;
        let wanted = autoscaler::primary(
            target,
            &plan.names.primary,
            autoscaler.limits,
            &plan.route.owner,
        );
        let live = scalers.primary.as_ref();
        live.is_some_and(|live| includes(&live["spec"], &wanted["spec"]))
    }

    fn is_in_place(
        &self,
        role: Role,
        objects: &Objects,
        target: Option<&Snapshot>,
        pod: Option<&PodSpec>,
    ) -> bool {
        // Without a target nobody knows what to select: things stay as they are.
        let Some(target) = target else { return true };
        let plan = &self.plan.route;
        let [apex, primary, canary] = &objects.services;
        let [primary_rule, canary_rule] = &objects.rules;
        let (live, rule) = match role {
            Role::Apex => (apex, None),
            Role::Primary => (primary, Some(primary_rule)),
            Role::Canary => (canary, Some(canary_rule)),
        };
        let Some(live) = live else { return false };
        let is_ours = objects::is_owned(live, &plan.owner);
        let wanted = objects::service(role, plan, &target.selector, pod, is_ours);
        let rule = rule.filter(|_| plan.provider == Provider::Istio);
        let rule_stands = rule.is_none_or(|live| {
            let wanted = objects::destination_rule(role, plan);
            live.as_ref()
                .is_some_and(|live| includes(&live["spec"], &wanted["spec"]))
        });
        rule_stands && service_stands(live, &wanted)
    }
}

const fn is_in_flight(state: &State) -> bool {
    matches!(
        state.phase,
        Some(Phase::Progressing | Phase::WaitingPromotion)
    )
}

/// Whether the apex Service leads to the primary.
fn selects_primary(apex: Option<&Value>, target: Option<&Snapshot>) -> bool {
    let Some(apex) = apex else { return false };
    let Some(target) = target else { return true };
    apex["spec"]["selector"][&target.selector.key] == target.selector.primary_value()
}

struct Scalers {
    target: Option<Value>,
    primary: Option<Value>,
}

impl Scalers {
    /// The fewest replicas that the target's autoscaler keeps.
    fn minimum(&self) -> u32 {
        let minimum = self
            .target
            .as_ref()
            .and_then(|target| target["spec"]["minReplicas"].as_u64());
        minimum
            .and_then(|minimum| u32::try_from(minimum).ok())
            .unwrap_or(1)
    }
}

struct Objects {
    services: [Option<Value>; 3],
    rules: [Option<Value>; 2],
}

fn side(snapshot: &Snapshot, endpoints: u32, threshold: u32, revision: Option<&Revision>) -> Side {
    let updated = if snapshot.updated == 0 {
        snapshot.desired
    } else {
        snapshot.updated
    };
    Side {
        desired: snapshot.desired,
        readiness: snapshot.readiness.clone(),
        endpoints,
        needed: needed(updated, threshold),
        revision: revision.cloned(),
    }
}

/// The ready endpoints that `threshold` percent of the replicas make; at least one.
fn needed(replicas: u32, threshold: u32) -> u32 {
    let share = u64::from(replicas) * u64::from(threshold) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

fn template_pod(target: Option<&Snapshot>) -> Option<&PodSpec> {
    target?.template.as_ref().ok()?.spec.spec.as_ref()
}

/// Selector as wanted, each wanted port there, annotations set.
fn service_stands(live: &Value, wanted: &Value) -> bool {
    let has = |port: &Value| {
        let ports = live["spec"]["ports"].as_array();
        ports
            .into_iter()
            .flatten()
            .any(|found| includes(found, port))
    };
    live["spec"]["selector"] == wanted["spec"]["selector"]
        && wanted["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .all(has)
        && includes(
            &live["metadata"]["annotations"],
            &wanted["metadata"]["annotations"],
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_replicas_has_a_share() {
        assert_eq!(needed(0, 100), 1);
        assert_eq!(needed(3, 50), 1);
        assert_eq!(needed(10, 75), 7);
        assert_eq!(needed(u32::MAX, 100), u32::MAX);
    }
}
