//! TLS of both sides: who we are, who may talk to us, and whom we talk to.
//!
//! Configurations are built once per certificate and policy on the control thread; a handshake
//! only uses them.

pub mod client;
pub mod identity;
pub mod server;
pub mod verify;

pub use identity::Identity;

/// Application protocol of HTTP/1.1 between two proxies of the mesh.
pub const ALPN_MESH_HTTP1: &[u8] = b"istio-http/1.1";
/// Application protocol of HTTP/2 between two proxies of the mesh.
pub const ALPN_MESH_HTTP2: &[u8] = b"istio-h2";
/// Application protocol of TCP between two proxies of the mesh.
pub const ALPN_MESH_TCP: &[u8] = b"istio";

/// Why a TLS configuration could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PEM text is malformed.
    #[error("failed to read {what}")]
    ReadPem {
        /// Which part: certificate chain, key or roots.
        what: &'static str,
        /// Where it is wrong.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The PEM text has no such item.
    #[error("{0} is empty")]
    Missing(&'static str),
    /// The certificate is malformed.
    #[error("failed to parse the certificate")]
    ParseCertificate(#[source] verify::InvalidCertificate),
    /// A root certificate was refused.
    #[error("failed to use a root certificate")]
    UseRoot(#[source] rustls::Error),
    /// Certificate and key do not fit the configuration.
    #[error("failed to use the certificate")]
    UseCertificate(#[source] rustls::Error),
    /// The client verifier could not be built.
    #[error("failed to build the verifier of client certificates")]
    BuildVerifier(#[source] rustls::server::VerifierBuilderError),
    /// The process has no crypto provider that can do this.
    #[error("failed to set up the TLS protocol versions")]
    Protocol(#[source] rustls::Error),
}
