//! The way out of a sidecar: listeners, routes, clusters and endpoints of all that it sees.
//!
//! Nothing here depends on the one proxy, only on its namespace, and on its labels where some
//! object selects clients by them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_xds::resource::listener::{Direction, FilterChainMatch};
use fairlead_xds::resource::route::{RouteConfiguration, VirtualHost};
use fairlead_xds::resource::{Listener, Resource};

use super::port::OutboundPort;
use crate::cluster::{self, BLACK_HOLE, Client, PASSTHROUGH, is_headless};
use crate::diagnostic::{Kind, Source};
use crate::listener::{WeightedClusters, empty, tcp_chain, unspecified};
use crate::output::Output;
use crate::protocol::Protocol;
use crate::registry::{Host, Origin, Port, Service};
use crate::route::{self, Scope};
use crate::snapshot::OutboundPolicy;
use crate::translator::Index;
use crate::view::{Resolver, View, Visible};
use crate::virtual_service::{GatewayRef, Layer4Condition, VirtualService};

/// Where redirected connections of the workload arrive.
const OUTBOUND_PORT: u16 = 15001;

/// All that sidecars with this view share. `family` is an address of the proxy's IP family.
pub(crate) fn outbound(index: &Index, view: &View, family: IpAddr) -> Output {
    let mut builder = Builder {
        index,
        view,
        any: unspecified(family),
        resolver: Resolver::new(view),
        ports: BTreeMap::new(),
        routes: BTreeMap::new(),
        output: Output::default(),
    };
    for visible in &view.services {
        builder.add_clusters(visible);
        for port in &visible.service.ports {
            builder.add_port(&visible.service, port);
        }
    }
    builder.add_hosts_without_service();
    builder.finish()
}

/// Routes of one port under construction.
#[derive(Default)]
struct Routes {
    hosts: Vec<VirtualHost>,
    domains: BTreeSet<String>,
    sources: BTreeSet<Source>,
}

impl Routes {
    /// Adds a host with those of its domains that no older one has.
    fn add(&mut self, mut host: VirtualHost) {
        host.domains
            .retain(|domain| self.domains.insert(domain.to_ascii_lowercase()));
        if !host.domains.is_empty() {
            self.hosts.push(host);
        }
    }
}

struct Builder<'b> {
    index: &'b Index,
    view: &'b View,
    any: IpAddr,
    resolver: Resolver<'b>,
    ports: BTreeMap<(IpAddr, u16), OutboundPort>,
    routes: BTreeMap<String, (u16, Routes)>,
    output: Output,
}

impl Builder<'_> {
    fn add_clusters(&mut self, visible: &Visible) {
        let Visible { service, rule } = visible;
        let scope = self.index.cluster_scope(Client::Sidecar);
        let mut sources = declared_by(service);
        sources.extend(rule.iter().flat_map(|rule| rule.sources.iter().cloned()));
        for port in service
            .ports
            .iter()
            .filter(|port| port.protocol != Protocol::Udp)
        {
            let subsets = rule
                .iter()
                .flat_map(|rule| rule.subsets().values())
                .map(Some);
            for subset in [None].into_iter().chain(subsets) {
                let clusters = &self.index.clusters;
                let shared = clusters.outbound(scope, service, port, rule.as_ref(), subset);
                self.output.add_cluster(shared, sources.clone());
            }
        }
    }

    fn add_port(&mut self, service: &Service, port: &Port) {
        let mesh = GatewayRef::Mesh;
        let routes = self
            .index
            .virtual_services
            .find(&service.host, &mesh, &self.view.namespace);
        let routes = routes.cloned();
        match port.protocol {
            Protocol::Udp => {}
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => {
                self.add_http(service, port, routes.as_deref());
            }
            // Whose address is not known could be anybody's, so that HTTP shares the port.
            Protocol::Auto if !service.has_address() => {
                self.add_http(service, port, routes.as_deref());
            }
            Protocol::Auto => self.add_sniffed(service, port, routes.as_deref()),
            Protocol::Tls | Protocol::Tcp => self.add_bytes(service, port, routes.as_deref()),
        }
    }

    fn add_http(&mut self, service: &Service, port: &Port, routes: Option<&VirtualService>) {
        let name = port.number.to_string();
        let domains = route::domains(service, &self.view.namespace);
        let host = self.virtual_host(service, port, routes, domains);
        self.ports
            .entry((self.any, port.number))
            .or_default()
            .routes = Some(name.clone());
        let (_, configuration) = self
            .routes
            .entry(name)
            .or_insert_with(|| (port.number, Routes::default()));
        configuration.add(host);
        configuration.sources.extend(declared_by(service));
        configuration
            .sources
            .extend(routes.map(|routes| routes.source.clone()));
    }

    /// A port of which nothing is said: HTTP is routed, anything else goes to the service.
    fn add_sniffed(&mut self, service: &Service, port: &Port, routes: Option<&VirtualService>) {
        let name = format!("{}:{}", service.host, port.number);
        let host = self.virtual_host(service, port, routes, vec!["*".to_owned()]);
        let (_, configuration) = self
            .routes
            .entry(name.clone())
            .or_insert_with(|| (port.number, Routes::default()));
        configuration.add(host);
        configuration.sources.extend(declared_by(service));
        configuration
            .sources
            .extend(routes.map(|routes| routes.source.clone()));
        let clusters = self.clusters_of_bytes(service, port, routes);
        for range in &service.addresses {
            let entry = self.ports.entry((range.address, port.number)).or_default();
            if entry.routes.is_none() {
                entry.routes = Some(name.clone());
                entry.set_bytes(&clusters);
            }
        }
    }

    fn add_bytes(&mut self, service: &Service, port: &Port, routes: Option<&VirtualService>) {
        let clusters = self.clusters_of_bytes(service, port, routes);
        let named = self.clusters_by_name(port, routes);
        let mut sources = declared_by(service);
        sources.extend(routes.map(|routes| routes.source.clone()));
        let places: Vec<_> = if service.has_address() {
            service
                .addresses
                .iter()
                .map(|range| (range.address, Some(*range)))
                .collect()
        } else if is_headless(service) {
            let ips = service
                .endpoints
                .iter()
                .filter_map(|endpoint| match &endpoint.host {
                    Host::Ip(ip) => Some((*ip, None)),
                    Host::Name(_) => None,
                });
            ips.collect()
        } else {
            vec![(self.any, None)]
        };
        for (address, range) in places {
            let is_range = range
                .is_some_and(|range| range.prefix_len < if address.is_ipv4() { 32 } else { 128 });
            let place = if is_range { self.any } else { address };
            let entry = self.ports.entry((place, port.number)).or_default();
            for (names, clusters) in &named {
                entry.add_server_names(names, clusters);
            }
            match range {
                Some(range) if is_range => entry.add_range(range, &clusters),
                // Without an address a server name is all that tells services apart.
                None if port.protocol == Protocol::Tls && place == self.any => {
                    entry.add_server_names(std::slice::from_ref(&service.host), &clusters);
                }
                _ => entry.set_bytes(&clusters),
            }
            entry.sources.extend(sources.iter().cloned());
        }
    }

    fn virtual_host(
        &mut self,
        service: &Service,
        port: &Port,
        routes: Option<&VirtualService>,
        domains: Vec<String>,
    ) -> VirtualHost {
        let scope = Scope {
            gateway: &GatewayRef::Mesh,
            port: port.number,
        };
        let mut list = routes
            .map(|routes| route::of_virtual_service(routes, &scope, &mut self.resolver))
            .unwrap_or_default();
        if list.is_empty() {
            list.push(route::default_route(
                &service.host,
                port.number,
                &mut self.resolver,
            ));
        }
        VirtualHost {
            name: format!("{}:{}", service.host, port.number),
            domains,
            routes: list,
            include_attempt_count: true,
            ..VirtualHost::default()
        }
    }

    /// Where bytes to a service go: as a VirtualService says, else to the service.
    fn clusters_of_bytes(
        &mut self,
        service: &Service,
        port: &Port,
        routes: Option<&VirtualService>,
    ) -> WeightedClusters {
        let rule = routes.and_then(|routes| {
            routes.tcp.iter().find(|rule| {
                rule.conditions.is_empty()
                    || rule
                        .conditions
                        .iter()
                        .any(|own| self.applies(own, port.number))
            })
        });
        match rule {
            None => vec![(cluster::outbound_name(port.number, "", &service.host), 1)],
            Some(rule) => rule
                .destinations
                .iter()
                .map(|(to, weight)| (self.resolver.cluster(to, port.number), *weight))
                .collect(),
        }
    }

    /// Where TLS with certain server names goes.
    fn clusters_by_name(
        &mut self,
        port: &Port,
        routes: Option<&VirtualService>,
    ) -> Vec<(Vec<String>, WeightedClusters)> {
        let mut named = Vec::new();
        for rule in routes.iter().flat_map(|routes| &routes.tls) {
            let conditions = rule
                .conditions
                .iter()
                .filter(|own| self.applies(own, port.number));
            let names: Vec<_> = conditions
                .flat_map(|own| own.server_names.iter().cloned())
                .collect();
            if names.is_empty() {
                continue;
            }
            let clusters = rule
                .destinations
                .iter()
                .map(|(to, weight)| (self.resolver.cluster(to, port.number), *weight))
                .collect();
            named.push((names, clusters));
        }
        named
    }

    fn applies(&self, condition: &Layer4Condition, port: u16) -> bool {
        (condition.gateways.is_empty() || condition.gateways.contains(&GatewayRef::Mesh))
            && condition.port.is_none_or(|own| own == port)
            && condition
                .source_namespace
                .as_ref()
                .is_none_or(|own| *own == self.view.namespace)
            && crate::registry::is_subset(&condition.source_labels, &self.view.labels)
    }

    /// Hosts that only a VirtualService knows are routed on every port where HTTP is spoken.
    fn add_hosts_without_service(&mut self) {
        let mesh = GatewayRef::Mesh;
        let all: Vec<Arc<VirtualService>> = self
            .index
            .virtual_services
            .of(&mesh, &self.view.namespace)
            .cloned()
            .collect();
        for service in all.iter().filter(|service| !service.http.is_empty()) {
            let hosts = service
                .hosts
                .iter()
                .filter(|host| !self.view.is_service(host));
            for host in hosts {
                self.add_host_without_service(service, host);
            }
        }
    }

    fn add_host_without_service(&mut self, service: &VirtualService, host: &str) {
        for (name, (port, configuration)) in &mut self.routes {
            // A port that one service has for itself is not shared.
            if name.contains(':') {
                continue;
            }
            let scope = Scope {
                gateway: &GatewayRef::Mesh,
                port: *port,
            };
            let routes = route::of_virtual_service(service, &scope, &mut self.resolver);
            if routes.is_empty() {
                continue;
            }
            configuration.add(VirtualHost {
                name: format!("{host}:{port}"),
                domains: vec![host.to_owned()],
                routes,
                include_attempt_count: true,
                ..VirtualHost::default()
            });
            configuration.sources.insert(service.source.clone());
        }
    }

    fn finish(mut self) -> Output {
        for (name, (_, mut routes)) in self.routes {
            routes.add(route::catch_all(self.index.mesh.outbound));
            let configuration = RouteConfiguration {
                name,
                virtual_hosts: routes.hosts,
                ignore_port_in_host: true,
                ..RouteConfiguration::default()
            };
            self.output
                .add(&Resource::Route(configuration), routes.sources);
        }
        let otherwise = match self.index.mesh.outbound {
            OutboundPolicy::AllowAny => PASSTHROUGH,
            OutboundPolicy::RegistryOnly => BLACK_HOLE,
        };
        for ((address, port), entry) in self.ports {
            let sources = entry.sources.clone();
            let fallback = (address == self.any).then_some(otherwise);
            let listener = entry.into_listener(address, port, fallback);
            self.output
                .add(&Resource::Listener(Box::new(listener)), sources);
        }
        let listener = virtual_outbound(self.any, otherwise);
        self.output
            .add(&Resource::Listener(Box::new(listener)), BTreeSet::new());
        self.output
    }
}

/// Where all connections of the workload arrive, and those to what is not known stay.
fn virtual_outbound(any: IpAddr, otherwise: &str) -> Listener {
    let address = SocketAddr::new(any, OUTBOUND_PORT);
    let mut listener = empty("virtualOutbound", address, Direction::Outbound);
    listener.use_original_dst = true;
    let to_itself = FilterChainMatch {
        destination_port: Some(OUTBOUND_PORT),
        ..FilterChainMatch::default()
    };
    listener.filter_chains = vec![
        // A connection that was meant for this port would be sent to it again, without end.
        tcp_chain(
            "virtualOutbound-blackhole",
            to_itself,
            vec![(BLACK_HOLE.to_owned(), 1)],
        ),
        tcp_chain(
            "virtualOutbound-catchall-tcp",
            FilterChainMatch::default(),
            vec![(otherwise.to_owned(), 1)],
        ),
    ];
    listener
}

/// The configuration object that declares a service; a Service of Kubernetes is none.
fn declared_by(service: &Service) -> BTreeSet<Source> {
    match service.source.kind {
        Kind::ServiceEntry => BTreeSet::from([service.source.clone()]),
        Kind::VirtualService
        | Kind::DestinationRule
        | Kind::Gateway
        | Kind::PeerAuthentication
        | Kind::Service
        | Kind::Secret => {
            debug_assert_eq!(service.origin, Origin::Kubernetes, "only Services are left");
            BTreeSet::new()
        }
    }
}
