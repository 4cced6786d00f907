//! Traffic routers: one small file for each way to divide traffic.
//!
//! A file here translates a [`Split`] to and from the objects of its kind; when traffic may move
//! is decided elsewhere.

use fairlead_controller::ApiError;
use fairlead_crds::annotation;
use fairlead_crds::canary::{Canary, CanaryMatch, CanaryService, CanaryStatus, Number};
use fairlead_rollout::{Split, State};
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

use self::affinity::Affinity;
use self::chosen::Selection;
use self::http_route::HttpRoutes;
use self::service::Services;
use self::virtual_service::VirtualServices;
use crate::canary::validate;

pub mod affinity;
mod chosen;
mod http_route;
mod service;
mod virtual_service;

pub use self::http_route::resource as http_routes;

/// Who carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// A mesh, by VirtualServices and DestinationRules.
    Istio,
    /// Nobody but Services: the canary is judged without traffic of its own.
    Kubernetes,
    /// A gateway, by HTTPRoutes.
    GatewayApi {
        /// The API's version.
        version: &'static str,
    },
}

impl Provider {
    /// Reads `spec.provider`.
    fn parse(text: Option<&str>) -> Result<Self, validate::Error> {
        match text {
            None | Some("" | "istio") => Ok(Self::Istio),
            Some("kubernetes") => Ok(Self::Kubernetes),
            Some("gatewayapi:v1") => Ok(Self::GatewayApi { version: "v1" }),
            Some("gatewayapi:v1beta1") => Ok(Self::GatewayApi { version: "v1beta1" }),
            Some(other) => Err(validate::Error::Unsupported {
                field: "spec.provider",
                value: format!("`{other}`"),
                instead: "`istio`, `gatewayapi:v1` or `kubernetes`",
            }),
        }
    }
}

/// The routers of one cluster, by provider.
#[derive(Clone, Debug)]
pub struct Routers {
    virtual_services: VirtualServices,
    http_routes: HttpRoutes,
    services: Services,
}

impl Routers {
    /// Uses `client`.
    pub fn new(client: &Client) -> Self {
        Self {
            virtual_services: VirtualServices::new(client.clone()),
            http_routes: HttpRoutes::new(client.clone()),
            services: Services,
        }
    }

    /// The one of a provider.
    pub fn of(&self, provider: Provider) -> &dyn Router {
        match provider {
            Provider::Istio => &self.virtual_services,
            Provider::GatewayApi { .. } => &self.http_routes,
            Provider::Kubernetes => &self.services,
        }
    }
}

/// What the routes of a Canary are to be, the split aside.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Who carries the traffic.
    pub provider: Provider,
    /// The namespace of all objects.
    pub namespace: String,
    /// The apex Service, and the routes to it.
    pub apex: String,
    /// The Service of the primary.
    pub primary: String,
    /// The Service of the canary.
    pub canary: String,
    /// The port of all three.
    pub port: u16,
    /// Who owns what is made.
    pub owner: OwnerReference,
    /// The user's settings.
    pub service: CanaryService,
    /// Which requests the split is about; all when empty.
    pub matches: Vec<CanaryMatch>,
    /// Which requests go to the canary as soon as it has a weight, beside its share of the others.
    pub chosen: Vec<CanaryMatch>,
    /// Percentage of requests that are mirrored, when they are.
    pub mirror_weight: Option<f64>,
    /// What keeps clients on the version that they got.
    pub affinity: Option<Affinity>,
}

/// The name of the Service that people ask, and of the routes to it.
pub fn apex(canary: &Canary) -> &str {
    let service = canary.spec.service.as_ref();
    let name = service.and_then(|service| service.name.as_deref());
    let own = name.filter(|name| !name.is_empty());
    own.unwrap_or(&canary.spec.target_ref.name)
}

impl RoutePlan {
    /// Reads the settings of a Canary.
    pub fn new(canary: &Canary) -> Result<Self, validate::Error> {
        let service = canary
            .spec
            .service
            .clone()
            .ok_or_else(|| validate::Error::Field {
                field: "spec.service",
                fix: "is needed: it says on which port the workload serves".to_owned(),
            })?;
        let port = service
            .port
            .whole()
            .and_then(|port| u16::try_from(port).ok());
        let port = port
            .filter(|port| *port > 0)
            .ok_or_else(|| validate::Error::Field {
                field: "spec.service.port",
                fix: format!("must be a port, 1 to 65535, but is {}", service.port),
            })?;
        if service.delegation == Some(true)
            && !(service.hosts.is_empty() && service.gateways.is_empty())
        {
            return Err(validate::Error::Field {
                field: "spec.service.delegation",
                fix: "excludes hosts and gateways: they stand in the delegating VirtualService"
                    .to_owned(),
            });
        }
        let apex = apex(canary).to_owned();
        let provider = Provider::parse(canary.spec.provider.as_deref())?;
        let selection = Selection::new(canary, provider)?;
        let plan = Self {
            provider,
            namespace: canary.namespace().unwrap_or_default(),
            primary: format!("{apex}-primary"),
            canary: format!("{apex}-canary"),
            apex,
            port,
            owner: canary.controller_owner_ref(&()).unwrap_or_default(),
            service,
            matches: selection.divided,
            chosen: selection.chosen,
            mirror_weight: canary.spec.analysis.mirror_weight.map(Number::as_f64),
            affinity: None,
        };
        let plan = Self {
            affinity: Affinity::new(canary, plan.provider)?,
            ..plan
        };
        if plan.affinity.is_some() {
            plan.refuse_cookies()?;
        }
        if let Provider::GatewayApi { .. } = plan.provider {
            http_route::validate(&plan)?;
        }
        Ok(plan)
    }

    /// Binds clients to the version that they get in the run of `state`.
    pub fn follow(&mut self, state: &State) {
        if let Some(affinity) = &mut self.affinity {
            affinity.follow(state);
        }
    }

    /// Writes down, for people, which cookies the routes are meant to give out.
    pub fn note(&self, status: &mut CanaryStatus, state: &State) {
        let split = state.traffic.map(|intent| intent.target);
        if let (Some(affinity), Some(split)) = (&self.affinity, split) {
            affinity.note(status, split);
        }
    }

    /// A request cannot be asked for two things of one header.
    fn refuse_cookies(&self) -> Result<(), validate::Error> {
        let is_cookie = |name: &String| name.eq_ignore_ascii_case("cookie");
        let of_service = self.service.r#match.iter();
        let mut of_service = of_service.flat_map(|one| one.headers.keys());
        let mut of_analysis = self.matches.iter().flat_map(|one| one.headers.keys());
        let field = if of_service.any(is_cookie) {
            "spec.service.match"
        } else if of_analysis.any(is_cookie) {
            "spec.analysis.match"
        } else {
            return Ok(());
        };
        Err(validate::Error::Field {
            field,
            fix: "cannot match the header `cookie` beside spec.analysis.sessionAffinity, which \
                  matches it too; leave out one of the two"
                .to_owned(),
        })
    }
}

/// Routes as they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// The split that they hold; `None` when they do not exist or do not lead to us.
    pub split: Option<Split>,
    /// Whether all else in them is as planned.
    pub current: bool,
    /// Whether every proxy has them.
    pub acked: bool,
    /// The version that a guarded write must find.
    pub version: Option<String>,
    /// What the Canary asks for and their author has decided otherwise, and the fix.
    pub conflict: Option<String>,
    /// The object that holds them, if it is someone else's.
    pub foreign: Option<Box<DynamicObject>>,
}

/// One way to divide traffic.
pub trait Router: Send + Sync {
    /// Reads the routes.
    fn read<'a>(&'a self, plan: &'a RoutePlan) -> BoxFuture<'a, Result<Routes, Error>>;
    /// Writes the routes with `split`, if they are still as `seen`, and tells how they are then.
    fn write<'a>(
        &'a self,
        plan: &'a RoutePlan,
        split: Split,
        seen: &'a Routes,
    ) -> BoxFuture<'a, Result<Routes, Error>>;
    /// Takes back all that was added.
    fn give_back<'a>(&'a self, plan: &'a RoutePlan) -> BoxFuture<'a, Result<(), Error>>;
}

/// Why routes could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not give them.
    #[error("failed to read {object}")]
    Read {
        /// Which.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// The API server did not take them.
    #[error("failed to write {object}")]
    Write {
        /// Which.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// They are someone else's and hold nothing that leads to the apex.
    #[error(
        "VirtualService `{name}` is not ours and has no route to host `{host}`: \
         add one, or remove the VirtualService"
    )]
    NoRoute {
        /// Which.
        name: String,
        /// The host that was looked for.
        host: String,
    },
}

impl Error {
    /// The API server's answer, when that is the cause.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::NoRoute { .. } => None,
        }
    }
}

/// Whether an object was made by the Canary that `owner` is.
fn is_ours(object: &DynamicObject, owner: &OwnerReference) -> bool {
    object
        .owner_references()
        .iter()
        .any(|reference| reference.uid == owner.uid)
}

/// The metadata of routes that a Canary makes.
fn metadata(plan: &RoutePlan, version: Option<&str>) -> Value {
    let apex = plan.service.apex.clone().unwrap_or_default();
    let mut annotations = apex.annotations;
    annotations.insert(
        annotation::KUSTOMIZE_RECONCILE.to_owned(),
        annotation::DISABLED.to_owned(),
    );
    annotations.insert(
        annotation::HELM_DRIFT_DETECTION.to_owned(),
        annotation::DISABLED.to_owned(),
    );
    let mut metadata = json!({
        "name": plan.apex,
        "namespace": plan.namespace,
        "annotations": annotations,
        "ownerReferences": [plan.owner],
        "resourceVersion": version.unwrap_or(crate::ABSENT),
    });
    if !apex.labels.is_empty() {
        metadata["labels"] = json!(apex.labels);
    }
    metadata
}

/// The regular expression for exactly this text.
fn escape(text: &str) -> String {
    let escaped = |c: char| {
        let special = !c.is_alphanumeric() && c.is_ascii();
        special.then_some('\\').into_iter().chain([c])
    };
    text.chars().flat_map(escaped).collect()
}

/// Whether `live` holds everything that `wanted` asks for; lists must agree in length.
pub(crate) fn includes(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).is_some_and(|found| includes(found, value))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| includes(live, wanted))
        }
        _ => live == wanted,
    }
}
