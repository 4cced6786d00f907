//! The driver: what is read once of a snapshot, and what is made of it for each proxy.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fairlead_xds::node::{Node, NodeType};
use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;

use crate::Translation;
use crate::cluster::{Client, Scope};
use crate::diagnostic::{Diagnostic, Findings};
use crate::gateway::{self, Gateways};
use crate::output::Output;
use crate::policy::PeerPolicies;
use crate::registry::{Registry, Workloads};
use crate::rule::Rules;
use crate::shared::Clusters;
use crate::sidecar;
use crate::snapshot::{Mesh, Objects, Snapshot};
use crate::view::View;
use crate::virtual_service::{Action, Destination, VirtualService, VirtualServices};

/// A snapshot that was read, with everything in the form that translation works on.
pub(crate) struct Index {
    pub(crate) mesh: Mesh,
    pub(crate) workloads: Workloads,
    pub(crate) registry: Registry,
    pub(crate) rules: Rules,
    pub(crate) peers: PeerPolicies,
    pub(crate) virtual_services: VirtualServices,
    pub(crate) gateways: Gateways,
    pub(crate) secrets: Objects<Secret>,
    pub(crate) clusters: Clusters,
}

impl Index {
    fn new(snapshot: &Snapshot, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let workloads = Workloads::new(snapshot);
        let registry = Registry::new(snapshot, &workloads, diagnostics);
        let rules = Rules::new(snapshot, &registry, diagnostics);
        Self {
            mesh: snapshot.mesh.clone(),
            peers: PeerPolicies::new(snapshot, diagnostics),
            virtual_services: VirtualServices::new(snapshot, &registry, diagnostics),
            gateways: Gateways::new(snapshot, diagnostics),
            secrets: snapshot.secrets.clone(),
            clusters: Clusters::default(),
            workloads,
            registry,
            rules,
        }
    }

    pub(crate) const fn cluster_scope(&self, client: Client) -> Scope<'_> {
        Scope {
            mesh: &self.mesh,
            peers: &self.peers,
            client,
        }
    }

    pub(crate) fn view(&self, namespace: &str, labels: &BTreeMap<String, String>) -> View {
        View::new(&self.registry, &self.rules, namespace, labels)
    }
}

/// What the way out of a sidecar depends on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct OutboundKey {
    namespace: String,
    /// Empty where nothing depends on them.
    labels: BTreeMap<String, String>,
    is_ipv6: bool,
}

/// Translates one snapshot for any number of proxies; what they share is made once.
pub struct Translator {
    index: Index,
    diagnostics: Vec<Diagnostic>,
    outbound: Mutex<BTreeMap<OutboundKey, Arc<Output>>>,
}

impl fmt::Debug for Translator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translator")
            .field("diagnostics", &self.diagnostics)
            .finish_non_exhaustive()
    }
}

impl Translator {
    /// Reads a snapshot.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut diagnostics = Vec::new();
        let index = Index::new(snapshot, &mut diagnostics);
        report_unresolved(&index, &mut diagnostics);
        gateway::report_credentials(&index, &mut diagnostics);
        diagnostics.sort();
        diagnostics.dedup();
        Self {
            index,
            diagnostics,
            outbound: Mutex::default(),
        }
    }

    /// What is wrong with objects, whichever proxies use them.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// What one proxy gets.
    pub fn translate(&self, node: &Node) -> Translation {
        let mut translation = Translation::default();
        let Translation {
            resources,
            sources,
            diagnostics,
        } = &mut translation;
        match node.id.kind {
            NodeType::Sidecar => {
                self.outbound(node).pour(resources, sources);
                sidecar::inbound(&self.index, node).pour(resources, sources);
            }
            NodeType::Router => {
                gateway::translate(&self.index, node, diagnostics).pour(resources, sources);
            }
        }
        diagnostics.sort();
        diagnostics.dedup();
        translation
    }

    fn outbound(&self, node: &Node) -> Arc<Output> {
        let metadata = &node.metadata;
        let depends_on_labels = self.index.virtual_services.depends_on_labels()
            || self.index.rules.depends_on_labels(&metadata.namespace);
        let key = OutboundKey {
            namespace: metadata.namespace.clone(),
            labels: if depends_on_labels {
                metadata.labels.clone()
            } else {
                BTreeMap::new()
            },
            is_ipv6: node.id.ip.is_ipv6(),
        };
        if let Some(shared) = self.outbound.lock().get(&key) {
            return Arc::clone(shared);
        }
        // Two threads may make the same at once; that costs time, and waiting would cost more.
        let view = self.index.view(&key.namespace, &key.labels);
        let made = Arc::new(sidecar::outbound(&self.index, &view, node.id.ip));
        Arc::clone(self.outbound.lock().entry(key).or_insert(made))
    }
}

/// Translates a snapshot for one proxy.
pub fn translate(snapshot: &Snapshot, node: &Node) -> Translation {
    let translator = Translator::new(snapshot);
    let mut translation = translator.translate(node);
    translation.diagnostics.extend(translator.diagnostics);
    translation.diagnostics.sort();
    translation.diagnostics.dedup();
    translation
}

/// Reports destinations that lead nowhere, as seen from the object's own namespace.
fn report_unresolved(index: &Index, diagnostics: &mut Vec<Diagnostic>) {
    let none = BTreeMap::new();
    let mut views = BTreeMap::<&str, View>::new();
    for service in index.virtual_services.iter() {
        let namespace = service.source.namespace.as_str();
        let view = views
            .entry(namespace)
            .or_insert_with(|| index.view(namespace, &none));
        let mut findings = Findings::new(service.source.clone(), diagnostics);
        for destination in destinations(service) {
            // Without a port in the rule it is the one that a request comes to.
            if let Err(error) = view.resolve(destination, None)
                && !matches!(error, crate::view::Unresolved::AmbiguousPort)
            {
                findings.error(
                    &destination.field,
                    format!("{error}; requests that go there fail"),
                );
            }
        }
    }
}

/// The destinations of a VirtualService.
fn destinations(service: &VirtualService) -> impl Iterator<Item = &Destination> {
    let http = service.http.iter().flat_map(|rule| {
        let forward = match &rule.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect { .. } | Action::Respond { .. } => None,
        };
        forward.into_iter().flat_map(|forward| {
            let routes = forward.destinations.iter().map(|own| &own.destination);
            routes.chain(forward.mirrors.iter().map(|(mirror, _)| mirror))
        })
    });
    let tcp = service.tcp.iter().flat_map(|rule| &rule.destinations);
    let tls = service.tls.iter().flat_map(|rule| &rule.destinations);
    http.chain(tcp.chain(tls).map(|(to, _)| to))
}
