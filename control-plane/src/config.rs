//! The kinds that configure the mesh and whose status is ours.

use std::fmt;

use fairlead_crds::networking::{DestinationRule, Gateway, ServiceEntry, VirtualService};
use fairlead_crds::security::PeerAuthentication;
use fairlead_translate::{Kind, ObjectKey, Source};
use kube::Resource;
use kube::core::ApiResource;

/// The kinds that configure the mesh.
pub const MESH_KINDS: [Kind; 5] = [
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::Gateway,
    Kind::ServiceEntry,
    Kind::PeerAuthentication,
];

/// How the API server serves a kind of the mesh; nothing for kinds of Kubernetes, whose status is
/// not ours.
pub fn resource(kind: Kind) -> Option<ApiResource> {
    fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
        ApiResource::erase::<K>(&())
    }
    Some(match kind {
        Kind::VirtualService => of::<VirtualService>(),
        Kind::DestinationRule => of::<DestinationRule>(),
        Kind::Gateway => of::<Gateway>(),
        Kind::ServiceEntry => of::<ServiceEntry>(),
        Kind::PeerAuthentication => of::<PeerAuthentication>(),
        Kind::Service | Kind::Secret => return None,
    })
}

/// An object that configures the mesh, in whatever generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: ObjectKey,
}

impl From<&Source> for ObjectRef {
    fn from(source: &Source) -> Self {
        let key = ObjectKey::new(source.namespace.as_str(), source.name.as_str());
        Self {
            kind: source.kind,
            key,
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.key)
    }
}
