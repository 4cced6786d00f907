//! What is read of the cluster for one Canary, part by part. Reads only.
//!
//! A part that is known already is not read again; who may rely on that is decided by the look.

use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use serde_json::Value;

use super::objects;
use super::observe::{Error, Observer};
use super::pods::Endpoints;
use crate::router::{Provider, Routes};
use crate::workload::configs::{self, Configs};
use crate::workload::{self, Snapshot};

/// A part of what a look reads; a watch tells when it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Target and primary.
    Workloads,
    /// What divides the traffic.
    Routes,
    /// The ready endpoints of both roles.
    Endpoints,
    /// Services and DestinationRules.
    Objects,
    /// The autoscalers of target and primary.
    Scalers,
    /// The configs of the target's template.
    Configs,
}

/// What a watch has told of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) part: Part,
    /// The version of the object that changed.
    pub(super) version: Option<String>,
}

/// Everything that a look reads.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) workloads: Pair,
    pub(super) routes: Routes,
    pub(super) endpoints: Endpoints,
    pub(super) objects: Objects,
    /// Both missing for a Canary that names none.
    pub(super) scalers: Scalers,
    /// Why a config that the target needs cannot be had, if so; `None` without a template.
    pub(super) configs: Option<Result<Configs, String>>,
}

/// The parts of a [`Sight`] that are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    workloads: Option<Pair>,
    routes: Option<Routes>,
    endpoints: Option<Endpoints>,
    objects: Option<Objects>,
    scalers: Option<Scalers>,
    /// With the identity of the template that refers to them.
    configs: Option<(String, Configs)>,
}

impl Known {
    /// Whether all is to be read.
    pub(super) const fn is_nothing(&self) -> bool {
        self.workloads.is_none()
            && self.routes.is_none()
            && self.endpoints.is_none()
            && self.objects.is_none()
            && self.scalers.is_none()
            && self.configs.is_none()
    }

    /// The rest, when what pods can take is to be read.
    pub(super) fn without_pods(mut self) -> Self {
        self.forget(Part::Workloads);
        self.forget(Part::Endpoints);
        self
    }

    /// Takes a part out that was read before a change.
    pub(super) fn forget_before(&mut self, change: &Change) {
        if !self.is_of(change) {
            self.forget(change.part);
        }
    }

    /// Whether a part was read at the very version that a change tells of; no two objects share one.
    fn is_of(&self, Change { part, version }: &Change) -> bool {
        let Some(version) = version else { return false };
        match part {
            Part::Routes => {
                let routes = self.routes.as_ref();
                routes.is_some_and(|routes| routes.version.as_ref() == Some(version))
            }
            Part::Workloads => self.workloads.as_ref().is_some_and(|pair| {
                let mut both = [&pair.target, &pair.primary].into_iter().flatten();
                both.any(|one| one.resource_version == *version)
            }),
            Part::Endpoints | Part::Objects | Part::Scalers | Part::Configs => false,
        }
    }

    /// Puts the routes in.
    pub(super) fn set_routes(&mut self, routes: Routes) {
        self.routes = Some(routes);
    }

    /// Takes a part out.
    fn forget(&mut self, part: Part) {
        match part {
            Part::Workloads => self.workloads = None,
            Part::Routes => self.routes = None,
            Part::Endpoints => self.endpoints = None,
            Part::Objects => self.objects = None,
            Part::Scalers => self.scalers = None,
            Part::Configs => self.configs = None,
        }
    }
}

impl From<&Sight> for Known {
    fn from(sight: &Sight) -> Self {
        let identity = sight.identity();
        // What is missing is no part of anything that would wake the Canary.
        let configs = sight.configs.as_ref().and_then(|read| read.as_ref().ok());
        Self {
            workloads: Some(sight.workloads.clone()),
            routes: Some(sight.routes.clone()),
            endpoints: Some(sight.endpoints.clone()),
            objects: Some(sight.objects.clone()),
            scalers: Some(sight.scalers.clone()),
            configs: identity.map(ToOwned::to_owned).zip(configs.cloned()),
        }
    }
}

impl Sight {
    /// The identity of the target's template.
    fn identity(&self) -> Option<&str> {
        self.workloads.identity()
    }
}

/// Target and primary.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) target: Option<Snapshot>,
    pub(super) primary: Option<Snapshot>,
}

impl Pair {
    fn identity(&self) -> Option<&str> {
        let template = self.target.as_ref()?.template.as_ref().ok()?;
        Some(&template.identity)
    }
}

/// The autoscalers of target and primary.
#[derive(Clone, Debug, Default)]
pub(super) struct Scalers {
    pub(super) target: Option<Value>,
    pub(super) primary: Option<Value>,
}

/// Services of apex, primary and canary; DestinationRules of primary and canary.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) services: [Option<Value>; 3],
    pub(super) rules: [Option<Value>; 2],
}

/// What is known, or what is read in its place.
async fn or_read<T>(
    known: Option<T>,
    read: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match known {
        Some(known) => Ok(known),
        None => read.await,
    }
}

impl Observer<'_> {
    /// Reads what is not known.
    pub(super) async fn see(&self, known: Known) -> Result<Sight, Error> {
        let Known {
            workloads,
            routes,
            endpoints,
            objects,
            scalers,
            configs,
        } = known;
        let read_routes = async {
            self.router
                .read(&self.plan.route)
                .await
                .map_err(Error::from)
        };
        let (workloads, routes, endpoints, objects, scalers) = tokio::try_join!(
            or_read(workloads, self.workloads()),
            or_read(routes, read_routes),
            or_read(endpoints, self.endpoints()),
            or_read(objects, self.objects()),
            or_read(scalers, self.scalers()),
        )?;
        let configs = match configs {
            Some((identity, configs)) if workloads.identity() == Some(&identity) => {
                Some(Ok(configs))
            }
            Some(_) | None => self.configs(workloads.target.as_ref()).await?,
        };
        Ok(Sight {
            workloads,
            routes,
            endpoints,
            objects,
            scalers,
            configs,
        })
    }

    async fn workloads(&self) -> Result<Pair, Error> {
        let names = &self.plan.names;
        let (target, primary) =
            tokio::try_join!(self.workload.target(names), self.workload.primary(names))?;
        Ok(Pair { target, primary })
    }

    async fn configs(
        &self,
        target: Option<&Snapshot>,
    ) -> Result<Option<Result<Configs, String>>, Error> {
        let Some(Ok(template)) = target.map(|target| &target.template) else {
            return Ok(None);
        };
        let pod = template.content.pod().cloned().unwrap_or_default();
        match Configs::read(self.client, &self.plan.names.namespace, &pod).await {
            Ok(configs) => Ok(Some(Ok(configs))),
            // What is not there is no change: it is waited for.
            Err(error @ configs::Error::Missing(_)) => Ok(Some(Err(error.to_string()))),
            Err(error) => Err(workload::Error::from(error).into()),
        }
    }

    async fn objects(&self) -> Result<Objects, Error> {
        let plan = &self.plan.route;
        let services = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        let rules = objects::destination_rules();
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

    /// The target's autoscaler and the primary's, when the Canary names one.
    async fn scalers(&self) -> Result<Scalers, Error> {
        let Some(autoscaler) = &self.plan.autoscaler else {
            return Ok(Scalers::default());
        };
        let resource = autoscaler.kind.resource();
        let copy = format!("{}-primary", autoscaler.name);
        let (target, primary) = tokio::try_join!(
            self.find(&resource, &autoscaler.name),
            self.find(&resource, &copy)
        )?;
        Ok(Scalers { target, primary })
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
}
