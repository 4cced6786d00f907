//! What a revision is made of: what promotion copies, and what is kept to go back to. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::configs::{Reference, rename};

/// What a revision is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// The pods that a workload runs.
    #[serde(rename = "template")]
    Pods(Box<PodTemplateSpec>),
    /// Where a Service leads: its spec, without what the cluster alone decides.
    #[serde(rename = "service")]
    Service(Value),
}

impl Content {
    /// The template of its pods, when it has any.
    pub const fn pods(&self) -> Option<&PodTemplateSpec> {
        match self {
            Self::Pods(template) => Some(template),
            Self::Service(_) => None,
        }
    }

    /// The same with the primary's copies of some configs in their place.
    #[must_use]
    pub fn with_copies(mut self, renamed: &BTreeSet<Reference>) -> Self {
        if let Self::Pods(template) = &mut self {
            rename(template.spec.get_or_insert_default(), renamed);
        }
        self
    }

    /// The spec of its pods.
    pub fn pod(&self) -> Option<&PodSpec> {
        self.pods()?.spec.as_ref()
    }
}

impl From<PodTemplateSpec> for Content {
    fn from(template: PodTemplateSpec) -> Self {
        Self::Pods(Box::new(template))
    }
}
