//! The kinds of workload that a Canary can be about.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::core::ApiResource;
use serde_json::{Value, json};

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Deployment,
    DaemonSet,
    StatefulSet,
}

impl Target {
    pub(crate) const ALL: [Self; 3] = [Self::Deployment, Self::DaemonSet, Self::StatefulSet];

    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        }
    }

    /// Whether its size is a number that somebody sets.
    pub(crate) const fn has_replicas(self) -> bool {
        match self {
            Self::Deployment | Self::StatefulSet => true,
            Self::DaemonSet => false,
        }
    }

    /// The workload `podinfo` as git holds it: without a size.
    pub(crate) fn manifest(self, image: &str) -> Value {
        let labels = json!({ "app": "podinfo" });
        let mut spec = json!({
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "podinfo", "image": image }] },
            },
        });
        if self == Self::StatefulSet {
            spec["serviceName"] = json!("podinfo");
            spec["volumeClaimTemplates"] = json!([{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }]);
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": self.resource().kind,
            "metadata": { "name": "podinfo", "labels": labels },
            "spec": spec,
        })
    }

    /// The pods that a spec asks for; of a DaemonSet, whether it asks for any.
    pub(crate) fn size(self, spec: &Value) -> i64 {
        match self {
            Self::Deployment | Self::StatefulSet => spec["replicas"].as_i64().unwrap_or(1),
            Self::DaemonSet => {
                let nodes = &spec["template"]["spec"]["nodeSelector"];
                i64::from(nodes["flagger.app/scale-to-zero"].is_null())
            }
        }
    }
}

/// The image of a spec's first container.
pub(crate) fn image(spec: &Value) -> &str {
    let containers = &spec["template"]["spec"]["containers"];
    containers[0]["image"].as_str().unwrap_or_default()
}
