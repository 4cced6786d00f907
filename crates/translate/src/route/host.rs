//! Domains of virtual hosts, and the host of everything else.

use std::net::IpAddr;

use fairlead_routing::RouteMatch;
use fairlead_xds::resource::route::{Action, Forward, Route, VirtualHost};

use crate::cluster::{PASSTHROUGH, is_headless};
use crate::registry::{Origin, Service};
use crate::snapshot::OutboundPolicy;

/// The names that clients in `namespace` have for a service. Ports do not count.
pub(crate) fn domains(service: &Service, namespace: &str) -> Vec<String> {
    let mut names = vec![service.host.clone()];
    if service.origin == Origin::Kubernetes {
        let Service {
            name,
            namespace: own,
            ..
        } = service;
        names.push(format!("{}.", service.host));
        if own == namespace {
            names.push(name.clone());
        }
        names.push(format!("{name}.{own}"));
        names.push(format!("{name}.{own}.svc"));
    }
    if is_headless(service) {
        let pods: Vec<_> = names.iter().map(|name| format!("*.{name}")).collect();
        names.extend(pods);
    }
    names.extend(
        service
            .addresses
            .iter()
            .filter(|range| range.prefix_len >= if range.address.is_ipv4() { 32 } else { 128 })
            .map(|range| address_domain(range.address)),
    );
    names
}

/// An address as a domain.
fn address_domain(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The host of requests to what is not known.
pub(crate) fn catch_all(policy: OutboundPolicy) -> VirtualHost {
    let (name, action) = match policy {
        OutboundPolicy::AllowAny => (
            "allow_any",
            Action::Forward(Box::new(Forward::to(PASSTHROUGH))),
        ),
        OutboundPolicy::RegistryOnly => (
            "block_all",
            Action::Respond {
                status: 502,
                body: None,
            },
        ),
    };
    VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![Route::new(name, RouteMatch::any(), action)],
        ..VirtualHost::default()
    }
}
