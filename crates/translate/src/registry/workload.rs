//! Pods as workloads: the names and labels behind an address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_crds::label;
use fairlead_xds::resource::endpoint::{Locality, Workload};
use k8s_openapi::api::core::v1::Pod;

use super::{Target, is_subset};
use crate::snapshot::{ObjectKey, Snapshot};

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// What the mesh knows of a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) workload: Workload,
    pub(crate) has_sidecar: bool,
    pub(crate) service_account: String,
    pub(crate) locality: Locality,
    pub(crate) is_terminating: bool,
    pub(crate) is_ready: bool,
    /// Addresses, once it has some.
    pub(crate) ips: Vec<std::net::IpAddr>,
    /// Named ports of its containers.
    ports: BTreeMap<String, u16>,
}

impl PodInfo {
    /// The port of a pod that a service's target stands for.
    pub(crate) fn port(&self, target: &Target) -> Option<u16> {
        match target {
            Target::Number(number) => Some(*number),
            Target::Name(name) => self.ports.get(name).copied(),
        }
    }
}

/// All pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workloads {
    pods: BTreeMap<ObjectKey, PodInfo>,
}

impl Workloads {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let pods = snapshot
            .pods
            .iter()
            .map(|(key, pod)| (key.clone(), describe(key, pod, &snapshot.mesh.cluster)))
            .collect();
        Self { pods }
    }

    pub(crate) fn find(&self, namespace: &str, pod: &str) -> Option<&PodInfo> {
        self.pods.get(&ObjectKey::new(namespace, pod))
    }

    /// The namespaces that have pods with the labels of `selector`.
    pub(crate) fn namespaces_of(&self, selector: &BTreeMap<String, String>) -> BTreeSet<&str> {
        // An empty selector is for all gateways, and which of the pods are such is not known here.
        self.pods
            .iter()
            .filter(|(_, pod)| !selector.is_empty() && is_subset(selector, &pod.labels))
            .map(|(key, _)| key.namespace.as_str())
            .collect()
    }

    /// The pods of a namespace.
    pub(crate) fn in_namespace<'w>(
        &'w self,
        namespace: &'w str,
    ) -> impl Iterator<Item = (&'w ObjectKey, &'w PodInfo)> {
        self.pods
            .iter()
            .filter(move |(key, _)| key.namespace == namespace)
    }
}

fn describe(key: &ObjectKey, pod: &Pod, cluster: &str) -> PodInfo {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let text = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let ports = spec
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
        .collect();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let is_ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ips = status
        .into_iter()
        .flat_map(|status| {
            let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
            status.pod_ip.as_deref().into_iter().chain(all)
        })
        .filter_map(|ip| ip.parse().ok())
        .collect();
    PodInfo {
        workload: workload(key, pod, cluster),
        has_sidecar: text(label::TLS_MODE) == "istio",
        service_account: spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_else(|| "default".to_owned()),
        locality: Locality {
            region: text(REGION),
            zone: text(ZONE),
            sub_zone: String::new(),
        },
        is_terminating: pod.metadata.deletion_timestamp.is_some(),
        is_ready,
        ips,
        ports,
        labels: Arc::new(labels),
    }
}

fn workload(key: &ObjectKey, pod: &Pod, cluster: &str) -> Workload {
    let empty = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    let first = |names: &[&str]| names.iter().find_map(|name| labels.get(*name)).cloned();
    let name = workload_name(pod).unwrap_or_else(|| key.name.clone());
    Workload {
        namespace: key.namespace.clone(),
        canonical_name: first(&[label::CANONICAL_NAME, label::KUBERNETES_NAME, label::APP])
            .unwrap_or_else(|| name.clone()),
        canonical_revision: first(&[
            label::CANONICAL_REVISION,
            label::KUBERNETES_VERSION,
            label::VERSION,
        ])
        .unwrap_or_else(|| "latest".to_owned()),
        name,
        cluster: cluster.to_owned(),
    }
}

/// The name of the pod's controller; that of the Deployment where a ReplicaSet stands between.
fn workload_name(pod: &Pod) -> Option<String> {
    let owner = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))?;
    let hash = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(POD_TEMPLATE_HASH));
    let deployment = hash
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash))
        .and_then(|name| name.strip_suffix('-'));
    Some(deployment.unwrap_or(&owner.name).to_owned())
}
