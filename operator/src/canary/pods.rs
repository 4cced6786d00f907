//! What pods say of a rollout: ready endpoints, and crashes. Reads only.

use fairlead_rollout::{Readiness, Role as Side};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};

use super::observe::{Error, Observer};
use crate::workload::Snapshot;

/// The label by which EndpointSlices name their Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Restarts of one container that end a run early.
const MOST_RESTARTS: i32 = 2;

/// Ready endpoints of the two roles.
pub(super) struct Endpoints {
    pub(super) primary: u32,
    pub(super) canary: u32,
}

impl Observer<'_> {
    /// Counts the ready endpoints of both Services.
    pub(super) async fn endpoints(&self) -> Result<Endpoints, Error> {
        let route = &self.plan.route;
        let selector = format!("{SERVICE_NAME} in ({},{})", route.primary, route.canary);
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &route.namespace);
        let slices = api.list(&ListParams::default().labels(&selector)).await;
        let slices = slices.map_err(|source| Error::Read {
            object: format!("the EndpointSlices of `{}/{}`", route.namespace, route.apex),
            source: source.into(),
        })?;
        Ok(Endpoints {
            primary: ready_endpoints(&slices.items, &route.primary),
            canary: ready_endpoints(&slices.items, &route.canary),
        })
    }

    /// Pods that crash do not come up by themselves within the deadline.
    pub(super) async fn notice_crashes(
        &self,
        canary: &mut Side,
        target: &Snapshot,
    ) -> Result<(), Error> {
        let (Readiness::Pending(_), Ok(template)) = (&canary.readiness, &target.template) else {
            return Ok(());
        };
        let namespace = &self.plan.names.namespace;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let selector = format!(
            "{}={},{}",
            target.selector.key, target.selector.value, template.label
        );
        let pods = api.list(&ListParams::default().labels(&selector)).await;
        let pods = pods.map_err(|source| Error::Read {
            object: format!("the pods of `{namespace}/{}`", self.plan.names.target),
            source: source.into(),
        })?;
        if let Some(why) = pods.items.iter().find_map(crash) {
            canary.readiness = Readiness::Stuck(why);
        }
        Ok(())
    }
}

fn ready_endpoints(slices: &[EndpointSlice], service: &str) -> u32 {
    let of_service = |slice: &&EndpointSlice| {
        let labels = slice.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(SERVICE_NAME))
            .is_some_and(|name| name == service)
    };
    let mut addresses: Vec<&String> = slices
        .iter()
        .filter(of_service)
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
        })
        .filter_map(|endpoint| endpoint.addresses.first())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    u32::try_from(addresses.len()).unwrap_or(u32::MAX)
}

/// Why a pod crashes, if it does.
fn crash(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let containers = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses);
    containers.flatten().find_map(|container| {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        if reason == Some("CrashLoopBackOff") {
            return Some(format!(
                "container {} of pod {name} is in CrashLoopBackOff",
                container.name
            ));
        }
        (container.restart_count >= MOST_RESTARTS).then(|| {
            format!(
                "container {} of pod {name} restarted {} times",
                container.name, container.restart_count
            )
        })
    })
}
