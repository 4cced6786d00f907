//! The configuration that workers run on: xDS resources, compiled once and immutable.
//!
//! No IO, no clock. [`crate::xds::store`] keeps the resources and builds a new [`Snapshot`] when
//! some of them change; what did not change is shared with the snapshot before.

use std::collections::HashMap;
use std::sync::Arc;

pub mod cluster;
pub mod listener;
pub mod mutation;
pub mod route;

pub use cluster::{ClientTls, Cluster, Endpoint};
pub use listener::{Chain, Listener};
pub use route::{Route, Routes};

/// All that a worker needs to know, at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up with each change.
    pub version: u64,
    /// Listeners by name.
    pub listeners: HashMap<String, Arc<Listener>>,
    /// Route configurations by name.
    pub routes: HashMap<String, Arc<Routes>>,
    /// Listeners that stand for an original destination, by its address.
    pub originals: HashMap<std::net::SocketAddr, Arc<Listener>>,
    /// Clusters by name.
    pub clusters: HashMap<String, Arc<Cluster>>,
}

/// Why a resource cannot be used; the control plane is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A regular expression is malformed.
    #[error("a route of virtual host `{host}` has a malformed expression")]
    Regex {
        /// The virtual host.
        host: String,
        /// What is wrong.
        #[source]
        source: fairlead_routing::InvalidRegex,
    },
    /// Two virtual hosts claim one domain.
    #[error("failed to index the virtual hosts")]
    Domains(#[source] fairlead_routing::host::DuplicateDomain),
    /// A header's name cannot be used.
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    /// A header's value cannot be used.
    #[error("the value of header `{0}` has characters that a header cannot have")]
    HeaderValue(String),
    /// The server name of a TLS context cannot be used.
    #[error("`{0}` is not a server name")]
    ServerName(String),
    /// A pattern for the names of a certificate is malformed.
    #[error("failed to compile a pattern for the names of a certificate")]
    SubjectName(#[source] fairlead_routing::InvalidRegex),
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] crate::tls::Error),
}
