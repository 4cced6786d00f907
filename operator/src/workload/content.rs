//! What a revision is made of: what promotion copies, and what is kept to go back to. Pure.

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
