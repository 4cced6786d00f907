//! Ports and destinations, which most kinds of the group name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// A port by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortSelector {
    /// Number of the port.
    #[serde(default)]
    pub number: u32,
}

/// Where requests go: a service, or a subset of its pods.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// Name of a service in the registry.
    /// A short name is completed with the namespace of the rule, not of the caller.
    pub host: String,
    /// Subset of the service, as a DestinationRule defines it.
    pub subset: Option<String>,
    /// Port of the service; may be left out where the service has only one.
    pub port: Option<PortSelector>,
}
