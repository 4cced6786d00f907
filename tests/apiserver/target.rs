//! The kinds of workload that a Canary can be about.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use kube::core::ApiResource;
use serde_json::{Value, json};

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Deployment,
    DaemonSet,
    StatefulSet,
    Service,
}

impl Target {
    pub(crate) const ALL: [Self; 4] = [
        Self::Deployment,
        Self::DaemonSet,
        Self::StatefulSet,
        Self::Service,
    ];

    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
        }
    }

    /// Whether its size is a number that somebody sets.
    pub(crate) const fn has_replicas(self) -> bool {
        match self {
            Self::Deployment | Self::StatefulSet => true,
            Self::DaemonSet | Self::Service => false,
        }
    }

    /// The pods that its Canary leaves behind.
    pub(crate) const fn full_size(self) -> i64 {
        match self {
            Self::Deployment | Self::StatefulSet => 2,
            Self::DaemonSet => 1,
            Self::Service => 0,
        }
    }

    /// The target `podinfo` as git holds it: without a size. A Service leads to whatever runs the
    /// image, see [`behind_service`].
    pub(crate) fn manifest(self, image: &str) -> Value {
        let labels = json!({ "app": "podinfo" });
        if self == Self::Service {
            let version = image.replace(':', ".");
            return json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": "podinfo", "labels": labels },
                "spec": {
                    "selector": { "app": "podinfo", "version": version },
                    "ports": [{ "name": "http", "port": 9898 }],
                },
            });
        }
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
            Self::Service => 0,
            Self::DaemonSet => {
                let nodes = &spec["template"]["spec"]["nodeSelector"];
                i64::from(nodes["flagger.app/scale-to-zero"].is_null())
            }
        }
    }
}

/// The image of a spec's first container, or that of what a Service leads to.
pub(crate) fn image(spec: &Value) -> String {
    let containers = &spec["template"]["spec"]["containers"];
    let image = containers[0]["image"].as_str().map(ToOwned::to_owned);
    let led_to = || {
        spec["selector"]["version"]
            .as_str()
            .map(|version| version.replace('.', ":"))
    };
    image.or_else(led_to).unwrap_or_default()
}

/// The Deployment of an image behind a Service as target.
pub(crate) fn behind_service(image: &str) -> Value {
    let version = image.replace(':', ".");
    let labels = json!({ "app": "podinfo", "version": version });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": version.replace('.', "-") },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "podinfo", "image": image }] },
            },
        },
    })
}
