//! Workloads that a Canary releases: one small file for each kind.
//!
//! A file here reads its kind and changes it; it decides nothing.

use std::collections::BTreeMap;

use fairlead_controller::ApiError;
use fairlead_rollout::{Readiness, Revision};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

pub use self::content::Content;

use self::controller::Controllers;
use self::service::Services;

pub mod archive;
pub mod autoscaler;
pub mod configs;
mod content;
mod controller;
mod daemon_set;
mod deployment;
mod history;
mod primary;
pub mod service;
mod stateful_set;

/// The node selector of a DaemonSet at rest; Flagger's.
const SCALE_TO_ZERO: &str = "flagger.app/scale-to-zero";

/// The kinds that can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A DaemonSet.
    DaemonSet,
    /// A StatefulSet.
    StatefulSet,
    /// A Service: its workloads are its author's business.
    Service,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Deployment,
        Self::DaemonSet,
        Self::StatefulSet,
        Self::Service,
    ];

    /// The field that says how many pods there are, where there is one.
    pub const fn size_field(self) -> Option<&'static str> {
        match self {
            Self::Deployment | Self::StatefulSet => Some("spec.replicas"),
            Self::DaemonSet => Some("spec.template.spec.nodeSelector"),
            Self::Service => None,
        }
    }

    /// Why nobody can say how many pods there are, where that is so.
    pub const fn fixed_size(self) -> Option<&'static str> {
        match self {
            Self::Deployment | Self::StatefulSet => None,
            Self::DaemonSet => Some("a DaemonSet has as many pods as nodes"),
            Self::Service => Some("a Service has no pods of its own"),
        }
    }

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::Service => "Service",
        }
    }

    /// Whether the cluster keeps what an earlier revision was.
    pub const fn has_history(self) -> bool {
        match self {
            Self::Deployment | Self::DaemonSet | Self::StatefulSet => true,
            Self::Service => false,
        }
    }

    /// What an object of this kind is to run or lead to, by its spec.
    pub fn content(self, spec: &Value) -> serde_json::Result<Content> {
        match self {
            Self::Deployment | Self::DaemonSet | Self::StatefulSet => {
                let template: PodTemplateSpec = serde_json::from_value(spec["template"].clone())?;
                Ok(template.into())
            }
            Self::Service => Ok(Content::Service(service::plain(spec))),
        }
    }

    /// How the API server knows it.
    pub fn resource(self) -> ApiResource {
        let group = match self {
            Self::Deployment | Self::DaemonSet | Self::StatefulSet => "apps",
            Self::Service => "",
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", self.as_str()))
    }
}

/// The workloads of one cluster, by kind.
#[derive(Clone, Debug)]
pub struct Workloads {
    deployments: Controllers<Deployment>,
    daemon_sets: Controllers<DaemonSet>,
    stateful_sets: Controllers<StatefulSet>,
    services: Services,
}

impl Workloads {
    /// Uses `client`.
    pub fn new(client: &Client) -> Self {
        Self {
            deployments: Controllers::new(client.clone()),
            daemon_sets: Controllers::new(client.clone()),
            stateful_sets: Controllers::new(client.clone()),
            services: Services::new(client.clone()),
        }
    }

    /// Those of one kind.
    pub fn of(&self, kind: Kind) -> &dyn Workload {
        match kind {
            Kind::Deployment => &self.deployments,
            Kind::DaemonSet => &self.daemon_sets,
            Kind::StatefulSet => &self.stateful_sets,
            Kind::Service => &self.services,
        }
    }
}

/// The two workloads of a Canary.
#[derive(Clone, Debug)]
pub struct Names {
    /// Their namespace.
    pub namespace: String,
    /// The workload that the user changes.
    pub target: String,
    /// Our copy of its promoted revision.
    pub primary: String,
}

impl Names {
    /// What autoscalers act on.
    pub fn scaled(&self) -> autoscaler::Scaled<'_> {
        autoscaler::Scaled {
            target: &self.target,
            primary: &self.primary,
        }
    }

    /// The names for a target.
    pub fn new(namespace: &str, target: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            target: target.to_owned(),
            primary: format!("{target}-primary"),
        }
    }
}

/// A workload as it was read.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The version that a guarded write must find.
    pub resource_version: String,
    /// The replicas asked for.
    pub desired: u32,
    /// Who set the replicas, besides us.
    pub replica_managers: Vec<String>,
    /// The replicas that run the current template.
    pub updated: u32,
    /// What it says of itself.
    pub readiness: Readiness,
    /// Whether its controller has seen the last change.
    pub observed: bool,
    /// The template that its controller acts on, with the identity that it gave it, or why there
    /// is none.
    pub template: Result<Template, String>,
    /// The label that selects its pods, when it has pods of its own.
    pub selector: Option<Selector>,
    /// The revision that we gave it; only a primary has one.
    pub revision: Option<Revision>,
    /// The fields that a primary takes over, beside the template.
    pub settings: Value,
}

/// What a target asks for, under the name that the cluster gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The same for the same content, whatever version of us or of Kubernetes looks.
    pub identity: String,
    /// The label of the pods that run it, as a selector.
    pub label: Option<String>,
    /// What it is.
    pub content: Content,
}

/// The one label by which pods are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The label's name.
    pub key: String,
    /// The target's value; the primary has its own.
    pub value: String,
}

impl Selector {
    /// Labels that may select, in order of preference; Flagger's list.
    const KEYS: [&str; 3] = ["app", "name", "app.kubernetes.io/name"];

    /// Finds the label among those that a workload selects by.
    pub fn find(labels: &BTreeMap<String, String>) -> Option<Self> {
        Self::KEYS.into_iter().find_map(|key| {
            labels.get(key).map(|value| Self {
                key: key.to_owned(),
                value: value.clone(),
            })
        })
    }

    /// The value that the primary's pods carry.
    pub fn primary_value(&self) -> String {
        format!("{}-primary", self.value)
    }
}

/// What a primary is to be.
#[derive(Clone, Debug)]
pub struct PrimaryPlan<'a> {
    /// The target that it copies.
    pub target: &'a Snapshot,
    /// What it is to run, with the configs renamed.
    pub content: Content,
    /// The revision that the content belongs to.
    pub revision: &'a Revision,
    /// How many replicas.
    pub replicas: u32,
    /// Who owns it.
    pub owner: OwnerReference,
    /// The version that must still stand, when it exists already.
    pub guard: Option<String>,
}

/// One kind of workload.
pub trait Workload: Send + Sync {
    /// The target, or `None` when there is none.
    fn target<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>>;
    /// The primary, or `None` when there is none.
    fn primary<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>>;
    /// What an earlier revision was, as long as the cluster keeps it.
    fn content<'a>(
        &'a self,
        names: &'a Names,
        identity: &'a str,
    ) -> BoxFuture<'a, Result<Option<Content>, Error>>;
    /// Sets the target's replicas, if it is still at `guard`.
    fn scale<'a>(
        &'a self,
        names: &'a Names,
        replicas: u32,
        guard: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>>;
    /// Makes the primary what the plan says.
    fn apply_primary<'a>(
        &'a self,
        names: &'a Names,
        plan: PrimaryPlan<'a>,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

/// Why a workload could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not give it.
    #[error("failed to read {object}")]
    Read {
        /// What.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// The API server did not take the change.
    #[error("failed to write {object}")]
    Write {
        /// What.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// The workload selects its pods by none of the labels that we can tell them apart by.
    #[error(
        "{object} selects its pods by none of the labels app, name and app.kubernetes.io/name: \
         add one of them to its selector"
    )]
    NoSelector {
        /// What.
        object: String,
    },
    /// It is not representable, which is a bug.
    #[error("failed to convert {object}")]
    Convert {
        /// What.
        object: String,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
    /// What was kept is of a target of another kind.
    #[error("what is kept for {object} is of a target of another kind: release a new revision")]
    OtherKind {
        /// What it was kept for.
        object: String,
    },
    /// A config that the template refers to cannot be used.
    #[error(transparent)]
    Config(#[from] configs::Error),
}

impl Error {
    /// The API server's answer, when that is the cause.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Config(error) => error.api(),
            Self::NoSelector { .. } | Self::Convert { .. } | Self::OtherKind { .. } => None,
        }
    }
}
