//! What pods say of a rollout: ready endpoints, and crashes. Reads only.

use fairlead_crds::label;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::observe::{Error, Observer};
use crate::workload::Snapshot;

/// The label by which EndpointSlices name their Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Restarts of one container that end a run early.
const MOST_RESTARTS: i32 = 2;

/// What the EndpointSlices of both Services hold.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) primary: Slices,
    pub(super) canary: Slices,
}

/// What the EndpointSlices of one Service hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    /// Ready endpoints.
    ready: u32,
    /// The revision that all of them carry, as the Service that they were made for did.
    revision: Option<String>,
}

impl Slices {
    /// The ready endpoints that were made for a Service with this revision. As long as the slices
    /// are of another one, nothing is known of any.
    pub(super) fn ready_of(&self, revision: Option<&str>) -> u32 {
        let is_late = revision.is_some() && self.revision.as_deref() != revision;
        if is_late { 0 } else { self.ready }
    }
}

/// What keeps a pod from becoming ready; with the sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ailment {
    /// It does not come up by itself within the deadline: a canary that is waited for is stuck by
    /// one such pod, however many others are ready.
    Crash(String),
    /// Something that may still come: an image, a config, a node with room.
    Obstacle(String),
}

impl Observer<'_> {
    /// Reads the EndpointSlices of both Services.
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
            primary: of_service(&slices.items, &route.primary),
            canary: of_service(&slices.items, &route.canary),
        })
    }

    /// What keeps a pod of a workload from becoming ready: a crash, or else what it waits for.
    pub(super) async fn ailing_pod(&self, of: &Snapshot) -> Result<Option<Ailment>, Error> {
        let template = of.template.as_ref().ok();
        let label = template.and_then(|template| template.label.as_ref());
        let (Some(label), Some(pods)) = (label, &of.selector) else {
            return Ok(None);
        };
        let namespace = &self.plan.names.namespace;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let selector = format!("{}={},{label}", pods.key, pods.value);
        let pods = api.list(&ListParams::default().labels(&selector)).await;
        let pods = pods.map_err(|source| Error::Read {
            object: format!("the pods of `{namespace}/{}`", self.plan.names.target),
            source: source.into(),
        })?;
        let crash = pods.items.iter().find_map(crash).map(Ailment::Crash);
        let obstacle = || pods.items.iter().find_map(obstacle).map(Ailment::Obstacle);
        Ok(crash.or_else(obstacle))
    }
}

fn of_service(slices: &[EndpointSlice], service: &str) -> Slices {
    let is_its = |slice: &&EndpointSlice| {
        let name = slice.labels().get(SERVICE_NAME);
        name.is_some_and(|name| name == service)
    };
    let slices: Vec<&EndpointSlice> = slices.iter().filter(is_its).collect();
    let mut revisions: Vec<Option<&String>> = slices
        .iter()
        .map(|slice| slice.labels().get(label::RELEASED_REVISION))
        .collect();
    revisions.dedup();
    let mut addresses: Vec<&String> = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
        })
        .filter_map(|endpoint| endpoint.addresses.first())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Slices {
        ready: u32::try_from(addresses.len()).unwrap_or(u32::MAX),
        revision: match revisions[..] {
            [revision] => revision.cloned(),
            _ => None,
        },
    }
}

/// Why a pod crashes, if it does.
pub(super) fn crash(pod: &Pod) -> Option<String> {
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
        // One that answers again has left its restarts behind.
        (!container.ready && container.restart_count >= MOST_RESTARTS).then(|| {
            format!(
                "container {} of pod {name} restarted {} times",
                container.name, container.restart_count
            )
        })
    })
}

/// Reasons of a waiting container that tell more than "not ready".
const OBSTACLES: [&str; 7] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];
/// The most that is repeated of a kubelet's sentence, in characters.
const MOST_OF_SENTENCE: usize = 200;

/// What a pod waits for, when its kubelet or the scheduler says more than that it is not ready.
pub(super) fn obstacle(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let told = |message: Option<&String>| {
        let message = message.map(String::as_str).unwrap_or_default();
        let message: String = message.chars().take(MOST_OF_SENTENCE).collect();
        if message.is_empty() {
            message
        } else {
            format!(": {message}")
        }
    };
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    let held = containers.flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        OBSTACLES.contains(&reason).then(|| {
            format!(
                "container {} of pod {name} is in {reason}{}",
                container.name,
                told(waiting.message.as_ref())
            )
        })
    });
    held.or_else(|| {
        let conditions = status.conditions.iter().flatten();
        let mut unscheduled = conditions.filter(|one| {
            one.type_ == "PodScheduled"
                && one.status == "False"
                && one.reason.as_deref() == Some("Unschedulable")
        });
        let condition = unscheduled.next()?;
        let why = told(condition.message.as_ref());
        Some(format!("no node takes pod {name}{why}"))
    })
}

/// The name of the workload that a pod belongs to; that of a ReplicaSet is its Deployment's with the
/// hash of the template.
pub(super) fn workload(pod: &Pod) -> Option<String> {
    let mut owners = pod.owner_references().iter();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    if owner.kind != "ReplicaSet" {
        return Some(owner.name.clone());
    }
    let hash = pod.labels().get("pod-template-hash")?;
    let deployment = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    Some(deployment.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(owner: &str, name: &str) -> Pod {
        let pod = json!({ "metadata": {
            "name": "shop-web-5d4f-x2x9z",
            "labels": { "pod-template-hash": "5d4f" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": owner, "name": name, "uid": "1", "controller": true,
            }],
        } });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn endpoints_of_another_revision_of_a_service_are_not_counted() {
        let slice = |service: &str, revision: Option<&str>, address: &str| {
            let mut slice = json!({
                "metadata": { "labels": { SERVICE_NAME: service } },
                "addressType": "IPv4",
                "endpoints": [{ "addresses": [address] }],
            });
            if let Some(revision) = revision {
                slice["metadata"]["labels"][label::RELEASED_REVISION] = json!(revision);
            }
            serde_json::from_value::<EndpointSlice>(slice).unwrap()
        };
        let check = |slices: &[EndpointSlice], revision: Option<&str>, expected: u32| {
            let found = of_service(slices, "web").ready_of(revision);
            assert_eq!(found, expected, "{revision:?}");
        };
        let of_one = [
            slice("web", Some("one"), "10.0.0.1"),
            slice("web", Some("one"), "10.0.0.2"),
            slice("other", Some("two"), "10.0.0.3"),
        ];
        check(&of_one, Some("one"), 2);
        check(&of_one, Some("two"), 0);
        // Of a workload, whose Services carry none.
        check(&of_one, None, 2);
        let half_done = [
            slice("web", Some("one"), "10.0.0.1"),
            slice("web", Some("two"), "10.0.0.2"),
        ];
        check(&half_done, Some("two"), 0);
        check(&[slice("web", None, "10.0.0.1")], Some("one"), 0);
        check(&[], Some("one"), 0);
    }

    #[test]
    fn restarts_count_until_the_container_is_ready_again() {
        let crashes = |ready: bool, restarts: i32| {
            let pod = json!({ "metadata": { "name": "web-1" }, "status": { "containerStatuses": [{
                "name": "app", "image": "a", "imageID": "", "ready": ready,
                "restartCount": restarts, "state": { "running": {} },
            }] } });
            crash(&serde_json::from_value(pod).unwrap()).is_some()
        };
        assert!(crashes(false, 2) && !crashes(false, 1));
        assert!(!crashes(true, 2));
    }

    #[test]
    fn a_pod_says_what_it_waits_for() {
        let waits = |status: serde_json::Value| {
            let pod = json!({ "metadata": { "name": "web-1" }, "status": status });
            obstacle(&serde_json::from_value(pod).unwrap())
        };
        let container = |reason: &str, message: Option<&str>| {
            json!({ "containerStatuses": [{
                "name": "app", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": message } },
            }] })
        };
        assert_eq!(
            waits(container("ErrImagePull", Some("not found"))).as_deref(),
            Some("container app of pod web-1 is in ErrImagePull: not found")
        );
        assert_eq!(
            waits(container("ImagePullBackOff", None)).as_deref(),
            Some("container app of pod web-1 is in ImagePullBackOff")
        );
        assert_eq!(waits(container("ContainerCreating", None)), None);
        let unscheduled = json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available",
        }] });
        assert_eq!(
            waits(unscheduled).as_deref(),
            Some("no node takes pod web-1: 0/3 nodes are available")
        );
        assert_eq!(waits(json!({})), None);
    }

    #[test]
    fn a_pod_belongs_to_the_workload_behind_its_replica_set() {
        let of = |kind, name| workload(&pod(kind, name));
        assert_eq!(
            of("ReplicaSet", "shop-web-5d4f").as_deref(),
            Some("shop-web")
        );
        assert_eq!(of("StatefulSet", "shop-web").as_deref(), Some("shop-web"));
        assert_eq!(of("ReplicaSet", "by-hand"), None);
        assert_eq!(workload(&Pod::default()), None);
    }
}
