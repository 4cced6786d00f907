//! VirtualServices: read once, with what is wrong with them, and found by host.

mod condition;
mod http;
mod layer4;

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_crds::networking as crd;
use jiff::Timestamp;

use crate::diagnostic::{Diagnostic, Findings, Kind, Source};
use crate::registry::{Registry, Visibility};
use crate::rule::{is_match, specificity};
use crate::snapshot::{ObjectKey, Snapshot};

pub(crate) use condition::Condition;
pub(crate) use http::{Action, Forward, HttpRule, RedirectPort, default_retry};
pub(crate) use layer4::{Layer4Condition, TcpRule, TlsRule};

/// Who uses a VirtualService.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GatewayRef {
    /// All sidecars.
    Mesh,
    /// A Gateway.
    Named(ObjectKey),
}

impl GatewayRef {
    pub(super) fn parse(text: &str, namespace: &str) -> Self {
        match text.split_once('/') {
            None if text == "mesh" => Self::Mesh,
            None => Self::Named(ObjectKey::new(namespace, text)),
            Some((".", name)) => Self::Named(ObjectKey::new(namespace, name)),
            Some((namespace, name)) => Self::Named(ObjectKey::new(namespace, name)),
        }
    }

    /// Reads a list; an empty one is `default`.
    fn parse_all(list: &[String], namespace: &str, default: &[Self]) -> Vec<Self> {
        if list.is_empty() {
            return default.to_vec();
        }
        list.iter()
            .map(|text| Self::parse(text, namespace))
            .collect()
    }
}

/// Where a route sends to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    /// Full host name.
    pub(crate) host: String,
    /// Empty is the whole service.
    pub(crate) subset: String,
    pub(crate) port: Option<u16>,
    /// Path of the field that names it.
    pub(crate) field: String,
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct VirtualService {
    pub(crate) source: Source,
    created: Timestamp,
    /// Full host names, some with a wildcard.
    pub(crate) hosts: Vec<String>,
    pub(crate) gateways: Vec<GatewayRef>,
    visibility: Visibility,
    pub(crate) http: Vec<HttpRule>,
    pub(crate) tcp: Vec<TcpRule>,
    pub(crate) tls: Vec<TlsRule>,
}

impl VirtualService {
    /// Whether proxies in `namespace` use it for `gateway`.
    fn is_used(&self, gateway: &GatewayRef, namespace: &str) -> bool {
        self.gateways.contains(gateway)
            && self.visibility.includes(&self.source.namespace, namespace)
    }
}

/// All objects, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct VirtualServices {
    all: Vec<Arc<VirtualService>>,
    by_host: BTreeMap<String, Vec<Arc<VirtualService>>>,
    /// Those of which a host begins with a wildcard.
    wildcards: Vec<Arc<VirtualService>>,
}

impl VirtualServices {
    pub(crate) fn new(
        snapshot: &Snapshot,
        registry: &Registry,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut all: Vec<_> = snapshot
            .virtual_services
            .iter()
            .map(|(key, object)| Arc::new(read(snapshot, key, object, registry, diagnostics)))
            .collect();
        all.sort_by(|left, right| {
            let key = |service: &VirtualService| (service.created, service.source.clone());
            key(left).cmp(&key(right))
        });
        report_conflicts(&all, diagnostics);
        let mut by_host = BTreeMap::<String, Vec<_>>::new();
        let mut wildcards = Vec::new();
        for service in &all {
            for host in service.hosts.iter().filter(|host| !host.starts_with('*')) {
                by_host
                    .entry(host.clone())
                    .or_default()
                    .push(Arc::clone(service));
            }
            if service.hosts.iter().any(|host| host.starts_with('*')) {
                wildcards.push(Arc::clone(service));
            }
        }
        Self {
            all,
            by_host,
            wildcards,
        }
    }

    /// Those that proxies in `namespace` use for `gateway`, the oldest first.
    pub(crate) fn of<'v>(
        &'v self,
        gateway: &'v GatewayRef,
        namespace: &'v str,
    ) -> impl Iterator<Item = &'v Arc<VirtualService>> {
        self.all
            .iter()
            .filter(move |service| service.is_used(gateway, namespace))
    }

    /// The one whose host is the most specific for `host`; of those the oldest.
    pub(crate) fn find<'v>(
        &'v self,
        host: &str,
        gateway: &'v GatewayRef,
        namespace: &'v str,
    ) -> Option<&'v Arc<VirtualService>> {
        let is_usable = |service: &&Arc<VirtualService>| service.is_used(gateway, namespace);
        let exact = self.by_host.get(host).into_iter().flatten().find(is_usable);
        exact.or_else(|| {
            let rank = |service: &Arc<VirtualService>| {
                let own = service.hosts.iter().filter(|own| is_match(own, host));
                own.map(|own| specificity(own)).max()
            };
            let mut best = None;
            for service in self.wildcards.iter().filter(is_usable) {
                let rank = rank(service);
                // Of equals the first is the oldest.
                if rank.is_some() && best.is_none_or(|(_, so_far)| rank > so_far) {
                    best = Some((service, rank));
                }
            }
            best.map(|(service, _)| service)
        })
    }

    /// Whether what holds for sidecars depends on their labels.
    pub(crate) fn depends_on_labels(&self) -> bool {
        self.all.iter().any(|service| {
            service
                .http
                .iter()
                .flat_map(|rule| &rule.conditions)
                .any(|condition| !condition.source_labels.is_empty())
                || service
                    .tcp
                    .iter()
                    .flat_map(|rule| &rule.conditions)
                    .chain(service.tls.iter().flat_map(|rule| &rule.conditions))
                    .any(|condition| !condition.source_labels.is_empty())
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.all.iter()
    }
}

fn read(
    snapshot: &Snapshot,
    key: &ObjectKey,
    object: &crd::VirtualService,
    registry: &Registry,
    diagnostics: &mut Vec<Diagnostic>,
) -> VirtualService {
    let spec = &object.spec;
    let source = Source::of(Kind::VirtualService, key, &object.metadata);
    let mut findings = Findings::new(source.clone(), diagnostics);
    let gateways = GatewayRef::parse_all(&spec.gateways, &key.namespace, &[GatewayRef::Mesh]);
    for (index, gateway) in gateways.iter().enumerate() {
        if let GatewayRef::Named(name) = gateway
            && !snapshot.gateways.contains_key(name)
        {
            findings.warn(
                format!("spec.gateways[{index}]"),
                format!("no Gateway `{name}` is known; the routes are not used there"),
            );
        }
    }
    let context = Context {
        namespace: &key.namespace,
        registry,
    };
    VirtualService {
        created: object
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::MAX, |time| time.0),
        hosts: spec
            .hosts
            .iter()
            .map(|host| registry.full_host(&host.to_ascii_lowercase(), &key.namespace))
            .collect(),
        visibility: Visibility::parse(spec.export_to.iter().map(String::as_str)),
        http: http::read_all(&spec.http, &context, &mut findings),
        tcp: layer4::read_tcp(&spec.tcp, &context, &mut findings),
        tls: layer4::read_tls(&spec.tls, &context, &mut findings),
        gateways,
        source,
    }
}

/// What the reading of fields needs to know.
pub(crate) struct Context<'c> {
    pub(crate) namespace: &'c str,
    registry: &'c Registry,
}

impl Context<'_> {
    /// Reads a destination; one that does not exist is reported and kept, so that its requests
    /// fail instead of going to another.
    fn destination(
        &self,
        field: &str,
        destination: &crd::Destination,
        findings: &mut Findings<'_>,
    ) -> Destination {
        let host = self
            .registry
            .full_host(&destination.host.to_ascii_lowercase(), self.namespace);
        let number = destination.port.as_ref().map(|port| port.number);
        let port = number
            .and_then(|number| u16::try_from(number).ok())
            .filter(|port| *port > 0);
        if number.is_some() && port.is_none() {
            findings.error(
                format!("{field}.port.number"),
                "is not a port and has no effect",
            );
        }
        let subset = destination.subset.clone().unwrap_or_default();
        Destination {
            host,
            subset,
            port,
            field: field.to_owned(),
        }
    }
}

/// Reads the weight of the destination `field`.
fn read_weight(field: &str, weight: i32, findings: &mut Findings<'_>) -> u32 {
    u32::try_from(weight).unwrap_or_else(|_| {
        findings.error(format!("{field}.weight"), "is negative and counts as 0");
        0
    })
}

/// Two objects that claim one host for the mesh: the older one has it, the other has no effect.
fn report_conflicts(all: &[Arc<VirtualService>], diagnostics: &mut Vec<Diagnostic>) {
    let mut owners = BTreeMap::<&str, &VirtualService>::new();
    for service in all
        .iter()
        .filter(|service| service.gateways.contains(&GatewayRef::Mesh))
    {
        for (index, host) in service.hosts.iter().enumerate() {
            let owner = *owners.entry(host).or_insert(service);
            let is_shared =
                owner.visibility == Visibility::All && service.visibility == Visibility::All;
            if owner.source != service.source && is_shared {
                Findings::new(service.source.clone(), diagnostics).error(
                    format!("spec.hosts[{index}]"),
                    format!(
                        "`{host}` has routes already, by {}, which is older",
                        owner.source
                    ),
                );
            }
        }
    }
}
