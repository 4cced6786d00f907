//! Which Canaries a change wakes, and what they must read again then.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::{Resource, ResourceExt};

use super::directory::Directory;
use super::memory::Memory;
use super::sight::Part;
use super::{Reference, pods};

/// What the mappings from objects to Canaries are made of.
#[derive(Clone)]
pub(super) struct Wakers {
    pub(super) directory: Arc<Directory>,
    pub(super) memory: Arc<Memory>,
}

impl Wakers {
    /// The Canaries that a workload concerns.
    pub(super) fn by_workload<K: Resource>(
        &self,
    ) -> impl Fn(PartialObjectMeta<K>) -> Vec<Reference> + Send + Sync + 'static {
        let wakers = self.clone();
        move |object| {
            let (namespace, name) = place(&object);
            let found = wakers.directory.of_workload(&namespace, &name);
            wakers.forget(found, Part::Workloads, &object)
        }
    }

    /// The Canaries whose target an autoscaler scales, or whose primary.
    pub(super) fn by_scaler(
        &self,
    ) -> impl Fn(PartialObjectMeta<DynamicObject>) -> Vec<Reference> + Send + Sync + 'static {
        let wakers = self.clone();
        move |object| {
            let (namespace, name) = place(&object);
            let found = wakers.directory.of_scaler(&namespace, &name);
            wakers.forget(found, Part::Scalers, &object)
        }
    }

    /// The Canaries that a Service concerns: it may be a role's, and it may be the target.
    pub(super) fn by_target_service<K: Resource>(
        &self,
    ) -> impl Fn(PartialObjectMeta<K>) -> Vec<Reference> + Send + Sync + 'static {
        let wakers = self.clone();
        move |object| {
            let (namespace, name) = place(&object);
            let found = wakers.directory.of_service(&namespace, &name);
            let found = wakers.forget(found, Part::Objects, &object);
            wakers.forget(found, Part::Workloads, &object)
        }
    }

    /// The Canaries whose Services have the object's name.
    pub(super) fn by_service<K: Resource>(
        &self,
        part: Part,
    ) -> impl Fn(PartialObjectMeta<K>) -> Vec<Reference> + Send + Sync + 'static {
        let wakers = self.clone();
        move |object| {
            let (namespace, name) = place(&object);
            let found = wakers.directory.of_service(&namespace, &name);
            wakers.forget(found, part, &object)
        }
    }

    /// The Canaries that the endpoints of a Service concern.
    pub(super) fn by_label(
        &self,
    ) -> impl Fn(PartialObjectMeta<EndpointSlice>) -> Vec<Reference> + Send + Sync + 'static {
        let wakers = self.clone();
        move |slice| {
            let namespace = slice.namespace().unwrap_or_default();
            let service = slice.labels().get(pods::SERVICE_NAME);
            let found = service.map(|service| wakers.directory.of_service(&namespace, service));
            wakers.forget(found.unwrap_or_default(), Part::Endpoints, &slice)
        }
    }

    /// The Canaries whose target a pod belongs to; pods are read by every look that needs them.
    pub(super) fn by_owner(&self) -> impl Fn(Pod) -> Vec<Reference> + Send + Sync + 'static {
        let directory = Arc::clone(&self.directory);
        move |pod| {
            let namespace = pod.namespace().unwrap_or_default();
            pods::workload(&pod)
                .map(|workload| directory.of_target(&namespace, &workload))
                .unwrap_or_default()
        }
    }

    /// The Canaries whose target uses a config.
    pub(super) fn by_config<K: Resource<DynamicType = ()>>(
        &self,
        kind: &'static str,
    ) -> impl Fn(PartialObjectMeta<K>) -> Vec<Reference> + Send + Sync + 'static {
        let wakers = self.clone();
        move |object| {
            let (namespace, name) = place(&object);
            let config = format!("{kind}/{name}");
            let found = wakers.directory.of_config(&namespace, &config);
            wakers.forget(found, Part::Configs, &object)
        }
    }

    /// What Canaries know of a part is out of date, unless they know `object` as it is now.
    fn forget(
        &self,
        canaries: Vec<Reference>,
        part: Part,
        object: &impl ResourceExt,
    ) -> Vec<Reference> {
        let version = object.resource_version();
        for canary in &canaries {
            self.memory.forget(canary, part, version.as_deref());
        }
        canaries
    }
}

/// Namespace and name of an object.
fn place(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
