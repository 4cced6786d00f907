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
    Weight(u8),
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
            self.follow(&routes, |object| weight(&object.data).map(Fact::Weight)),
            self.follow(&gateway_routes, |object| {
                gateway_weight(&object.data).map(Fact::Weight)
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
            if let Fact::Weight(weight) = fact
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
        for (version, fact) in &*self.facts.lock() {
            match *fact {
                Fact::Weight(next) => {
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

/// The canary's weight in a VirtualService of ours.
fn weight(data: &Value) -> Option<u8> {
    let destinations = data["spec"]["http"][0]["route"].as_array()?;
    let canary = destinations.iter().find(|one| {
        one["destination"]["host"]
            .as_str()
            .is_some_and(|host| host.ends_with("-canary"))
    })?;
    canary["weight"].as_u64()?.try_into().ok()
}

/// The canary's weight in an HTTPRoute.
fn gateway_weight(data: &Value) -> Option<u8> {
    let backends = data["spec"]["rules"][0]["backendRefs"].as_array()?;
    let is_canary = |one: &&Value| {
        one["name"]
            .as_str()
            .is_some_and(|name| name.ends_with("-canary"))
    };
    backends.iter().find(is_canary)?["weight"]
        .as_u64()?
        .try_into()
        .ok()
}
