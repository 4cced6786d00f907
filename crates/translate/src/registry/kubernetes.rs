//! Services of Kubernetes with the endpoints of their slices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fairlead_xds::resource::endpoint::Locality;
use fairlead_xds::resource::listener::Cidr;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::workload::PodInfo;
use super::{Endpoint, Host, Origin, Port, Resolution, Service, Target, Visibility, Workloads};
use crate::diagnostic::{Diagnostic, Findings, Kind, Source};
use crate::protocol::Protocol;
use crate::snapshot::{ObjectKey, Objects, Snapshot};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const EXPORT_TO: &str = "networking.istio.io/exportTo";

pub(super) fn services(
    snapshot: &Snapshot,
    workloads: &Workloads,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Service> {
    let slices = slices_by_service(&snapshot.endpoint_slices);
    snapshot
        .services
        .iter()
        .filter_map(|(key, service)| {
            let slices = slices.get(key).map(Vec::as_slice).unwrap_or_default();
            build(snapshot, key, service, slices, workloads, diagnostics)
        })
        .collect()
}

fn slices_by_service(slices: &Objects<EndpointSlice>) -> BTreeMap<ObjectKey, Vec<&EndpointSlice>> {
    let mut by_service = BTreeMap::<ObjectKey, Vec<&EndpointSlice>>::new();
    for (key, slice) in slices {
        let labels = slice.metadata.labels.as_ref();
        if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) {
            by_service
                .entry(ObjectKey::new(&key.namespace, service))
                .or_default()
                .push(slice);
        }
    }
    by_service
}

fn build(
    snapshot: &Snapshot,
    key: &ObjectKey,
    service: &core::Service,
    slices: &[&EndpointSlice],
    workloads: &Workloads,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Service> {
    let spec = service.spec.as_ref()?;
    let source = Source::of(Kind::Service, key, &service.metadata);
    let annotations = service.metadata.annotations.as_ref();
    let export_to = annotations.and_then(|annotations| annotations.get(EXPORT_TO));
    let visibility = Visibility::parse(export_to.into_iter().flat_map(|list| list.split(',')));
    let ports = ports(spec, &mut Findings::new(source.clone(), diagnostics));
    let external_name = spec
        .external_name
        .as_ref()
        .filter(|_| spec.type_.as_deref() == Some("ExternalName"));
    let addresses = addresses(spec);
    // Clients of a headless service connect to its pods themselves; gateways need them all the same.
    let (resolution, endpoints) = external_name.map_or_else(
        || (Resolution::Known, endpoints(key, &ports, slices, workloads)),
        |name| (Resolution::Dns, vec![external_endpoint(name, &ports)]),
    );
    Some(Service {
        host: format!(
            "{}.{}.svc.{}",
            key.name, key.namespace, snapshot.mesh.domain
        ),
        name: key.name.clone(),
        namespace: key.namespace.clone(),
        created: service
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0),
        addresses,
        ports,
        resolution,
        origin: Origin::Kubernetes,
        visibility,
        source,
        endpoints,
        accounts: accounts(key, slices, workloads),
        selector: spec.selector.clone(),
        subject_alt_names: Vec::new(),
    })
}

fn ports(spec: &core::ServiceSpec, findings: &mut Findings<'_>) -> Vec<Port> {
    let mut ports = Vec::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let Ok(number) = u16::try_from(port.port) else {
            findings.error(
                format!("spec.ports[{index}].port"),
                "is not a port; it is left out",
            );
            continue;
        };
        let name = port.name.clone().unwrap_or_default();
        let protocol = Protocol::of_port(
            port.app_protocol.as_deref(),
            &name,
            number,
            port.protocol.as_deref(),
        );
        let target = match &port.target_port {
            None | Some(IntOrString::Int(0)) => Target::Number(number),
            Some(IntOrString::Int(target)) => {
                Target::Number(u16::try_from(*target).unwrap_or(number))
            }
            Some(IntOrString::String(name)) => Target::Name(name.clone()),
        };
        ports.push(Port {
            number,
            name,
            protocol,
            target,
        });
    }
    ports
}

fn addresses(spec: &core::ServiceSpec) -> Vec<Cidr> {
    let ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<_> = ips
        .filter_map(|ip| ip.parse::<IpAddr>().ok())
        .map(Cidr::host)
        .collect();
    let mut seen = Vec::new();
    addresses.retain(|address| {
        let is_new = !seen.contains(address);
        seen.push(*address);
        is_new
    });
    addresses
}

fn external_endpoint(name: &str, ports: &[Port]) -> Endpoint {
    Endpoint {
        host: name
            .parse()
            .map_or_else(|_| Host::Name(name.to_owned()), Host::Ip),
        ports: ports
            .iter()
            .map(|port| (port.number, port.number))
            .collect(),
        labels: Arc::default(),
        workload: None,
        has_sidecar: false,
        locality: Locality::default(),
        weight: None,
    }
}

/// Endpoints that get requests: ready, and not about to end. A pod that is being deleted is out
/// as soon as the pod says so, which is before its slice does.
fn endpoints(
    key: &ObjectKey,
    ports: &[Port],
    slices: &[&EndpointSlice],
    workloads: &Workloads,
) -> Vec<Endpoint> {
    // While slices are rebalanced an address may be in two of them.
    let mut endpoints = BTreeMap::<IpAddr, Endpoint>::new();
    for slice in slices {
        let numbers: BTreeMap<u16, u16> = ports
            .iter()
            .filter_map(|port| {
                let entry = slice
                    .ports
                    .iter()
                    .flatten()
                    .find(|entry| entry.name.as_deref().unwrap_or_default() == port.name)?;
                Some((port.number, u16::try_from(entry.port?).ok()?))
            })
            .collect();
        for entry in slice
            .endpoints
            .iter()
            .flatten()
            .filter(|entry| is_serving(entry))
        {
            let pod = pod_of(key, entry, workloads);
            if pod.is_some_and(|pod| pod.is_terminating) {
                continue;
            }
            for ip in entry
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
            {
                let zone = entry.zone.clone().unwrap_or_default();
                let endpoint = endpoints.entry(ip).or_insert_with(|| Endpoint {
                    host: Host::Ip(ip),
                    ports: BTreeMap::new(),
                    labels: pod.map(|pod| Arc::clone(&pod.labels)).unwrap_or_default(),
                    workload: pod.map(|pod| pod.workload.clone()),
                    has_sidecar: pod.is_some_and(|pod| pod.has_sidecar),
                    locality: pod
                        .map(|pod| pod.locality.clone())
                        .filter(|locality| !locality.zone.is_empty())
                        .unwrap_or_else(|| Locality {
                            zone,
                            ..Locality::default()
                        }),
                    weight: None,
                });
                endpoint.ports.extend(&numbers);
            }
        }
    }
    endpoints.into_values().collect()
}

/// The service accounts of all pods behind a service.
fn accounts(
    key: &ObjectKey,
    slices: &[&EndpointSlice],
    workloads: &Workloads,
) -> BTreeSet<(String, String)> {
    let entries = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    entries
        .filter_map(|entry| pod_of(key, entry, workloads))
        .map(|pod| (key.namespace.clone(), pod.service_account.clone()))
        .collect()
}

fn pod_of<'w>(
    key: &ObjectKey,
    endpoint: &SliceEndpoint,
    workloads: &'w Workloads,
) -> Option<&'w PodInfo> {
    let target = endpoint.target_ref.as_ref()?;
    let name = target
        .name
        .as_deref()
        .filter(|_| target.kind.as_deref() == Some("Pod"))?;
    workloads.find(&key.namespace, name)
}

fn is_serving(endpoint: &SliceEndpoint) -> bool {
    let Some(conditions) = &endpoint.conditions else {
        return true;
    };
    conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
}
