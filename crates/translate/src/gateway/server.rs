//! Servers of Gateway objects, read once with what is wrong with them.

use std::collections::BTreeMap;

use fairlead_crds::networking as crd;
use jiff::Timestamp;

use super::tls::{self, Tls};
use crate::diagnostic::{Diagnostic, Findings, Kind, Source, is_given};
use crate::protocol::Protocol;
use crate::registry::is_subset;
use crate::rule::is_match;
use crate::snapshot::{ObjectKey, Snapshot};
use crate::virtual_service::GatewayRef;

/// A port of a Gateway with the hosts that it serves.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) source: Source,
    pub(crate) gateway: GatewayRef,
    /// Path of the server's field.
    pub(crate) field: String,
    pub(crate) port: u16,
    pub(crate) port_name: String,
    pub(crate) protocol: Protocol,
    pub(crate) hosts: Vec<ServerHost>,
    pub(crate) tls: Tls,
    pub(crate) redirects_to_https: bool,
}

/// A host of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerHost {
    /// Only for VirtualServices of this namespace.
    namespace: Option<String>,
    pub(crate) host: String,
}

impl ServerHost {
    fn parse(text: &str, own: &str) -> Self {
        let (namespace, host) = match text.split_once('/') {
            None | Some(("*", _)) => (None, text.rsplit('/').next().unwrap_or(text)),
            Some((".", host)) => (Some(own.to_owned()), host),
            Some((namespace, host)) => (Some(namespace.to_owned()), host),
        };
        Self {
            namespace,
            host: host.to_ascii_lowercase(),
        }
    }

    /// The part of a VirtualService's host that this server serves.
    pub(crate) fn intersect(&self, namespace: &str, host: &str) -> Option<String> {
        if self
            .namespace
            .as_deref()
            .is_some_and(|own| own != namespace)
        {
            return None;
        }
        if self.host == "*" || self.host == host || is_match(&self.host, host) {
            Some(host.to_owned())
        } else if host == "*" || is_match(host, &self.host) {
            Some(self.host.clone())
        } else {
            None
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    created: Timestamp,
    selector: BTreeMap<String, String>,
    servers: Vec<Server>,
}

/// All Gateways, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateways {
    all: Vec<Entry>,
}

impl Gateways {
    pub(crate) fn new(snapshot: &Snapshot, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut all: Vec<_> = snapshot
            .gateways
            .iter()
            .map(|(key, object)| {
                let source = Source::of(Kind::Gateway, key, &object.metadata);
                let mut findings = Findings::new(source.clone(), diagnostics);
                let servers = object.spec.servers.iter().enumerate();
                let servers = servers
                    .filter_map(|(index, server)| {
                        let field = format!("spec.servers[{index}]");
                        read(key, &source, &field, server, &mut findings)
                    })
                    .collect();
                Entry {
                    created: object
                        .metadata
                        .creation_timestamp
                        .as_ref()
                        .map_or(Timestamp::MAX, |time| time.0),
                    selector: object.spec.selector.clone(),
                    servers,
                }
            })
            .collect();
        // The order of keys, which is the order so far, decides among those of one age.
        all.sort_by_key(|entry| entry.created);
        Self { all }
    }

    /// All servers with the selector of their Gateway.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BTreeMap<String, String>, &Server)> {
        self.all
            .iter()
            .flat_map(|entry| entry.servers.iter().map(|server| (&entry.selector, server)))
    }

    /// The servers of the Gateways that select a workload; an empty selector selects all.
    pub(crate) fn selecting<'g>(
        &'g self,
        labels: &'g BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'g Server> {
        self.all
            .iter()
            .filter(|entry| is_subset(&entry.selector, labels))
            .flat_map(|entry| &entry.servers)
    }
}

fn read(
    key: &ObjectKey,
    source: &Source,
    field: &str,
    server: &crd::Server,
    findings: &mut Findings<'_>,
) -> Option<Server> {
    let Some(port) = u16::try_from(server.port.number)
        .ok()
        .filter(|port| *port > 0)
    else {
        findings.error(
            format!("{field}.port.number"),
            "is not a port; the server is left out",
        );
        return None;
    };
    let Some(protocol) = Protocol::parse(&server.port.protocol) else {
        findings.error(
            format!("{field}.port.protocol"),
            format!(
                "`{}` is not known; the server is left out",
                server.port.protocol
            ),
        );
        return None;
    };
    let is_bound = is_given(server.bind.as_ref());
    findings.error_of(
        field,
        &[("bind", is_bound)],
        "is not supported and has no effect",
    );
    findings.not_acted_on(
        field,
        &[
            (
                "defaultEndpoint",
                is_given(server.default_endpoint.as_ref()),
            ),
            ("port.targetPort", server.port.target_port.is_some()),
        ],
    );
    let is_https = server.port.protocol.eq_ignore_ascii_case("https");
    let tls = tls::read(field, server.tls.as_ref(), protocol, findings)?;
    Some(Server {
        source: source.clone(),
        gateway: GatewayRef::Named(key.clone()),
        field: field.to_owned(),
        port,
        port_name: server.port.name.clone(),
        // Behind the TLS that ends here is HTTP, or bytes.
        protocol: match (&tls, is_https) {
            (Tls::Terminate(_), true) => Protocol::Http,
            (Tls::Terminate(_), false) if protocol == Protocol::Tls => Protocol::Tcp,
            _ => protocol,
        },
        hosts: server
            .hosts
            .iter()
            .map(|host| ServerHost::parse(host, &key.namespace))
            .collect(),
        tls,
        redirects_to_https: server
            .tls
            .as_ref()
            .is_some_and(|tls| tls.https_redirect == Some(true)),
    })
}
