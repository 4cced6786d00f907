//! `security.istio.io`: who may talk to whom, and how it is proven.
//!
//! Types only: what they mean is decided in `crates/translate`.

mod peer_authentication;

pub use peer_authentication::*;

/// The API group.
pub const GROUP: &str = "security.istio.io";
/// The served versions, the stored one first; all have one schema.
pub const VERSIONS: &[&str] = &["v1", "v1beta1"];
