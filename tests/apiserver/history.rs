//! What the API server says happened: every version of weights, endpoints and replicas in the
//! order of its own revisions, and the rules that each must keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::Value;

use fairlead_tests::players::{gateway_routes_resource, routes_resource, slice_resource};

/// One thing that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    /// The canary's weight, and whether clients are bound to it.
    Traffic(u8, bool),
    CanaryEndpoints(usize),
    PrimaryEndpoints(usize),
    TargetReplicas(i32),
}

/// The facts of one namespace, by resource version.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    facts: Arc<Mutex<BTreeMap<u64, Fact>>>,
    broken: Arc<Mutex<Option<String>>>,
}

impl History {
    /// Records a namespace until dropped.
    pub(crate) async fn record(self, client: Client, namespace: String, target: String) {
        let routes: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &routes_resource());
        let gateway_routes: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &gateway_routes_resource());
        let slices: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &slice_resource());
        let workloads: Api<Deployment> = Api::namespaced(client, &namespace);
        let canary = format!("{target}-canary");
        let primary = format!("{target}-primary");
        let recorded = tokio::try_join!(
            self.follow(&routes, |object| traffic(
                &object.data["spec"]["http"],
                host
            )),
            self.follow(&gateway_routes, |object| {
                traffic(&object.data["spec"]["rules"], backend)
            }),
            self.follow(&slices, |object| {
                let ready = object.data["endpoints"].as_array().map_or(0, Vec::len);
                if object.name_any() == canary {
                    Some(Fact::CanaryEndpoints(ready))
                } else {
                    (object.name_any() == primary).then_some(Fact::PrimaryEndpoints(ready))
                }
            }),
            self.follow(&workloads, |object| {
                let replicas = object.spec.as_ref().and_then(|spec| spec.replicas)?;
                (object.name_any() == target).then_some(Fact::TargetReplicas(replicas))
            }),
        );
        if let Err(error) = recorded {
            *self.broken.lock() = Some(error.to_string());
        }
    }

    async fn follow<K>(&self, api: &Api<K>, fact: impl Fn(&K) -> Option<Fact>) -> kube::Result<()>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + kube::Resource,
    {
        let note = |object: &K| {
            let version = object.resource_version().unwrap_or_default();
            if let (Some(fact), Ok(number)) = (fact(object), version.parse()) {
                self.facts.lock().insert(number, fact);
            }
            version
        };
        loop {
            let list = api.list(&ListParams::default()).await?;
            list.iter().for_each(|object| drop(note(object)));
            let mut version = list.metadata.resource_version.clone().unwrap_or_default();
            // Ends with an error of the server's cache only; then all is listed again.
            'watching: loop {
                let events = api.watch(&WatchParams::default(), &version).await?;
                let mut events = std::pin::pin!(events);
                while let Some(event) = events.try_next().await? {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            version = note(&object);
                        }
                        WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
                        WatchEvent::Error(_) => break 'watching,
                    }
                }
            }
        }
    }

    /// The weights of the canary, each once.
    pub(crate) fn weights(&self) -> Vec<u8> {
        let mut weights = Vec::new();
        for fact in self.facts.lock().values() {
            if let Fact::Traffic(weight, _) = fact
                && weights.last() != Some(weight)
            {
                weights.push(*weight);
            }
        }
        weights
    }

    /// Whether every change kept the rules.
    pub(crate) fn judge(&self) -> Result<()> {
        let broken = self.broken.lock().clone();
        ensure!(broken.is_none(), "the history has a gap: {broken:?}");
        let (mut weight, mut canary, mut primary) = (0, 0, 0);
        let mut bound = false;
        for (version, fact) in &*self.facts.lock() {
            match *fact {
                Fact::Traffic(next, binds) => {
                    ensure!(
                        !binds || bound || canary > 0,
                        "at {version} clients were bound to no endpoint"
                    );
                    ensure!(
                        !binds || next > 0,
                        "at {version} clients were bound to a canary without a weight"
                    );
                    bound = binds;
                    ensure!(
                        next <= weight || canary > 0,
                        "at {version} the weight rose from {weight} to {next} toward no endpoint"
                    );
                    ensure!(
                        next >= weight || primary > 0,
                        "at {version} the weight fell from {weight} to {next} with no primary"
                    );
                    weight = next;
                }
                Fact::CanaryEndpoints(ready) => canary = ready,
                Fact::PrimaryEndpoints(ready) => primary = ready,
                Fact::TargetReplicas(replicas) => ensure!(
                    replicas > 0 || weight == 0,
                    "at {version} the canary was scaled down at weight {weight}"
                ),
            }
        }
        Ok(())
    }
}

/// What routes say of the canary: its weight where it is divided, and whether any route leads to
/// it alone. `name` gives the Service of a destination.
fn traffic(routes: &Value, name: fn(&Value) -> (&Value, &Value)) -> Option<Fact> {
    let mut divided = None;
    let mut bound = false;
    for route in routes.as_array()? {
        let (list, _) = name(route);
        let mut weights = (None, None);
        for destination in list.as_array()? {
            let (_, service) = name(destination);
            let weight = destination["weight"].as_u64();
            let service = service.as_str().unwrap_or_default();
            if service.ends_with("-canary") {
                weights.1 = weight;
            } else if service.ends_with("-primary") {
                weights.0 = weight;
            }
        }
        match weights {
            (Some(_), Some(canary)) => divided = divided.or(u8::try_from(canary).ok()),
            (None, Some(_)) => bound = true,
            (Some(_) | None, None) => {}
        }
    }
    divided.map(|weight| Fact::Traffic(weight, bound))
}

/// The destinations of a VirtualService's route, and the host of one.
fn host(value: &Value) -> (&Value, &Value) {
    (&value["route"], &value["destination"]["host"])
}

/// The backends of an HTTPRoute's rule, and the name of one.
fn backend(value: &Value) -> (&Value, &Value) {
    (&value["backendRefs"], &value["name"])
}
