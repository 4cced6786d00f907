//! Endpoints as the mesh knows them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fairlead_xds::resource::endpoint::{Locality, Workload};

/// An endpoint of a service.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    /// The endpoint's port for each port of the service.
    pub(crate) ports: BTreeMap<u16, u16>,
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) workload: Option<Workload>,
    /// Whether a sidecar takes mutual TLS there.
    pub(crate) has_sidecar: bool,
    pub(crate) locality: Locality,
    pub(crate) weight: Option<u32>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name(String),
}
