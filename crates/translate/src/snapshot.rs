//! All that translation sees: the objects of the cluster at one moment, as they are.
//!
//! Cloning is cheap, so that a watch can keep one and hand out copies.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fairlead_crds::networking::{DestinationRule, Gateway, ServiceEntry, VirtualService};
use fairlead_crds::security::PeerAuthentication;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// A key of its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Objects of one kind.
pub type Objects<K> = BTreeMap<ObjectKey, Arc<K>>;

/// The objects of the cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What holds for the whole mesh.
    pub mesh: Mesh,
    /// Services.
    pub services: Objects<Service>,
    /// Endpoints of services.
    pub endpoint_slices: Objects<EndpointSlice>,
    /// Pods: labels, workloads and ports behind endpoints.
    pub pods: Objects<Pod>,
    /// Routes.
    pub virtual_services: Objects<VirtualService>,
    /// Policies of destinations.
    pub destination_rules: Objects<DestinationRule>,
    /// What gateways let in.
    pub gateways: Objects<Gateway>,
    /// Services that are not of the cluster.
    pub service_entries: Objects<ServiceEntry>,
    /// Who must come over mutual TLS.
    pub peer_authentications: Objects<PeerAuthentication>,
    /// Certificates of gateways.
    pub secrets: Objects<Secret>,
}

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Trust domain of SPIFFE ids.
    pub trust_domain: String,
    /// Namespace whose policies hold for all.
    pub root_namespace: String,
    /// DNS domain of the cluster.
    pub domain: String,
    /// Name of the cluster.
    pub cluster: String,
    /// What happens to traffic whose destination is not known.
    pub outbound: OutboundPolicy,
    /// Use mutual TLS to every workload that has a sidecar.
    pub auto_mtls: bool,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            domain: "cluster.local".to_owned(),
            cluster: "Kubernetes".to_owned(),
            outbound: OutboundPolicy::AllowAny,
            auto_mtls: true,
        }
    }
}

/// What happens to traffic whose destination is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboundPolicy {
    /// It goes where it wants.
    AllowAny,
    /// It is refused.
    RegistryOnly,
}
