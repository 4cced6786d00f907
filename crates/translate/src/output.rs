//! Collects the resources of one proxy with the objects that each was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_xds::TypeUrl;
use fairlead_xds::proto;
use fairlead_xds::resource::{Encoded, Resource, ResourceSet};

use crate::Sources;
use crate::diagnostic::Source;
use crate::shared::EncodedCluster;

/// Resources, encoded once, with their sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    resources: BTreeMap<(TypeUrl, String), (Arc<Encoded>, BTreeSet<Source>)>,
}

impl Output {
    /// Adds a resource that was made from `sources`.
    pub(crate) fn add(&mut self, resource: &Resource, sources: BTreeSet<Source>) {
        let key = (resource.type_url(), resource.name().to_owned());
        self.resources
            .insert(key, (Arc::new(proto::encode(resource)), sources));
    }

    /// Adds a cluster that is shared with other proxies, and was made from `sources`.
    pub(crate) fn add_cluster(&mut self, shared: EncodedCluster, sources: BTreeSet<Source>) {
        let EncodedCluster { cluster, endpoints } = shared;
        let key = |kind, encoded: &Encoded| (kind, encoded.name.clone());
        self.resources
            .insert(key(TypeUrl::Cluster, &cluster), (cluster, sources));
        if let Some(endpoints) = endpoints {
            let key = key(TypeUrl::Endpoint, &endpoints);
            self.resources.insert(key, (endpoints, BTreeSet::new()));
        }
    }

    /// Puts all of it into what one proxy gets.
    pub(crate) fn pour(&self, resources: &mut ResourceSet, sources: &mut Sources) {
        for ((kind, name), (encoded, from)) in &self.resources {
            resources.insert_encoded(*kind, Arc::clone(encoded));
            if !from.is_empty() {
                sources.insert((*kind, name.clone()), from.clone());
            }
        }
    }
}
