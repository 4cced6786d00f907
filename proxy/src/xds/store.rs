//! The resources that the control plane sent, and the snapshot that follows from them; no IO.
//!
//! A resource that cannot be used is refused, and what was there before stays.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fairlead_xds::TypeUrl;
use fairlead_xds::resource::Resource;
use fairlead_xds::resource::cluster::{Cluster as ClusterSpec, Discovery};
use fairlead_xds::resource::endpoint::{Address, LoadAssignment};
use fairlead_xds::resource::listener::Listener as ListenerSpec;
use fairlead_xds::resource::secret::SecretContent;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;

use super::secrets::Secrets;
use crate::config::cluster::Transport;
use crate::config::{self, Cluster, Listener, Routes, Snapshot};
use crate::tls::Identity;

/// Everything that was received, as it was received.
#[derive(Debug)]
pub struct Store {
    provider: Arc<CryptoProvider>,
    identity: Arc<Identity>,
    public_roots: Arc<RootCertStore>,
    clusters: HashMap<String, (Arc<ClusterSpec>, Arc<Transport>)>,
    assignments: HashMap<String, LoadAssignment>,
    resolved: HashMap<String, LoadAssignment>,
    listeners: HashMap<String, Arc<ListenerSpec>>,
    secrets: HashMap<String, SecretContent>,
    seen: BTreeSet<TypeUrl>,
    snapshot: Arc<Snapshot>,
}

/// How much of the configuration is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something is missing without which no traffic can be served.
    Waiting,
    /// What is there can be served. A gateway without servers has no listeners and hears nothing of
    /// them; endpoints of a cluster may be unknown to the control plane too.
    Partial,
    /// All of it.
    Complete,
}

/// A resource that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("failed to use `{resource}`")]
pub struct Problem {
    /// Its name.
    pub resource: String,
    /// Why.
    #[source]
    pub source: config::Error,
}

impl Store {
    /// Nothing received yet. `public_roots` are trusted outside the mesh.
    pub fn new(
        provider: Arc<CryptoProvider>,
        identity: Arc<Identity>,
        public_roots: Arc<RootCertStore>,
    ) -> Self {
        Self {
            provider,
            identity,
            public_roots,
            clusters: HashMap::new(),
            assignments: HashMap::new(),
            resolved: HashMap::new(),
            listeners: HashMap::new(),
            secrets: HashMap::new(),
            seen: BTreeSet::new(),
            snapshot: Arc::default(),
        }
    }

    /// What workers should run on now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// Applies an update of one type. What cannot be used is left out, and named.
    pub fn update(
        &mut self,
        kind: TypeUrl,
        changed: Vec<Resource>,
        removed: &[String],
    ) -> Vec<Problem> {
        self.seen.insert(kind);
        let mut snapshot = self.copy();
        let problems = match kind {
            TypeUrl::Cluster => self.update_clusters(&mut snapshot, changed, removed),
            TypeUrl::Endpoint => {
                for resource in changed {
                    let Resource::Endpoint(assignment) = resource else {
                        continue;
                    };
                    self.assignments
                        .insert(assignment.cluster.clone(), assignment);
                }
                for name in removed {
                    self.assignments.remove(name);
                }
                self.join_endpoints(&mut snapshot);
                Vec::new()
            }
            TypeUrl::Listener => self.update_listeners(&mut snapshot, changed, removed),
            TypeUrl::Route => update_routes(&mut snapshot, &changed, removed),
            TypeUrl::Secret => {
                for resource in changed {
                    let Resource::Secret(secret) = resource else {
                        continue;
                    };
                    self.secrets.insert(secret.name, secret.content);
                }
                for name in removed {
                    self.secrets.remove(name);
                }
                self.rebuild_tls(&mut snapshot)
            }
        };
        self.publish(snapshot);
        problems
    }

    /// Takes a new certificate of our own into use.
    pub fn renew(&mut self, identity: Arc<Identity>) -> Vec<Problem> {
        self.identity = identity;
        let mut snapshot = self.copy();
        let problems = self.rebuild_tls(&mut snapshot);
        self.publish(snapshot);
        problems
    }

    /// The certificate in use.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// How much of the configuration is there.
    pub fn progress(&self) -> Progress {
        let mut routes = self
            .listeners
            .values()
            .flat_map(|listener| routes_of(listener));
        let has_routes = routes.all(|name| self.snapshot.routes.contains_key(&name));
        let has_endpoints = self
            .clusters
            .values()
            .all(|(spec, _)| match &spec.discovery {
                Discovery::Eds { .. } => self.endpoints_of(spec).is_some(),
                Discovery::Static(_)
                | Discovery::StrictDns(_)
                | Discovery::LogicalDns(_)
                | Discovery::OriginalDst { .. } => true,
            });
        let is_seen = |kind| self.seen.contains(&kind);
        if !has_routes || !is_seen(TypeUrl::Cluster) {
            Progress::Waiting
        } else if is_seen(TypeUrl::Listener) && has_endpoints {
            Progress::Complete
        } else {
            Progress::Partial
        }
    }

    /// Takes what DNS says about the endpoints of a cluster.
    pub fn resolve(&mut self, cluster: &str, assignment: LoadAssignment) {
        if self.resolved.get(cluster) == Some(&assignment) {
            return;
        }
        self.resolved.insert(cluster.to_owned(), assignment);
        let mut snapshot = self.copy();
        self.join_endpoints(&mut snapshot);
        self.publish(snapshot);
    }

    /// Clusters whose endpoints DNS knows, with the names to look up.
    pub fn names_to_resolve(&self) -> Vec<(String, LoadAssignment)> {
        let named = self
            .clusters
            .iter()
            .filter_map(|(name, (spec, _))| match &spec.discovery {
                Discovery::StrictDns(names) | Discovery::LogicalDns(names) => {
                    Some((name.clone(), names.clone()))
                }
                Discovery::Eds { .. } => {
                    let assignment = self.assignments.get(assignment_name(spec))?;
                    let mut endpoints = assignment
                        .localities
                        .iter()
                        .flat_map(|locality| &locality.endpoints);
                    let by_name = endpoints.any(|e| matches!(e.address, Address::Name { .. }));
                    by_name.then(|| (name.clone(), assignment.clone()))
                }
                Discovery::Static(_) | Discovery::OriginalDst { .. } => None,
            });
        named.collect()
    }

    fn update_clusters(
        &mut self,
        snapshot: &mut Snapshot,
        changed: Vec<Resource>,
        removed: &[String],
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for resource in changed {
            let Resource::Cluster(spec) = resource else {
                continue;
            };
            let spec = Arc::new(*spec);
            // TLS that did not change is kept, and the connections that use it with it.
            let known = self.clusters.get(&spec.name).filter(|(known, _)| {
                known.tls == spec.tls && known.tls_matches == spec.tls_matches
            });
            let transport = match known {
                Some((_, transport)) => Arc::clone(transport),
                None => match Transport::compile(&spec, &self.secrets()) {
                    Ok(transport) => Arc::new(transport),
                    Err(source) => {
                        problems.push(Problem {
                            resource: spec.name.clone(),
                            source,
                        });
                        continue;
                    }
                },
            };
            let cluster = Cluster::compile(&spec, &transport, self.endpoints_of(&spec));
            snapshot
                .clusters
                .insert(spec.name.clone(), Arc::new(cluster));
            self.clusters.insert(spec.name.clone(), (spec, transport));
        }
        for name in removed {
            snapshot.clusters.remove(name);
            self.clusters.remove(name);
            self.resolved.remove(name);
        }
        problems
    }

    fn update_listeners(
        &mut self,
        snapshot: &mut Snapshot,
        changed: Vec<Resource>,
        removed: &[String],
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for resource in changed {
            let Resource::Listener(spec) = resource else {
                continue;
            };
            let spec = Arc::new(*spec);
            match Listener::compile(&spec, &self.secrets()) {
                Ok(listener) => {
                    snapshot
                        .listeners
                        .insert(spec.name.clone(), Arc::new(listener));
                    self.listeners.insert(spec.name.clone(), spec);
                }
                Err(source) => problems.push(Problem {
                    resource: spec.name.clone(),
                    source,
                }),
            }
        }
        for name in removed {
            snapshot.listeners.remove(name);
            self.listeners.remove(name);
        }
        problems
    }

    /// Builds anew everything that has TLS in it; what cannot be built stays as it was.
    fn rebuild_tls(&mut self, snapshot: &mut Snapshot) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut rebuilt = Vec::new();
        for (name, (spec, _)) in &self.clusters {
            if spec.tls.is_none() && spec.tls_matches.is_empty() {
                continue;
            }
            match Transport::compile(spec, &self.secrets()) {
                Ok(transport) => rebuilt.push((name.clone(), Arc::new(transport))),
                Err(source) => problems.push(Problem {
                    resource: name.clone(),
                    source,
                }),
            }
        }
        for (name, transport) in rebuilt {
            if let Some((_, current)) = self.clusters.get_mut(&name) {
                *current = transport;
            }
        }
        for (name, spec) in &self.listeners {
            match Listener::compile(spec, &self.secrets()) {
                Ok(listener) => {
                    snapshot.listeners.insert(name.clone(), Arc::new(listener));
                }
                Err(source) => problems.push(Problem {
                    resource: name.clone(),
                    source,
                }),
            }
        }
        self.join_endpoints(snapshot);
        problems
    }

    /// Gives each cluster whose endpoints changed its new ones.
    fn join_endpoints(&self, snapshot: &mut Snapshot) {
        for (name, (spec, transport)) in &self.clusters {
            let compiled = Cluster::compile(spec, transport, self.endpoints_of(spec));
            let known = snapshot.clusters.get(name);
            if known.is_none_or(|known| !known.has_same_endpoints(&compiled)) {
                snapshot.clusters.insert(name.clone(), Arc::new(compiled));
            }
        }
    }

    fn endpoints_of(&self, spec: &ClusterSpec) -> Option<&LoadAssignment> {
        self.resolved
            .get(&spec.name)
            .or_else(|| self.assignments.get(assignment_name(spec)))
    }

    fn secrets(&self) -> Secrets<'_> {
        Secrets {
            provider: &self.provider,
            identity: &self.identity,
            public_roots: &self.public_roots,
            received: &self.secrets,
        }
    }

    fn copy(&self) -> Snapshot {
        Snapshot {
            version: self.snapshot.version + 1,
            listeners: self.snapshot.listeners.clone(),
            originals: HashMap::new(),
            routes: self.snapshot.routes.clone(),
            clusters: self.snapshot.clusters.clone(),
        }
    }

    fn publish(&mut self, mut snapshot: Snapshot) {
        let handed = snapshot
            .listeners
            .values()
            .filter(|listener| !listener.spec.bind_to_port);
        snapshot.originals = handed
            .map(|listener| (listener.spec.address, Arc::clone(listener)))
            .collect();
        self.snapshot = Arc::new(snapshot);
    }
}

fn assignment_name(spec: &ClusterSpec) -> &str {
    match &spec.discovery {
        Discovery::Eds { service_name } if !service_name.is_empty() => service_name,
        _ => &spec.name,
    }
}

fn routes_of(listener: &ListenerSpec) -> impl Iterator<Item = String> {
    use fairlead_xds::resource::listener::{Handler, RouteSource};
    chains_of(listener).filter_map(|chain| match &chain.handler {
        Handler::Http(http) => match &http.routes {
            RouteSource::Rds(name) => Some(name.clone()),
            RouteSource::Inline(_) => None,
        },
        Handler::Tcp(_) => None,
    })
}

fn update_routes(
    snapshot: &mut Snapshot,
    changed: &[Resource],
    removed: &[String],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for resource in changed {
        let Resource::Route(routes) = resource else {
            continue;
        };
        match Routes::compile(routes) {
            Ok(compiled) => {
                snapshot
                    .routes
                    .insert(routes.name.clone(), Arc::new(compiled));
            }
            Err(source) => problems.push(Problem {
                resource: routes.name.clone(),
                source,
            }),
        }
    }
    for name in removed {
        snapshot.routes.remove(name);
    }
    problems
}

fn chains_of(
    listener: &ListenerSpec,
) -> impl Iterator<Item = &fairlead_xds::resource::listener::FilterChain> {
    listener
        .filter_chains
        .iter()
        .chain(&listener.default_filter_chain)
}
