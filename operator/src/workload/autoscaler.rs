//! Autoscalers of targets, and their copies for primaries, kept in step at all times. Pure: one
//! small file for each kind.

mod horizontal;
mod scaled_object;

use std::collections::BTreeMap;

use fairlead_crds::annotation;
use fairlead_crds::canary::ScalerReplicas;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// The kinds of autoscalers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kubernetes' own.
    HorizontalPodAutoscaler,
    /// KEDA's.
    ScaledObject,
}

/// The autoscaler of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaler {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Limits of the primary's copy; the target's where there are none.
    pub limits: ScalerReplicas,
    /// Queries of the primary's triggers, by the trigger's name; for a ScaledObject.
    pub queries: BTreeMap<String, String>,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::HorizontalPodAutoscaler, Self::ScaledObject];

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::ScaledObject => "ScaledObject",
        }
    }

    /// How the API server knows it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            Self::ScaledObject => {
                let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", self.as_str());
                ApiResource::from_gvk_with_plural(&kind, "scaledobjects")
            }
        }
    }
}

/// The workloads that autoscalers act on.
#[derive(Clone, Copy, Debug)]
pub struct Scaled<'a> {
    /// The target.
    pub target: &'a str,
    /// The primary.
    pub primary: &'a str,
}

impl Autoscaler {
    /// The copy for the primary of `scaler`, the target's.
    pub fn primary(&self, scaler: &Value, scaled: Scaled<'_>, owner: &OwnerReference) -> Value {
        let spec = match self.kind {
            Kind::HorizontalPodAutoscaler => horizontal::primary(self, scaler, scaled),
            Kind::ScaledObject => scaled_object::primary(self, scaler, scaled),
        };
        let name = scaler["metadata"]["name"].as_str().unwrap_or_default();
        json!({
            "apiVersion": self.kind.resource().api_version,
            "kind": self.kind.as_str(),
            "metadata": {
                "name": format!("{name}-primary"),
                "namespace": scaler["metadata"]["namespace"],
                "annotations": { annotation::KUSTOMIZE_RECONCILE: annotation::DISABLED },
                "ownerReferences": [owner],
            },
            "spec": spec,
        })
    }

    /// The fewest replicas that `scaler` keeps while there is something to do.
    pub fn minimum(&self, scaler: &Value) -> u32 {
        let field = match self.kind {
            Kind::HorizontalPodAutoscaler => "minReplicas",
            Kind::ScaledObject => "minReplicaCount",
        };
        let minimum = scaler["spec"][field].as_u64();
        let minimum = minimum.and_then(|minimum| u32::try_from(minimum).ok());
        minimum.unwrap_or(1).max(1)
    }

    /// A merge patch that lets `scaler` leave a target alone that rests, or act again on one that
    /// does not; `None` where it does so already.
    ///
    /// Kubernetes' own leaves a workload of no replicas alone by itself.
    pub fn hold(&self, scaler: &Value, rests: bool) -> Option<Value> {
        match self.kind {
            Kind::HorizontalPodAutoscaler => None,
            Kind::ScaledObject => scaled_object::hold(scaler, rests),
        }
    }
}

/// Sets the limits that the Canary asks for.
fn limit(spec: &mut Value, limits: ScalerReplicas, [fewest, most]: [&str; 2]) {
    if let Some(replicas) = limits.min_replicas {
        spec[fewest] = json!(replicas);
    }
    if let Some(replicas) = limits.max_replicas {
        spec[most] = json!(replicas);
    }
}
