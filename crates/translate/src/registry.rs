//! The services of the mesh in one form, whatever they were declared by.

mod endpoint;
mod kubernetes;
mod service_entry;
mod visibility;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_xds::resource::cluster::ServiceRef;
use fairlead_xds::resource::listener::Cidr;
use jiff::Timestamp;

use crate::diagnostic::{Diagnostic, Source};
use crate::protocol::Protocol;
use crate::snapshot::Snapshot;

pub(crate) use endpoint::{Endpoint, Host};
pub(crate) use visibility::Visibility;
pub(crate) use workload::{PodInfo, Workloads};

/// A service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Full host name.
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) created: Option<Timestamp>,
    /// Addresses that clients connect to.
    pub(crate) addresses: Vec<Cidr>,
    pub(crate) ports: Vec<Port>,
    pub(crate) resolution: Resolution,
    pub(crate) origin: Origin,
    pub(crate) visibility: Visibility,
    pub(crate) source: Source,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Namespaces and names of the service accounts of its pods, ready or not, so that they do not
    /// change with every pod that comes or goes.
    pub(crate) accounts: BTreeSet<(String, String)>,
    /// Labels of the pods that serve it.
    pub(crate) selector: Option<BTreeMap<String, String>>,
    /// Names that its certificate may have, where the mesh does not know the workloads.
    pub(crate) subject_alt_names: Vec<String>,
}

/// Where a service was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A Service of Kubernetes.
    Kubernetes,
    /// A ServiceEntry of a service in the mesh.
    MeshInternal,
    /// A ServiceEntry of a service elsewhere.
    MeshExternal,
}

/// How a service's endpoints are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// The mesh knows them.
    Known,
    /// The client connects to them directly.
    Passthrough,
    /// All addresses that DNS has.
    Dns,
    /// The address that DNS has for each new connection.
    DnsRoundRobin,
}

/// A port of a service.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
}

/// The port of a service's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Number(u16),
    Name(String),
}

impl Service {
    pub(crate) fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// The service as metrics name it.
    pub(crate) fn reference(&self) -> ServiceRef {
        ServiceRef {
            host: self.host.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
        }
    }

    /// Whether clients connect to an address of the service, and not to those of its pods.
    pub(crate) const fn has_address(&self) -> bool {
        !self.addresses.is_empty()
    }
}

/// All services.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    /// The oldest first, so that a newcomer takes nothing from those before it.
    services: Vec<Arc<Service>>,
    by_host: BTreeMap<String, Vec<usize>>,
    domain: String,
}

impl Registry {
    pub(crate) fn new(
        snapshot: &Snapshot,
        workloads: &Workloads,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut services = kubernetes::services(snapshot, workloads, diagnostics);
        services.extend(service_entry::services(snapshot, workloads, diagnostics));
        services.sort_by(|left, right| {
            let key = |service: &Service| {
                // What has no time of creation is not in a cluster yet, and so the youngest.
                (
                    service.created.unwrap_or(Timestamp::MAX),
                    service.namespace.clone(),
                )
            };
            key(left)
                .cmp(&key(right))
                .then_with(|| left.host.cmp(&right.host))
        });
        let mut by_host = BTreeMap::<String, Vec<usize>>::new();
        for (index, service) in services.iter().enumerate() {
            by_host.entry(service.host.clone()).or_default().push(index);
        }
        let services = services.into_iter().map(Arc::new).collect();
        Self {
            services,
            by_host,
            domain: snapshot.mesh.domain.clone(),
        }
    }

    /// The services that clients in `namespace` see: of each host one, their own namespace's
    /// before others, then the oldest.
    pub(crate) fn visible(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.services
            .iter()
            .filter(|service| {
                self.find(&service.host, namespace)
                    .is_some_and(|found| Arc::ptr_eq(found, service))
            })
            .cloned()
            .collect()
    }

    /// The service of a full host name, as clients in `namespace` see it.
    pub(crate) fn find(&self, host: &str, namespace: &str) -> Option<&Arc<Service>> {
        let candidates = || {
            self.by_host
                .get(host)
                .into_iter()
                .flatten()
                .filter_map(|index| self.services.get(*index))
                .filter(|service| service.visibility.includes(&service.namespace, namespace))
        };
        candidates()
            .find(|service| service.namespace == namespace)
            .or_else(|| candidates().next())
    }

    /// The full host name of a name in a manifest of `namespace`: names without a dot are of that
    /// namespace, and a shortened name of a service in another is completed.
    pub(crate) fn full_host(&self, host: &str, namespace: &str) -> String {
        let domain = &self.domain;
        if host == "*" || host.starts_with("*.") {
            return host.to_owned();
        }
        if !host.contains('.') {
            return format!("{host}.{namespace}.svc.{domain}");
        }
        [format!("{host}.svc.{domain}"), format!("{host}.{domain}")]
            .into_iter()
            .find(|full| self.by_host.contains_key(full))
            .unwrap_or_else(|| host.trim_end_matches('.').to_owned())
    }

    /// Services whose pods have `labels` in `namespace`.
    pub(crate) fn serving<'r>(
        &'r self,
        namespace: &'r str,
        labels: &'r BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'r Arc<Service>> {
        self.services.iter().filter(move |service| {
            service.namespace == namespace
                && service
                    .selector
                    .as_ref()
                    .is_some_and(|selector| !selector.is_empty() && is_subset(selector, labels))
        })
    }
}

/// Whether `labels` has all of `selector`.
pub(crate) fn is_subset(
    selector: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
