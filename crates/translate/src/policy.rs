//! PeerAuthentications: whether a workload's port takes mutual TLS, plain text, or both.

use std::collections::BTreeMap;

use fairlead_crds::security::{MutualTls, MutualTlsMode};
use jiff::Timestamp;

use crate::diagnostic::{Diagnostic, Findings, Kind, Source};
use crate::registry::is_subset;
use crate::snapshot::Snapshot;

/// What a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Plain text only.
    Disable,
    /// Both.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

#[derive(Clone, Debug)]
struct Entry {
    source: Source,
    created: Timestamp,
    selector: BTreeMap<String, String>,
    mode: Option<Mode>,
    ports: BTreeMap<u16, Option<Mode>>,
}

/// All policies.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerPolicies {
    by_namespace: BTreeMap<String, Vec<Entry>>,
    root_namespace: String,
}

impl PeerPolicies {
    pub(crate) fn new(snapshot: &Snapshot, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut by_namespace = BTreeMap::<String, Vec<Entry>>::new();
        for (key, object) in &snapshot.peer_authentications {
            let source = Source::of(Kind::PeerAuthentication, key, &object.metadata);
            let mut findings = Findings::new(source.clone(), diagnostics);
            let spec = &object.spec;
            let selector = spec
                .selector
                .as_ref()
                .map(|selector| selector.match_labels.clone());
            let mut ports = BTreeMap::new();
            if selector.as_ref().is_none_or(BTreeMap::is_empty) && !spec.port_level_mtls.is_empty()
            {
                findings.error(
                    "spec.portLevelMtls",
                    "has no effect without a selector with labels",
                );
            }
            for (port, tls) in &spec.port_level_mtls {
                match port.parse::<u16>() {
                    Ok(number) => drop(ports.insert(number, mode(Some(*tls)))),
                    Err(_) => findings.error(
                        format!("spec.portLevelMtls[{port}]"),
                        "is not a port and has no effect",
                    ),
                }
            }
            by_namespace
                .entry(key.namespace.clone())
                .or_default()
                .push(Entry {
                    source,
                    created: object
                        .metadata
                        .creation_timestamp
                        .as_ref()
                        .map_or(Timestamp::MAX, |time| time.0),
                    selector: selector.unwrap_or_default(),
                    mode: mode(spec.mtls),
                    ports,
                });
        }
        for entries in by_namespace.values_mut() {
            entries.sort_by(|left, right| {
                (left.created, &left.source.name).cmp(&(right.created, &right.source.name))
            });
        }
        Self {
            by_namespace,
            root_namespace: snapshot.mesh.root_namespace.clone(),
        }
    }

    /// What `port` of a workload takes: by the port, the workload, the namespace, the mesh.
    pub(crate) fn mode(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        port: u16,
    ) -> Mode {
        let own = self.selecting(namespace, labels);
        own.and_then(|entry| entry.ports.get(&port).copied().flatten())
            .or_else(|| self.default_mode(namespace, labels))
            .unwrap_or(Mode::Permissive)
    }

    /// What ports take of which nothing is said.
    pub(crate) fn workload_mode(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Mode {
        self.default_mode(namespace, labels)
            .unwrap_or(Mode::Permissive)
    }

    /// The ports of a workload of which something is said.
    pub(crate) fn ports(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = u16> {
        self.selecting(namespace, labels)
            .into_iter()
            .flat_map(|entry| entry.ports.keys().copied())
    }

    /// The policies that hold for a workload.
    pub(crate) fn sources<'p>(
        &'p self,
        namespace: &'p str,
        labels: &'p BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'p Source> {
        let all = self.selecting(namespace, labels).into_iter();
        all.chain(self.general(namespace))
            .chain(self.general(&self.root_namespace))
            .map(|entry| &entry.source)
    }

    fn default_mode(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<Mode> {
        let general = |namespace| self.general(namespace).and_then(|entry| entry.mode);
        self.selecting(namespace, labels)
            .and_then(|entry| entry.mode)
            .or_else(|| general(namespace))
            .or_else(|| general(&self.root_namespace))
    }

    /// The oldest policy that selects the workload by its labels.
    fn selecting(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<&Entry> {
        [namespace, &self.root_namespace]
            .into_iter()
            .find_map(|place| {
                self.by_namespace
                    .get(place)?
                    .iter()
                    .find(|entry| !entry.selector.is_empty() && is_subset(&entry.selector, labels))
            })
    }

    /// The oldest policy for all of a namespace.
    fn general(&self, namespace: &str) -> Option<&Entry> {
        self.by_namespace
            .get(namespace)?
            .iter()
            .find(|entry| entry.selector.is_empty())
    }
}

fn mode(tls: Option<MutualTls>) -> Option<Mode> {
    match tls?.mode? {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable => Some(Mode::Disable),
        MutualTlsMode::Permissive => Some(Mode::Permissive),
        MutualTlsMode::Strict => Some(Mode::Strict),
    }
}
