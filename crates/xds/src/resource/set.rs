//! Resources in the form that a server session sends: encoded once, known by a hash of the content.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Resource;
use crate::TypeUrl;
use crate::proto;

/// One encoded resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The resource's name.
    pub name: String,
    /// Hash of the content: the same content has the same version on every replica.
    pub version: String,
    /// The message itself, without the envelope that names its type.
    pub body: Bytes,
}

/// All resources that one proxy gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSet {
    clusters: BTreeMap<String, Arc<Encoded>>,
    endpoints: BTreeMap<String, Arc<Encoded>>,
    listeners: BTreeMap<String, Arc<Encoded>>,
    routes: BTreeMap<String, Arc<Encoded>>,
    secrets: BTreeMap<String, Arc<Encoded>>,
}

impl ResourceSet {
    /// The resources of one type by name.
    pub const fn of(&self, kind: TypeUrl) -> &BTreeMap<String, Arc<Encoded>> {
        match kind {
            TypeUrl::Cluster => &self.clusters,
            TypeUrl::Endpoint => &self.endpoints,
            TypeUrl::Listener => &self.listeners,
            TypeUrl::Route => &self.routes,
            TypeUrl::Secret => &self.secrets,
        }
    }

    const fn of_mut(&mut self, kind: TypeUrl) -> &mut BTreeMap<String, Arc<Encoded>> {
        match kind {
            TypeUrl::Cluster => &mut self.clusters,
            TypeUrl::Endpoint => &mut self.endpoints,
            TypeUrl::Listener => &mut self.listeners,
            TypeUrl::Route => &mut self.routes,
            TypeUrl::Secret => &mut self.secrets,
        }
    }

    /// Encodes and adds a resource; what had its name before is replaced.
    pub fn insert(&mut self, resource: &Resource) {
        self.insert_encoded(resource.type_url(), Arc::new(proto::encode(resource)));
    }

    /// Adds what is encoded already, shared with other sets.
    pub fn insert_encoded(&mut self, kind: TypeUrl, encoded: Arc<Encoded>) {
        self.of_mut(kind).insert(encoded.name.clone(), encoded);
    }

    /// Removes a resource.
    pub fn remove(&mut self, kind: TypeUrl, name: &str) -> Option<Arc<Encoded>> {
        self.of_mut(kind).remove(name)
    }

    /// How many resources there are of all types.
    pub fn len(&self) -> usize {
        TypeUrl::ALL
            .into_iter()
            .map(|kind| self.of(kind).len())
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<Resource> for ResourceSet {
    fn from_iter<I: IntoIterator<Item = Resource>>(iter: I) -> Self {
        let mut set = Self::default();
        for resource in iter {
            set.insert(&resource);
        }
        set
    }
}
