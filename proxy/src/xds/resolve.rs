//! Endpoints that are known by name: looked up again and again, and told when they change.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fairlead_xds::resource::endpoint::{Address, Endpoint, LoadAssignment};

/// Looks up the names of an assignment. A name that cannot be looked up now is left out; when none
/// can, the answer is `None` and what was known before is to stay.
pub async fn assignment(names: &LoadAssignment) -> Option<LoadAssignment> {
    let mut resolved = names.clone();
    let mut any = false;
    for locality in &mut resolved.localities {
        let mut endpoints = Vec::new();
        for endpoint in &locality.endpoints {
            match &endpoint.address {
                Address::Socket(_) => endpoints.push(endpoint.clone()),
                Address::Name { host, port } => {
                    let addresses = lookup(host, *port).await;
                    endpoints.extend(addresses.into_iter().map(|address| Endpoint {
                        address: Address::Socket(address),
                        hostname: host.clone(),
                        ..endpoint.clone()
                    }));
                }
            }
        }
        any |= !endpoints.is_empty();
        locality.endpoints = endpoints;
    }
    any.then_some(resolved)
}

/// The addresses of a name in a stable order.
async fn lookup(host: &str, port: u16) -> BTreeSet<SocketAddr> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            tracing::debug!(host, %error, "a name could not be looked up");
            BTreeSet::new()
        }
    }
}
