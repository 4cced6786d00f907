//! What a client asks for: clusters and listeners all, the rest by the names that these use.

use std::collections::BTreeSet;

use crate::resource::cluster::Discovery;
use crate::resource::listener::{Handler, RouteSource};
use crate::resource::{Cluster, DownstreamTls, Listener, UpstreamTls};

/// Names of other resources that one resource uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) endpoints: BTreeSet<String>,
    pub(super) routes: BTreeSet<String>,
    pub(super) secrets: BTreeSet<String>,
}

impl Uses {
    pub(super) fn of_cluster(cluster: &Cluster) -> Self {
        let mut uses = Self::default();
        match &cluster.discovery {
            Discovery::Eds { service_name } if service_name.is_empty() => {
                uses.endpoints.insert(cluster.name.clone());
            }
            Discovery::Eds { service_name } => {
                uses.endpoints.insert(service_name.clone());
            }
            Discovery::Static(_)
            | Discovery::StrictDns(_)
            | Discovery::LogicalDns(_)
            | Discovery::OriginalDst { .. } => {}
        }
        let contexts = cluster
            .tls_matches
            .iter()
            .filter_map(|entry| entry.tls.as_ref());
        for tls in contexts.chain(&cluster.tls) {
            uses.add_upstream(tls);
        }
        uses
    }

    pub(super) fn of_listener(listener: &Listener) -> Self {
        let mut uses = Self::default();
        for chain in listener
            .filter_chains
            .iter()
            .chain(&listener.default_filter_chain)
        {
            if let Some(tls) = &chain.tls {
                uses.add_downstream(tls);
            }
            match &chain.handler {
                Handler::Http(manager) => match &manager.routes {
                    RouteSource::Rds(name) => {
                        uses.routes.insert(name.clone());
                    }
                    RouteSource::Inline(_) => {}
                },
                Handler::Tcp(_) => {}
            }
        }
        uses
    }

    fn add_upstream(&mut self, tls: &UpstreamTls) {
        self.secrets.extend(tls.certificate.clone());
        self.secrets.extend(
            tls.validation
                .iter()
                .filter_map(|check| check.roots.clone()),
        );
    }

    fn add_downstream(&mut self, tls: &DownstreamTls) {
        self.secrets.extend(tls.certificates.iter().cloned());
        self.secrets.extend(
            tls.validation
                .iter()
                .filter_map(|check| check.roots.clone()),
        );
    }
}
