//! The certificate authority of the mesh: its key, its callers, its answers, its root's spread.
//!
//! A workload is issued the identity that its token or its certificate proves, whatever the
//! request asks for.

pub mod caller;
pub mod distribution;
pub mod service;
pub mod store;

/// Audience of the tokens with which workloads ask for certificates.
pub const TOKEN_AUDIENCE: &str = "istio-ca";
/// ConfigMap that holds the root certificate in each namespace.
pub const ROOT_CONFIG_MAP: &str = "istio-ca-root-cert";
