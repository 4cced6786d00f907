//! What matters of each kind; the rest is dropped before objects are compared and kept.

use fairlead_crds::networking::{DestinationRule, Gateway, ServiceEntry, VirtualService};
use fairlead_crds::security::PeerAuthentication;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::collection::Kept;

/// Annotation in which kubectl keeps a copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Keeps what names and describes an object, and nothing that counts its writes.
fn reduce_metadata(metadata: &mut ObjectMeta) {
    let ObjectMeta {
        name,
        namespace,
        uid,
        labels,
        annotations,
        generation,
        creation_timestamp,
        deletion_timestamp,
        owner_references,
        ..
    } = std::mem::take(metadata);
    let annotations = annotations.map(|mut annotations| {
        annotations.remove(LAST_APPLIED);
        annotations
    });
    *metadata = ObjectMeta {
        name,
        namespace,
        uid,
        labels,
        annotations,
        generation,
        creation_timestamp,
        deletion_timestamp,
        owner_references,
        ..ObjectMeta::default()
    };
}

impl Kept for Service {
    fn reduce(&mut self) {
        reduce_metadata(&mut self.metadata);
        self.status = None;
    }
}

impl Kept for EndpointSlice {
    fn reduce(&mut self) {
        reduce_metadata(&mut self.metadata);
        // Holds the time of the last change of a pod, and counts the writes of the slice.
        self.metadata.annotations = None;
        self.metadata.generation = None;
    }
}

impl Kept for Pod {
    fn reduce(&mut self) {
        reduce_metadata(&mut self.metadata);
        self.metadata.generation = None;
        let spec = self.spec.take().unwrap_or_default();
        let ports_only = |container: Container| Container {
            name: container.name,
            ports: container.ports,
            ..Container::default()
        };
        self.spec = Some(PodSpec {
            containers: spec.containers.into_iter().map(ports_only).collect(),
            init_containers: spec
                .init_containers
                .map(|containers| containers.into_iter().map(ports_only).collect()),
            service_account_name: spec.service_account_name,
            node_name: spec.node_name,
            host_network: spec.host_network,
            ..PodSpec::default()
        });
        let PodStatus {
            pod_ip, pod_ips, ..
        } = self.status.take().unwrap_or_default();
        self.status = Some(PodStatus {
            pod_ip,
            pod_ips,
            ..PodStatus::default()
        });
    }
}

/// Mesh kinds: what people write, without what we write back.
macro_rules! keep_spec {
    ($($kind:ty),+) => {
        $(impl Kept for $kind {
            fn reduce(&mut self) {
                reduce_metadata(&mut self.metadata);
                self.status = None;
            }
        })+
    };
}

keep_spec!(
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    PeerAuthentication
);

impl Kept for Secret {
    fn reduce(&mut self) {
        reduce_metadata(&mut self.metadata);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ready: &str) -> Pod {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "web-0", "resourceVersion": ready, "labels": { "app": "web" } },
            "spec": { "nodeName": "n", "containers": [{ "name": "web" }] },
            "status": {
                "podIP": "10.0.0.1",
                "conditions": [{ "type": "Ready", "status": ready }],
            },
        }))
        .unwrap();
        pod.reduce();
        pod
    }

    #[test]
    fn readiness_of_a_pod_is_told_by_endpoint_slices_alone() {
        assert_eq!(pod("True"), pod("False"));
    }

    #[test]
    fn the_address_of_a_pod_matters() {
        let mut moved = pod("True");
        moved.status.as_mut().unwrap().pod_ip = Some("10.0.0.2".to_owned());
        assert_ne!(pod("True"), moved);
    }
}
