//! DestinationRules: which one holds for a service, and what it says for a port or a subset.

mod check;

use std::collections::BTreeMap;

use fairlead_crds::networking::{
    ClientTls, ConnectionPool, DestinationRule, LoadBalancer, OutlierDetection, PortTrafficPolicy,
    Subset, TrafficPolicy,
};
use jiff::Timestamp;

use crate::diagnostic::{Diagnostic, Findings, Kind, Source};
use crate::registry::{Registry, Service, Visibility, is_subset};
use crate::snapshot::{ObjectKey, Snapshot};

/// A rule that holds for a service, merged of all objects of one namespace for its host.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The objects, the oldest first.
    pub(crate) sources: Vec<Source>,
    policy: TrafficPolicy,
    subsets: BTreeMap<String, Subset>,
}

/// What holds for one port of a service, or of a subset of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) load_balancer: Option<LoadBalancer>,
    pub(crate) connection_pool: Option<ConnectionPool>,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    pub(crate) tls: Option<ClientTls>,
}

impl Policy {
    fn of_host(policy: &TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.clone(),
            connection_pool: policy.connection_pool.clone(),
            outlier_detection: policy.outlier_detection.clone(),
            tls: policy.tls.clone(),
        }
    }

    fn of_port(settings: &PortTrafficPolicy) -> Self {
        Self {
            load_balancer: settings.load_balancer.clone(),
            connection_pool: settings.connection_pool.clone(),
            outlier_detection: settings.outlier_detection.clone(),
            tls: settings.tls.clone(),
        }
    }
}

impl Rule {
    /// The subsets by name.
    pub(crate) const fn subsets(&self) -> &BTreeMap<String, Subset> {
        &self.subsets
    }

    /// What holds for `port`, in `subset` if one is given. Settings of a port replace all others
    /// of their level; what a subset says replaces what the rule says, field by field.
    pub(crate) fn policy(&self, port: u16, subset: Option<&Subset>) -> Policy {
        let mut policy =
            at_port(&self.policy, port).unwrap_or_else(|| Policy::of_host(&self.policy));
        let Some(own) = subset.and_then(|subset| subset.traffic_policy.as_ref()) else {
            return policy;
        };
        if let Some(at_port) = at_port(own, port) {
            return at_port;
        }
        let own = Policy::of_host(own);
        policy.load_balancer = own.load_balancer.or(policy.load_balancer);
        policy.connection_pool = own.connection_pool.or(policy.connection_pool);
        policy.outlier_detection = own.outlier_detection.or(policy.outlier_detection);
        policy.tls = own.tls.or(policy.tls);
        policy
    }
}

fn at_port(policy: &TrafficPolicy, port: u16) -> Option<Policy> {
    let settings = policy.port_level_settings.iter().find(|settings| {
        settings
            .port
            .as_ref()
            .is_some_and(|selector| selector.number == u32::from(port))
    })?;
    Some(Policy::of_port(settings))
}

/// One object.
#[derive(Clone, Debug)]
struct Entry {
    source: Source,
    created: Timestamp,
    host: String,
    visibility: Visibility,
    /// Only for clients with these labels, in the rule's own namespace.
    selector: Option<BTreeMap<String, String>>,
    policy: Option<TrafficPolicy>,
    subsets: Vec<Subset>,
}

/// The rules of one namespace, each list with the oldest first.
#[derive(Clone, Debug, Default)]
struct Namespace {
    by_host: BTreeMap<String, Vec<Entry>>,
    /// Those whose host begins with a wildcard.
    wildcards: Vec<Entry>,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    by_namespace: BTreeMap<String, Namespace>,
    root_namespace: String,
}

impl Rules {
    pub(crate) fn new(
        snapshot: &Snapshot,
        registry: &Registry,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut entries: Vec<_> = snapshot
            .destination_rules
            .iter()
            .map(|(key, rule)| entry(key, rule, registry, diagnostics))
            .collect();
        // The order of keys, which is the order so far, decides among those of one age.
        entries.sort_by_key(|entry| entry.created);
        let mut by_namespace = BTreeMap::<String, Namespace>::new();
        for entry in entries {
            let place = by_namespace
                .entry(entry.source.namespace.clone())
                .or_default();
            if entry.host.starts_with('*') {
                place.wildcards.push(entry);
            } else {
                place
                    .by_host
                    .entry(entry.host.clone())
                    .or_default()
                    .push(entry);
            }
        }
        Self {
            by_namespace,
            root_namespace: snapshot.mesh.root_namespace.clone(),
        }
    }

    /// Whether what holds for a client in `namespace` depends on its labels.
    pub(crate) fn depends_on_labels(&self, namespace: &str) -> bool {
        self.by_namespace.get(namespace).is_some_and(|place| {
            let exact = place.by_host.values().flatten();
            exact
                .chain(&place.wildcards)
                .any(|entry| entry.selector.is_some())
        })
    }

    /// The rule that holds for a service: of the client's namespace, else of the service's, else
    /// of the root namespace. In each the most specific host wins, and one that selects the
    /// client's labels before one that does not.
    pub(crate) fn find(
        &self,
        service: &Service,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<Rule> {
        [namespace, &service.namespace, &self.root_namespace]
            .into_iter()
            .find_map(|place| {
                let rules = self.by_namespace.get(place)?;
                let exact = rules.by_host.get(&service.host).into_iter().flatten();
                let wildcards = rules
                    .wildcards
                    .iter()
                    .filter(|entry| is_match(&entry.host, &service.host));
                let mut entries: Vec<_> = exact
                    .chain(wildcards)
                    .filter(|entry| entry.visibility.includes(place, namespace))
                    .filter(|entry| match &entry.selector {
                        None => true,
                        Some(selector) => place == namespace && is_subset(selector, labels),
                    })
                    .collect();
                let best = entries
                    .iter()
                    .max_by_key(|entry| (specificity(&entry.host), entry.selector.is_some()))
                    .map(|entry| (entry.host.clone(), entry.selector.clone()))?;
                entries.retain(|entry| (&entry.host, &entry.selector) == (&best.0, &best.1));
                merge(&entries)
            })
    }
}

fn entry(
    key: &ObjectKey,
    rule: &DestinationRule,
    registry: &Registry,
    diagnostics: &mut Vec<Diagnostic>,
) -> Entry {
    let spec = &rule.spec;
    let source = Source::of(Kind::DestinationRule, key, &rule.metadata);
    let mut findings = Findings::new(source.clone(), diagnostics);
    let host = registry.full_host(&spec.host, &key.namespace);
    if !host.contains('*') && registry.find(&host, &key.namespace).is_none() {
        findings.warn(
            "spec.host",
            format!("no service is known by the host `{host}`"),
        );
    }
    check::check(rule, &mut findings);
    Entry {
        host,
        created: rule
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::MAX, |time| time.0),
        visibility: Visibility::parse(spec.export_to.iter().map(String::as_str)),
        selector: spec
            .workload_selector
            .as_ref()
            .map(|selector| selector.match_labels.clone())
            .filter(|labels| !labels.is_empty()),
        policy: spec.traffic_policy.clone(),
        subsets: spec.subsets.clone(),
        source,
    }
}

fn merge(entries: &[&Entry]) -> Option<Rule> {
    let mut subsets = BTreeMap::new();
    for subset in entries.iter().flat_map(|entry| &entry.subsets) {
        subsets
            .entry(subset.name.clone())
            .or_insert_with(|| subset.clone());
    }
    let policy = entries
        .iter()
        .find_map(|entry| entry.policy.clone())
        .unwrap_or_default();
    let sources: Vec<_> = entries.iter().map(|entry| entry.source.clone()).collect();
    (!sources.is_empty()).then_some(Rule {
        sources,
        policy,
        subsets,
    })
}

/// Whether a host, which may begin with a wildcard, is or covers `name`.
pub(crate) fn is_match(host: &str, name: &str) -> bool {
    match host.strip_prefix('*') {
        None => host == name,
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
    }
}

/// How specific a host is: exact ones before wildcards, long ones before short ones.
pub(crate) fn specificity(host: &str) -> (bool, usize) {
    (!host.starts_with('*'), host.len())
}
