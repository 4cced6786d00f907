//! `networking.istio.io`: how requests find their destination.
//!
//! Types only: what they mean is decided in `crates/translate`.

mod destination_rule;
mod gateway;
mod http_match;
mod http_route;
mod load_balancer;
mod port;
mod service_entry;
mod status;
mod traffic_policy;
mod virtual_service;

pub use destination_rule::*;
pub use gateway::*;
pub use http_match::*;
pub use http_route::*;
pub use load_balancer::*;
pub use port::*;
pub use service_entry::*;
pub use status::*;
pub use traffic_policy::*;
pub use virtual_service::*;

/// The API group.
pub const GROUP: &str = "networking.istio.io";
/// The served versions, the stored one first; all have one schema.
pub const VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
