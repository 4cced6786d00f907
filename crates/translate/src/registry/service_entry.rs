//! Services that a ServiceEntry declares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_crds::networking as crd;
use fairlead_xds::resource::endpoint::{Locality, Workload};
use fairlead_xds::resource::listener::Cidr;

use super::{
    Endpoint, Host, Origin, Port, Resolution, Service, Target, Visibility, Workloads, is_subset,
};
use crate::diagnostic::{Diagnostic, Findings, Kind, Source, is_given};
use crate::protocol::Protocol;
use crate::snapshot::{ObjectKey, Snapshot};

pub(super) fn services(
    snapshot: &Snapshot,
    workloads: &Workloads,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Service> {
    let mut services = Vec::new();
    for (key, entry) in &snapshot.service_entries {
        let source = Source::of(Kind::ServiceEntry, key, &entry.metadata);
        let mut findings = Findings::new(source.clone(), diagnostics);
        services.extend(build(
            snapshot,
            key,
            entry,
            &source,
            workloads,
            &mut findings,
        ));
    }
    services
}

fn build(
    snapshot: &Snapshot,
    key: &ObjectKey,
    entry: &crd::ServiceEntry,
    source: &Source,
    workloads: &Workloads,
    findings: &mut Findings<'_>,
) -> Vec<Service> {
    let spec = &entry.spec;
    let ports = ports(spec, findings);
    let resolution = match spec.resolution.unwrap_or_default() {
        crd::Resolution::None => Resolution::Passthrough,
        crd::Resolution::Static => Resolution::Known,
        crd::Resolution::Dns => Resolution::Dns,
        crd::Resolution::DnsRoundRobin => Resolution::DnsRoundRobin,
        crd::Resolution::DynamicDns => {
            findings.error(
                "spec.resolution",
                "`DYNAMIC_DNS` is not supported; connections go where clients want, as with `NONE`",
            );
            Resolution::Passthrough
        }
    };
    let origin = match spec.location.unwrap_or_default() {
        crd::Location::MeshExternal => Origin::MeshExternal,
        crd::Location::MeshInternal => Origin::MeshInternal,
    };
    let endpoints = match &spec.workload_selector {
        Some(selector) => selected(key, &selector.labels, &ports, workloads),
        None => listed(snapshot, key, spec, &ports, findings),
    };
    let addresses = addresses(spec, findings);
    let accounts = accounts(key, spec, workloads);
    spec.hosts
        .iter()
        .map(|host| {
            let mut endpoints = endpoints.clone();
            let by_dns = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
            if by_dns && spec.endpoints.is_empty() && spec.workload_selector.is_none() {
                if host.starts_with('*') {
                    findings.error(
                        "spec.hosts",
                        format!("`{host}` cannot be resolved; give `endpoints` or `NONE`"),
                    );
                } else {
                    endpoints = vec![by_name(host, &ports)];
                }
            }
            Service {
                host: host.to_ascii_lowercase(),
                name: host.clone(),
                namespace: key.namespace.clone(),
                created: entry
                    .metadata
                    .creation_timestamp
                    .as_ref()
                    .map(|time| time.0),
                addresses: addresses.clone(),
                ports: ports.clone(),
                resolution,
                origin,
                visibility: Visibility::parse(spec.export_to.iter().map(String::as_str)),
                source: source.clone(),
                endpoints,
                accounts: accounts.clone(),
                selector: spec
                    .workload_selector
                    .as_ref()
                    .map(|selector| selector.labels.clone()),
                subject_alt_names: spec.subject_alt_names.clone(),
            }
        })
        .collect()
}

fn ports(spec: &crd::ServiceEntrySpec, findings: &mut Findings<'_>) -> Vec<Port> {
    let mut ports = Vec::new();
    for (index, port) in spec.ports.iter().enumerate() {
        let (Ok(number), Ok(target)) = (
            u16::try_from(port.number),
            u16::try_from(port.target_port.unwrap_or(port.number)),
        ) else {
            findings.error(
                format!("spec.ports[{index}]"),
                "is not a port; it is left out",
            );
            continue;
        };
        let protocol = match port.protocol.as_deref() {
            None | Some("") => Protocol::of_port(None, &port.name, number, None),
            Some(text) => Protocol::parse(text).unwrap_or_else(|| {
                findings.warn(
                    format!("spec.ports[{index}].protocol"),
                    format!("`{text}` is not known; connections are looked at instead"),
                );
                Protocol::Auto
            }),
        };
        let target = Target::Number(target);
        ports.push(Port {
            number,
            name: port.name.clone(),
            protocol,
            target,
        });
    }
    ports
}

fn addresses(spec: &crd::ServiceEntrySpec, findings: &mut Findings<'_>) -> Vec<Cidr> {
    let mut addresses = Vec::new();
    for (index, text) in spec.addresses.iter().enumerate() {
        match parse_range(text) {
            Some(range) => addresses.push(range),
            None => findings.error(
                format!("spec.addresses[{index}]"),
                format!("`{text}` is not an address or a range; it is left out"),
            ),
        }
    }
    addresses
}

/// Reads an address or a range such as `10.0.0.0/8`.
pub(crate) fn parse_range(text: &str) -> Option<Cidr> {
    let Some((address, len)) = text.split_once('/') else {
        return text.parse().ok().map(Cidr::host);
    };
    let full = Cidr::host(address.parse().ok()?);
    let prefix_len = len.parse().ok().filter(|len| *len <= full.prefix_len)?;
    Some(Cidr { prefix_len, ..full })
}

fn by_name(host: &str, ports: &[Port]) -> Endpoint {
    Endpoint {
        host: Host::Name(host.to_owned()),
        ports: target_ports(ports),
        labels: Arc::default(),
        workload: None,
        has_sidecar: false,
        locality: Locality::default(),
        weight: None,
    }
}

fn target_ports(ports: &[Port]) -> BTreeMap<u16, u16> {
    ports
        .iter()
        .map(|port| match port.target {
            Target::Number(target) => (port.number, target),
            Target::Name(_) => (port.number, port.number),
        })
        .collect()
}

/// Endpoints that the entry lists itself.
fn listed(
    snapshot: &Snapshot,
    key: &ObjectKey,
    spec: &crd::ServiceEntrySpec,
    ports: &[Port],
    findings: &mut Findings<'_>,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (index, entry) in spec.endpoints.iter().enumerate() {
        let field = format!("spec.endpoints[{index}]");
        findings.not_acted_on(&field, &[("network", is_given(entry.network.as_ref()))]);
        let address = entry.address.clone().unwrap_or_default();
        if address.is_empty() || address.starts_with("unix:") {
            findings.error(
                format!("{field}.address"),
                "only IP addresses and host names are supported; the endpoint is left out",
            );
            continue;
        }
        for (name, number) in &entry.ports {
            let is_port = u16::try_from(*number).is_ok();
            if !is_port || ports.iter().all(|port| port.name != *name) {
                findings.error(
                    format!("{field}.ports[{name}]"),
                    "is not one of `spec.ports`, or not a port; it has no effect",
                );
            }
        }
        let mut numbers = target_ports(ports);
        for port in ports {
            let own = entry
                .ports
                .get(&port.name)
                .and_then(|own| u16::try_from(*own).ok());
            if let Some(own) = own {
                numbers.insert(port.number, own);
            }
        }
        let label = |name: &str| entry.labels.get(name).cloned().unwrap_or_default();
        let app = label(fairlead_crds::label::APP);
        endpoints.push(Endpoint {
            host: address.parse().map_or(Host::Name(address), Host::Ip),
            ports: numbers,
            workload: (!app.is_empty()).then(|| Workload {
                name: app.clone(),
                namespace: key.namespace.clone(),
                canonical_name: app,
                canonical_revision: label(fairlead_crds::label::VERSION),
                cluster: snapshot.mesh.cluster.clone(),
            }),
            has_sidecar: label(fairlead_crds::label::TLS_MODE) == "istio",
            locality: parse_locality(entry.locality.as_deref().unwrap_or_default()),
            weight: entry.weight.filter(|weight| *weight > 0),
            labels: Arc::new(entry.labels.clone()),
        });
    }
    endpoints
}

fn parse_locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality {
        region: next(),
        zone: next(),
        sub_zone: next(),
    }
}

/// The service accounts of the endpoints that the entry lists, or of the pods that it selects.
fn accounts(
    key: &ObjectKey,
    spec: &crd::ServiceEntrySpec,
    workloads: &Workloads,
) -> BTreeSet<(String, String)> {
    let listed = spec
        .endpoints
        .iter()
        .filter_map(|entry| entry.service_account.clone());
    let selector = spec.workload_selector.iter();
    let selected = selector.flat_map(|selector| {
        workloads
            .in_namespace(&key.namespace)
            .filter(|(_, pod)| is_subset(&selector.labels, &pod.labels))
            .map(|(_, pod)| pod.service_account.clone())
    });
    listed
        .chain(selected)
        .map(|account| (key.namespace.clone(), account))
        .collect()
}

/// Pods that the entry selects.
fn selected(
    key: &ObjectKey,
    selector: &BTreeMap<String, String>,
    ports: &[Port],
    workloads: &Workloads,
) -> Vec<Endpoint> {
    workloads
        .in_namespace(&key.namespace)
        .filter(|(_, pod)| is_subset(selector, &pod.labels) && pod.is_ready && !pod.is_terminating)
        .flat_map(|(_, pod)| {
            pod.ips.iter().take(1).map(|ip| Endpoint {
                host: Host::Ip(*ip),
                ports: target_ports(ports),
                labels: Arc::clone(&pod.labels),
                workload: Some(pod.workload.clone()),
                has_sidecar: pod.has_sidecar,
                locality: pod.locality.clone(),
                weight: None,
            })
        })
        .collect()
}
