//! Keeps track of where nodes and API server are, by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Debug;
use std::net::IpAddr;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_kind};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::address::Places;

/// What is known; each part is `None` until its first list is complete.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    nodes: Option<BTreeSet<IpAddr>>,
    service: Option<BTreeSet<IpAddr>>,
    endpoints: Option<BTreeSet<IpAddr>>,
}

impl Known {
    /// The places, once all of them are known.
    pub(super) fn places(&self) -> Option<Places> {
        let api_server = self.service.as_ref()?.union(self.endpoints.as_ref()?);
        Some(Places {
            nodes: self.nodes.clone()?,
            api_server: api_server.copied().collect(),
        })
    }

    #[cfg(test)]
    pub(super) fn for_tests(places: Places) -> Self {
        Self {
            nodes: Some(places.nodes),
            service: Some(places.api_server),
            endpoints: Some(BTreeSet::new()),
        }
    }
}

/// Watches until `shutdown`.
pub(super) async fn follow(
    client: Client,
    known: watch::Sender<Known>,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let named = watcher::Config::default().fields("metadata.name=kubernetes");
    let labelled = watcher::Config::default().labels("kubernetes.io/service-name=kubernetes");
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let watches = async {
        tokio::join!(
            collect(
                Api::all(client),
                watcher::Config::default(),
                of_node,
                |all| known.send_modify(|known| known.nodes = Some(all)),
            ),
            collect(services, named, of_service, |all| {
                known.send_modify(|known| known.service = Some(all));
            }),
            collect(slices, labelled, of_slice, |all| {
                known.send_modify(|known| known.endpoints = Some(all));
            }),
        );
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watches => {}
    }
    Ok(())
}

/// Hands over the addresses of all objects of a watch whenever they may have changed.
async fn collect<K>(
    api: Api<K>,
    config: watcher::Config,
    addresses: fn(&K) -> Vec<IpAddr>,
    publish: impl Fn(BTreeSet<IpAddr>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut held: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let events = watch_kind(api, config).default_backoff();
    pin_mut!(events);
    let mut is_complete = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                held.clear();
                is_complete = false;
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                held.insert(object.name_any(), addresses(&object));
            }
            Ok(Event::Delete(object)) => {
                held.remove(&object.name_any());
            }
            Ok(Event::InitDone) => is_complete = true,
            Err(error) => {
                tracing::debug!(
                    error = %fairlead_runtime::report(&error),
                    kind = %K::kind(&()),
                    "addresses of the cluster could not be watched"
                );
            }
        }
        if is_complete {
            publish(held.values().flatten().copied().collect());
        }
    }
}

fn of_node(node: &Node) -> Vec<IpAddr> {
    let addresses = node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten());
    addresses
        .filter_map(|address| address.address.parse().ok())
        .collect()
}

fn of_service(service: &Service) -> Vec<IpAddr> {
    let addresses = service
        .spec
        .iter()
        .flat_map(|spec| spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip));
    addresses
        .filter_map(|address| address.parse().ok())
        .collect()
}

fn of_slice(slice: &EndpointSlice) -> Vec<IpAddr> {
    let endpoints = slice.endpoints.iter().flatten();
    let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
    addresses
        .filter_map(|address| address.parse().ok())
        .collect()
}
