//! Load assignments (EDS) of a service's port, or of a subset of its pods.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fairlead_xds::resource::LoadAssignment;
use fairlead_xds::resource::endpoint::{Address, Endpoint as XdsEndpoint, LocalityEndpoints};

use crate::policy::{Mode, PeerPolicies};
use crate::registry::{Endpoint, Host, Port, Service, is_subset};

/// The endpoints of `port` whose labels have all of `labels`, by locality.
pub(crate) fn assignment(
    cluster: &str,
    service: &Service,
    port: &Port,
    labels: &BTreeMap<String, String>,
    peers: &PeerPolicies,
) -> LoadAssignment {
    let mut localities = BTreeMap::<_, Vec<XdsEndpoint>>::new();
    for endpoint in &service.endpoints {
        if !is_subset(labels, &endpoint.labels) {
            continue;
        }
        if let Some(translated) = translate(endpoint, service, port, peers) {
            localities
                .entry(endpoint.locality.clone())
                .or_default()
                .push(translated);
        }
    }
    let localities = localities
        .into_iter()
        .map(|(locality, mut endpoints)| {
            endpoints.sort_by(|left, right| left.address.cmp(&right.address));
            LocalityEndpoints {
                locality,
                weight: None,
                priority: 0,
                endpoints,
            }
        })
        .collect();
    LoadAssignment {
        cluster: cluster.to_owned(),
        localities,
    }
}

fn translate(
    endpoint: &Endpoint,
    service: &Service,
    port: &Port,
    peers: &PeerPolicies,
) -> Option<XdsEndpoint> {
    let number = *endpoint.ports.get(&port.number)?;
    // A workload that was told to take no mutual TLS is sent none, sidecar or not.
    let takes_mutual_tls = endpoint.has_sidecar
        && peers.mode(&service.namespace, &endpoint.labels, number) != Mode::Disable;
    let (address, hostname) = match &endpoint.host {
        Host::Ip(ip) => (Address::Socket(SocketAddr::new(*ip, number)), String::new()),
        Host::Name(name) => (
            Address::Name {
                host: name.clone(),
                port: number,
            },
            name.clone(),
        ),
    };
    Some(XdsEndpoint {
        hostname,
        weight: endpoint.weight,
        workload: endpoint.workload.clone(),
        tls_mode: takes_mutual_tls.then(|| "istio".to_owned()),
        ..XdsEndpoint::new(address)
    })
}

/// The assignment without endpoints that have no IP address, which only DNS clusters can have.
pub(crate) fn without_names(mut assignment: LoadAssignment) -> LoadAssignment {
    for locality in &mut assignment.localities {
        locality
            .endpoints
            .retain(|endpoint| matches!(endpoint.address, Address::Socket(_)));
    }
    assignment
        .localities
        .retain(|locality| !locality.endpoints.is_empty());
    assignment
}
