//! One port of a gateway, on which servers of several Gateways may meet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fairlead_xds::node::Node;
use fairlead_xds::resource::listener::{
    FilterChain, FilterChainMatch, ListenerFilter, RouteSource, TransportProtocol,
};
use fairlead_xds::resource::route::{RouteConfiguration, VirtualHost};
use fairlead_xds::resource::{CertificateValidation, DownstreamTls, Listener, Resource};

use super::server::Server;
use super::tls::{Certificate, ClientCertificate, Termination, Tls};
use crate::cluster::{MESH_ROOTS, OWN_CERTIFICATE};
use crate::diagnostic::{Diagnostic, Findings, Source};
use crate::listener::{Role, WeightedClusters, http, tcp_chain};
use crate::output::Output;
use crate::route::{self, Scope};
use crate::secret::{self, Credential};
use crate::translator::Index;
use crate::view::Resolver;
use crate::virtual_service::{GatewayRef, Layer4Condition, VirtualService};

/// The servers of one port.
#[derive(Default)]
pub(super) struct GatewayPort<'p> {
    pub(super) servers: Vec<&'p Server>,
}

impl GatewayPort<'_> {
    /// Makes the listener, its routes and its secrets.
    pub(super) fn build(self, listener: Listener, target: Target<'_, '_>) {
        let mut builder = Builder {
            listener,
            target,
            names: BTreeSet::new(),
            has_bytes: false,
            sources: BTreeSet::new(),
        };
        let (plain, others): (Vec<_>, Vec<_>) = self
            .servers
            .into_iter()
            .partition(|server| server.tls == Tls::None && server.protocol.is_http());
        for server in others {
            builder.add(server);
        }
        builder.add_plain_http(&plain);
        builder.finish();
    }
}

/// For whom a port is made, and where what is made goes.
pub(super) struct Target<'t, 'v> {
    pub(super) index: &'t Index,
    pub(super) node: &'t Node,
    /// Whether it runs in a pod that we know, and so has the labels that got it here.
    pub(super) is_known: bool,
    pub(super) resolver: &'t mut Resolver<'v>,
    pub(super) output: &'t mut Output,
    pub(super) diagnostics: &'t mut Vec<Diagnostic>,
}

struct Builder<'b, 'v> {
    listener: Listener,
    target: Target<'b, 'v>,
    /// Server names that have a chain already; `*` is any.
    names: BTreeSet<String>,
    has_bytes: bool,
    sources: BTreeSet<Source>,
}

impl Builder<'_, '_> {
    fn add(&mut self, server: &Server) {
        self.sources.insert(server.source.clone());
        match &server.tls {
            Tls::None => self.add_bytes(server),
            Tls::Passthrough => self.add_passthrough(server),
            Tls::Terminate(termination) => self.add_terminated(server, termination),
        }
    }

    fn add_plain_http(&mut self, servers: &[&Server]) {
        let Some(first) = servers.first() else { return };
        let name = format!("http.{}", self.listener.address.port());
        self.sources
            .extend(servers.iter().map(|server| server.source.clone()));
        self.add_routes(&name, first.port, servers);
        let chain = self.http_chain(&name, FilterChainMatch::default(), None);
        self.listener.filter_chains.push(chain);
    }

    fn http_chain(
        &self,
        routes: &str,
        matches: FilterChainMatch,
        tls: Option<DownstreamTls>,
    ) -> FilterChain {
        let stat_prefix = format!("outbound_{}", self.listener.name);
        let source = RouteSource::Rds(routes.to_owned());
        let handler = http(Role::Gateway, stat_prefix, source);
        FilterChain {
            name: routes.to_owned(),
            matches,
            tls,
            handler,
        }
    }

    fn add_terminated(&mut self, server: &Server, termination: &Termination) {
        let Some(names) = self.claim(server, server.hosts.iter().map(|own| own.host.clone()))
        else {
            return;
        };
        let Some(tls) = self.terminate(server, termination) else {
            return;
        };
        let matches = FilterChainMatch {
            server_names: names,
            transport_protocol: Some(TransportProtocol::Tls),
            ..FilterChainMatch::default()
        };
        let Source {
            namespace,
            name: gateway,
            ..
        } = &server.source;
        let name = format!(
            "https.{}.{}.{gateway}.{namespace}",
            server.port, server.port_name
        );
        if server.protocol.is_http() {
            self.add_routes(&name, server.port, &[server]);
            let chain = self.http_chain(&name, matches, Some(tls));
            self.listener.filter_chains.push(chain);
            return;
        }
        if let Some(clusters) = self.tcp_clusters(server) {
            let mut chain = tcp_chain(name, matches, clusters);
            chain.tls = Some(tls);
            self.listener.filter_chains.push(chain);
        }
    }

    /// Names that no older server has; `None` if none is left.
    fn claim(
        &mut self,
        server: &Server,
        names: impl Iterator<Item = String>,
    ) -> Option<Vec<String>> {
        let mut claimed = Vec::new();
        for name in names {
            if self.names.insert(name.clone()) {
                claimed.push(name);
            } else {
                Findings::new(server.source.clone(), self.target.diagnostics).error(
                    format!("{}.hosts", server.field),
                    format!("TLS for `{name}` is served already by an older server of the port"),
                );
            }
        }
        if claimed.is_empty() {
            return None;
        }
        // Any name at all is written as no name.
        let is_any = claimed.iter().any(|name| name == "*");
        Some(if is_any { Vec::new() } else { claimed })
    }

    /// The TLS of a server; `None` if its certificate cannot be had, which would keep the whole
    /// listener, with its other servers, from starting.
    fn terminate(&mut self, server: &Server, own: &Termination) -> Option<DownstreamTls> {
        let mut tls = DownstreamTls {
            require_client_certificate: own.client == ClientCertificate::Required,
            alpn: ["h2", "http/1.1"].map(str::to_owned).to_vec(),
            min_version: own
                .min_version
                .or(Some(fairlead_xds::resource::TlsVersion::V1_2)),
            max_version: own.max_version,
            ..DownstreamTls::default()
        };
        if !server.protocol.is_http() {
            tls.alpn.clear();
        }
        let asks = own.client != ClientCertificate::NotAsked;
        let roots = match &own.certificate {
            Certificate::Mesh => {
                tls.certificates.push(OWN_CERTIFICATE.to_owned());
                MESH_ROOTS.to_owned()
            }
            Certificate::Secret(credential) => {
                if let Err(error) = self.add_secrets(server, credential) {
                    Findings::new(server.source.clone(), self.target.diagnostics).error(
                        format!("{}.tls.credentialName", server.field),
                        format!("{error}; the server is left out"),
                    );
                    return None;
                }
                tls.certificates.push(credential.certificate_name());
                credential.roots_name()
            }
        };
        tls.validation = asks.then(|| CertificateValidation {
            roots: Some(roots),
            subject_alt_names: own.subject_alt_names.clone(),
        });
        Some(tls)
    }

    fn add_secrets(
        &mut self,
        server: &Server,
        credential: &Credential,
    ) -> Result<(), secret::Error> {
        let Target {
            index,
            node,
            is_known,
            output,
            ..
        } = &mut self.target;
        if !*is_known {
            return Err(secret::Error::UnknownProxy);
        }
        let namespace = &node.metadata.namespace;
        for secret in secret::of_gateway(index, namespace, credential)? {
            let sources = BTreeSet::from([server.source.clone()]);
            output.add(&Resource::Secret(secret), sources);
        }
        Ok(())
    }

    fn add_passthrough(&mut self, server: &Server) {
        for service in self.bound(server) {
            for rule in &service.tls {
                let applicable = rule
                    .conditions
                    .iter()
                    .filter(|own| applies(own, server))
                    .collect::<Vec<_>>();
                let names: BTreeSet<_> = applicable
                    .iter()
                    .flat_map(|own| &own.server_names)
                    .flat_map(|name| {
                        let namespace = &service.source.namespace;
                        server
                            .hosts
                            .iter()
                            .filter_map(move |own| own.intersect(namespace, name))
                    })
                    .collect();
                if names.is_empty() {
                    continue;
                }
                self.sources.insert(service.source.clone());
                let Some(names) = self.claim(server, names.into_iter()) else {
                    continue;
                };
                let clusters = self.clusters(&rule.destinations, server.port);
                let name = format!("{}.{}", service.source.name, names.join(","));
                let matches = FilterChainMatch {
                    server_names: names,
                    transport_protocol: Some(TransportProtocol::Tls),
                    ..FilterChainMatch::default()
                };
                self.listener
                    .filter_chains
                    .push(tcp_chain(name, matches, clusters));
            }
        }
    }

    fn add_bytes(&mut self, server: &Server) {
        if self.has_bytes {
            Findings::new(server.source.clone(), self.target.diagnostics).error(
                format!("{}.port", server.field),
                "bytes of the port belong already to an older server",
            );
            return;
        }
        if let Some(clusters) = self.tcp_clusters(server) {
            self.has_bytes = true;
            let name = format!("tcp.{}", server.port);
            let chain = tcp_chain(name, FilterChainMatch::default(), clusters);
            self.listener.filter_chains.push(chain);
        }
    }

    fn tcp_clusters(&mut self, server: &Server) -> Option<WeightedClusters> {
        let bound = self.bound(server);
        let (service, rule) = bound.iter().find_map(|service| {
            let rule = service.tcp.iter().find(|rule| {
                rule.conditions.is_empty() || rule.conditions.iter().any(|own| applies(own, server))
            })?;
            Some((service, rule))
        })?;
        self.sources.insert(service.source.clone());
        Some(self.clusters(&rule.destinations, server.port))
    }

    fn clusters(
        &mut self,
        destinations: &[(crate::virtual_service::Destination, u32)],
        port: u16,
    ) -> WeightedClusters {
        destinations
            .iter()
            .map(|(to, weight)| (self.target.resolver.cluster(to, port), *weight))
            .collect()
    }

    fn bound(&self, server: &Server) -> Vec<Arc<VirtualService>> {
        let namespace = &self.target.node.metadata.namespace;
        self.target
            .index
            .virtual_services
            .of(&server.gateway, namespace)
            .cloned()
            .collect()
    }

    /// The routes of servers that share a route configuration.
    fn add_routes(&mut self, name: &str, port: u16, servers: &[&Server]) {
        let mut hosts = BTreeMap::<String, Host>::new();
        let mut sources = BTreeSet::new();
        for server in servers {
            sources.insert(server.source.clone());
            if server.redirects_to_https {
                for own in &server.hosts {
                    hosts.entry(own.host.clone()).or_default().redirects = true;
                }
            }
            for service in self.bound(server) {
                let namespace = &service.source.namespace;
                let served: BTreeSet<_> = service
                    .hosts
                    .iter()
                    .flat_map(|host| {
                        server
                            .hosts
                            .iter()
                            .filter_map(|own| own.intersect(namespace, host))
                    })
                    .collect();
                if !served.is_empty() && !service.http.is_empty() {
                    sources.insert(service.source.clone());
                }
                for host in served {
                    let host = hosts.entry(host).or_default();
                    host.redirects |= server.redirects_to_https;
                    let binding = (Arc::clone(&service), server.gateway.clone(), server.port);
                    if !host
                        .bindings
                        .iter()
                        .any(|(own, ..)| own.source == service.source)
                    {
                        host.bindings.push(binding);
                    }
                }
            }
        }
        let mut virtual_hosts: Vec<_> = hosts
            .into_iter()
            .filter_map(|(host, entry)| entry.build(&host, port, self.target.resolver))
            .collect();
        if virtual_hosts.is_empty() {
            virtual_hosts.push(VirtualHost {
                name: format!("blackhole:{port}"),
                domains: vec!["*".to_owned()],
                ..VirtualHost::default()
            });
        }
        let configuration = RouteConfiguration {
            name: name.to_owned(),
            virtual_hosts,
            ignore_port_in_host: true,
            ..RouteConfiguration::default()
        };
        self.target
            .output
            .add(&Resource::Route(configuration), sources);
    }

    fn finish(mut self) {
        let has_tls = self
            .listener
            .filter_chains
            .iter()
            .any(|chain| chain.matches.transport_protocol == Some(TransportProtocol::Tls));
        if has_tls {
            self.listener.filters.push(ListenerFilter::TlsInspector);
            self.listener.filters_timeout = Some(Duration::ZERO);
            self.listener.continue_on_filters_timeout = true;
        }
        // Without a chain there is nothing to listen for, and Envoy refuses the listener.
        if !self.listener.filter_chains.is_empty() {
            self.target
                .output
                .add(&Resource::Listener(Box::new(self.listener)), self.sources);
        }
    }
}

fn applies(condition: &Layer4Condition, server: &Server) -> bool {
    (condition.gateways.is_empty() || condition.gateways.contains(&server.gateway))
        && condition.port.is_none_or(|port| port == server.port)
}

/// A host with all VirtualServices that route it, the oldest first.
#[derive(Default)]
struct Host {
    bindings: Vec<(Arc<VirtualService>, GatewayRef, u16)>,
    redirects: bool,
}

impl Host {
    /// The routes of all, one after the other; those that take everything come last, so that an
    /// older one does not hide the younger. `None` if nothing is said of HTTP.
    fn build(self, host: &str, port: u16, resolver: &mut Resolver<'_>) -> Option<VirtualHost> {
        let mut routes = Vec::new();
        let mut last = Vec::new();
        for (service, gateway, port) in &self.bindings {
            let scope = Scope {
                gateway,
                port: *port,
            };
            for route in route::of_virtual_service(service, &scope, resolver) {
                if route.matches.is_catch_all() {
                    last.push(route);
                } else {
                    routes.push(route);
                }
            }
        }
        routes.extend(last.into_iter().take(1));
        (!routes.is_empty() || self.redirects).then(|| VirtualHost {
            name: format!("{host}:{port}"),
            domains: vec![host.to_owned()],
            routes,
            require_tls: self.redirects,
            include_attempt_count: true,
            ..VirtualHost::default()
        })
    }
}
