//! Typed xDS resources: what translation makes, and what the proxy runs on.
//!
//! Plain data without protobuf; [`crate::proto`] has the form on the wire.

pub mod cluster;
pub mod endpoint;
pub mod listener;
pub mod route;
pub mod secret;
mod set;
mod tls;

pub use cluster::Cluster;
pub use endpoint::LoadAssignment;
pub use listener::Listener;
pub use route::RouteConfiguration;
pub use secret::Secret;
pub use set::{Encoded, ResourceSet};
pub use tls::{CertificateValidation, DownstreamTls, TlsVersion, UpstreamTls};

use serde::Serialize;

use crate::TypeUrl;

/// A resource of any type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Resource {
    /// A cluster (CDS).
    Cluster(Box<Cluster>),
    /// The endpoints of a cluster (EDS).
    Endpoint(LoadAssignment),
    /// A listener (LDS).
    Listener(Box<Listener>),
    /// A route configuration (RDS).
    Route(RouteConfiguration),
    /// A secret (SDS).
    Secret(Secret),
}

impl Resource {
    /// The resource's type.
    pub const fn type_url(&self) -> TypeUrl {
        match self {
            Self::Cluster(_) => TypeUrl::Cluster,
            Self::Endpoint(_) => TypeUrl::Endpoint,
            Self::Listener(_) => TypeUrl::Listener,
            Self::Route(_) => TypeUrl::Route,
            Self::Secret(_) => TypeUrl::Secret,
        }
    }

    /// The name that it is known by within its type.
    pub fn name(&self) -> &str {
        match self {
            Self::Cluster(cluster) => &cluster.name,
            Self::Endpoint(assignment) => &assignment.cluster,
            Self::Listener(listener) => &listener.name,
            Self::Route(routes) => &routes.name,
            Self::Secret(secret) => &secret.name,
        }
    }
}
