//! Translation of a mesh snapshot into the xDS resources of one proxy.
//!
//! Pure: no IO, no clock, no randomness. It never fails: a bad object becomes a [`Diagnostic`] and
//! its neighbours survive. The same snapshot gives the same bytes, whatever the order in which its
//! objects came. What is the same for many proxies is made once and shared.
#![deny(clippy::iter_over_hash_type)]

mod cluster;
mod diagnostic;
mod endpoint;
mod gateway;
mod listener;
pub mod manifest;
mod output;
mod policy;
mod protocol;
mod registry;
mod route;
mod rule;
mod secret;
mod shared;
mod sidecar;
mod snapshot;
mod translator;
mod view;
mod virtual_service;

use std::collections::{BTreeMap, BTreeSet};

use fairlead_xds::TypeUrl;
use fairlead_xds::resource::ResourceSet;

pub use diagnostic::{Diagnostic, Kind, Severity, Source};
pub use fairlead_xds::node::{Metadata, Node, NodeId, NodeType};
pub use snapshot::{Mesh, ObjectKey, Objects, OutboundPolicy, Snapshot};
pub use translator::{Translator, translate};

/// Which objects each resource was made from; those made from Services alone are left out.
pub type Sources = BTreeMap<(TypeUrl, String), BTreeSet<Source>>;

/// What one proxy gets.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// The resources.
    pub resources: ResourceSet,
    /// Which objects each was made from.
    pub sources: Sources,
    /// What is wrong for this proxy, beside what [`Translator::diagnostics`] says for all.
    pub diagnostics: Vec<Diagnostic>,
}
