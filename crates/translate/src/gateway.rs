//! What a gateway gets: a listener for each port of its Gateways, the routes that VirtualServices
//! bind to them, and the clusters that these name.

mod port;
mod server;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fairlead_xds::node::Node;
use fairlead_xds::resource::Resource;
use fairlead_xds::resource::listener::Direction;

use crate::cluster::{self, Client};
use crate::diagnostic::{Diagnostic, Findings};
use crate::listener::{empty, unspecified};
use crate::output::Output;
use crate::registry::{PodInfo, Registry, Target};
use crate::secret;
use crate::translator::Index;
use crate::view::{Resolver, View};

use port::GatewayPort;
pub(crate) use server::Gateways;

/// What one gateway proxy gets.
pub(crate) fn translate(index: &Index, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Output {
    let view = index.view(&node.metadata.namespace, &node.metadata.labels);
    let mut resolver = Resolver::new(&view);
    let mut output = Output::default();
    let mut ports = BTreeMap::<u16, GatewayPort<'_>>::new();
    let pod = pod_of(index, node);
    let labels = pod.map_or(&node.metadata.labels, |pod| &*pod.labels);
    for server in index.gateways.selecting(labels) {
        let listens_on = target_port(index, node, server.port);
        ports.entry(listens_on).or_default().servers.push(server);
    }
    for (number, port) in ports {
        let address = SocketAddr::new(unspecified(node.id.ip), number);
        let name = format!("{}_{number}", address.ip());
        let listener = empty(name, address, Direction::Outbound);
        let target = port::Target {
            index,
            node,
            is_known: pod.is_some(),
            resolver: &mut resolver,
            output: &mut output,
            diagnostics,
        };
        port.build(listener, target);
    }
    let used = std::mem::take(&mut resolver.used);
    add_clusters(index, &view, &used, &mut output);
    output.add(
        &Resource::Cluster(Box::new(cluster::black_hole())),
        BTreeSet::new(),
    );
    output
}

/// The pod that a proxy runs in. Its labels and its name are only what it says of itself; its
/// namespace and service account are proven.
fn pod_of<'i>(index: &'i Index, node: &Node) -> Option<&'i PodInfo> {
    let metadata = &node.metadata;
    index
        .workloads
        .find(&metadata.namespace, &node.id.pod)
        .filter(|pod| pod.service_account == metadata.service_account)
}

/// Reports certificates that are not in the namespace of a gateway's pods, or cannot be used.
pub(crate) fn report_credentials(index: &Index, diagnostics: &mut Vec<Diagnostic>) {
    for (selector, server) in index.gateways.iter() {
        let Some(credential) = server.tls.credential() else {
            continue;
        };
        for namespace in index.workloads.namespaces_of(selector) {
            if let Err(error) = secret::of_gateway(index, namespace, credential) {
                Findings::new(server.source.clone(), diagnostics).error(
                    format!("{}.tls.credentialName", server.field),
                    format!("{error}; the server is left out"),
                );
            }
        }
    }
}

/// The port that the proxy listens on: that of the pods of the Service before it, so that 80 may
/// be served without privileges.
fn target_port(index: &Index, node: &Node, number: u16) -> u16 {
    let registry: &Registry = &index.registry;
    let metadata = &node.metadata;
    let pod = pod_of(index, node);
    registry
        .serving(&metadata.namespace, &metadata.labels)
        .filter_map(|service| service.port(number))
        .find_map(|port| match (&port.target, pod) {
            (Target::Number(target), _) => Some(*target),
            (target @ Target::Name(_), Some(pod)) => pod.port(target),
            (Target::Name(_), None) => None,
        })
        .unwrap_or(number)
}

fn add_clusters(
    index: &Index,
    view: &View,
    used: &BTreeSet<crate::view::Target>,
    output: &mut Output,
) {
    let scope = index.cluster_scope(Client::Gateway);
    for target in used {
        let Some(visible) = view.find(&target.host) else {
            continue;
        };
        let Some(port) = visible.service.port(target.port) else {
            continue;
        };
        let rule = visible.rule.as_ref();
        let subset = rule.and_then(|rule| rule.subsets().get(&target.subset));
        let sources = rule
            .iter()
            .flat_map(|rule| rule.sources.iter().cloned())
            .collect();
        let shared = index
            .clusters
            .outbound(scope, &visible.service, port, rule, subset);
        output.add_cluster(shared, sources);
    }
}
