//! Typed xDS resources, their protobuf form, and the client and server sessions of delta ADS.
//!
//! Pure: no sockets, no tasks, no clock. `ca` alone names tonic, for the messages and stubs of the
//! certificate service; who connects and who listens is decided by the deployables.
//! Protocol: <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::wildcard_enum_match_arm
    )
)]

pub mod ca;
pub mod client;
pub mod node;
pub mod proto;
pub mod resource;
pub mod server;
pub mod type_url;

pub use fairlead_routing as routing;
pub use type_url::TypeUrl;
