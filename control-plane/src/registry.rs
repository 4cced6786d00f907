//! What the API server holds, kept current by watches.
//!
//! [`collection`] is synchronous; [`watch`] feeds it. Objects are reduced to what matters, so that
//! a heartbeat or a status of ours never leads to a push.

pub mod collection;
pub mod reduce;
pub mod watch;

use std::collections::BTreeMap;

use fairlead_crds::networking::{DestinationRule, Gateway, ServiceEntry, VirtualService};
use fairlead_crds::security::PeerAuthentication;
use fairlead_translate::{Kind, Mesh, ObjectKey, Snapshot};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;

use crate::config::ObjectRef;
use crate::inject::PROXY_CONTAINER;
use collection::{Collection, Kept, Malformed};

/// All that is watched.
#[derive(Debug, Default)]
pub struct Registry {
    /// Services of the cluster.
    pub services: Collection<Service>,
    /// Their endpoints.
    pub endpoint_slices: Collection<EndpointSlice>,
    /// Pods, for identities, labels and names of workloads.
    pub pods: Collection<Pod>,
    /// Secrets of the root namespace, for gateways.
    pub secrets: Collection<Secret>,
    /// Routes.
    pub virtual_services: Collection<VirtualService>,
    /// Policies of destinations.
    pub destination_rules: Collection<DestinationRule>,
    /// What gateways let in.
    pub gateways: Collection<Gateway>,
    /// Services that are not of the cluster.
    pub service_entries: Collection<ServiceEntry>,
    /// Who must come over mutual TLS.
    pub peer_authentications: Collection<PeerAuthentication>,
}

/// A mesh object, as its status is to speak of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// Its uid.
    pub uid: Option<String>,
    /// Its generation.
    pub generation: i64,
    /// Why it does not even decode.
    pub malformed: Option<String>,
}

impl Registry {
    /// The kinds whose first list has not been read to its end.
    pub fn incomplete(&self) -> Vec<&'static str> {
        [
            ("Service", self.services.is_complete()),
            ("EndpointSlice", self.endpoint_slices.is_complete()),
            ("Pod", self.pods.is_complete()),
            ("Secret", self.secrets.is_complete()),
            ("VirtualService", self.virtual_services.is_complete()),
            ("DestinationRule", self.destination_rules.is_complete()),
            ("Gateway", self.gateways.is_complete()),
            ("ServiceEntry", self.service_entries.is_complete()),
            (
                "PeerAuthentication",
                self.peer_authentications.is_complete(),
            ),
        ]
        .into_iter()
        .filter_map(|(kind, is_complete)| (!is_complete).then_some(kind))
        .collect()
    }

    /// What there is now, for translation.
    pub fn snapshot(&self, mesh: Mesh) -> Snapshot {
        Snapshot {
            mesh,
            services: self.services.objects().clone(),
            endpoint_slices: self.endpoint_slices.objects().clone(),
            pods: self.pods.objects().clone(),
            virtual_services: self.virtual_services.objects().clone(),
            destination_rules: self.destination_rules.objects().clone(),
            gateways: self.gateways.objects().clone(),
            service_entries: self.service_entries.objects().clone(),
            peer_authentications: self.peer_authentications.objects().clone(),
            secrets: self.secrets.objects().clone(),
        }
    }

    /// Whether a pod exists and is not about to end.
    pub fn runs(&self, namespace: &str, pod: &str) -> bool {
        let pod = self.pods.objects().get(&ObjectKey::new(namespace, pod));
        pod.is_some_and(|pod| is_running(pod))
    }

    /// Names, as `pod.namespace`, of the proxies that run.
    pub fn proxies(&self) -> impl Iterator<Item = String> {
        self.pods
            .objects()
            .iter()
            .filter(|(_, pod)| is_running(pod) && has_proxy(pod))
            .map(|(ObjectKey { namespace, name }, _)| format!("{name}.{namespace}"))
    }

    /// All objects of the mesh kinds, malformed ones too.
    pub fn stated(&self) -> BTreeMap<ObjectRef, Stated> {
        let mut all = BTreeMap::new();
        state(&mut all, Kind::VirtualService, &self.virtual_services);
        state(&mut all, Kind::DestinationRule, &self.destination_rules);
        state(&mut all, Kind::Gateway, &self.gateways);
        state(&mut all, Kind::ServiceEntry, &self.service_entries);
        state(
            &mut all,
            Kind::PeerAuthentication,
            &self.peer_authentications,
        );
        all
    }
}

fn is_running(pod: &Pod) -> bool {
    let has_address = pod
        .status
        .as_ref()
        .is_some_and(|status| status.pod_ip.is_some());
    pod.metadata.deletion_timestamp.is_none() && has_address
}

fn has_proxy(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    });
    containers
        .into_iter()
        .any(|container| container.name == PROXY_CONTAINER)
}

fn state<K: Kept>(all: &mut BTreeMap<ObjectRef, Stated>, kind: Kind, collection: &Collection<K>) {
    let named = |key: &ObjectKey| ObjectRef {
        kind,
        key: key.clone(),
    };
    for (key, object) in collection.objects() {
        let metadata = Resource::meta(&**object);
        let generation = metadata.generation.unwrap_or_default();
        all.insert(
            named(key),
            Stated {
                uid: metadata.uid.clone(),
                generation,
                malformed: None,
            },
        );
    }
    for (
        key,
        Malformed {
            uid,
            generation,
            error,
        },
    ) in collection.malformed()
    {
        let malformed = Some(error.clone());
        all.insert(
            named(key),
            Stated {
                uid: uid.clone(),
                generation: *generation,
                malformed,
            },
        );
    }
}
