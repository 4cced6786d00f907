//! TLS of a listener's filter chain and of a cluster, with secrets named and fetched by SDS.

use fairlead_routing::StringMatch;
use serde::Serialize;

/// A version of TLS that can be a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// How a peer's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct CertificateValidation {
    /// Name of the SDS secret with the trusted roots; `None` trusts the system's roots.
    pub roots: Option<String>,
    /// The certificate must have a SAN that matches one of these; empty accepts any.
    pub subject_alt_names: Vec<StringMatch>,
}

/// TLS on the side of a server.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct DownstreamTls {
    /// Names of the SDS secrets with certificate and key.
    pub certificates: Vec<String>,
    /// How client certificates are verified; `None` does not ask for one.
    pub validation: Option<CertificateValidation>,
    /// Refuse clients without a certificate.
    pub require_client_certificate: bool,
    /// Application protocols offered, in order of preference.
    pub alpn: Vec<String>,
    /// The lowest version that is spoken; `None` is the implementation's default.
    pub min_version: Option<TlsVersion>,
    /// The highest version that is spoken; `None` is the implementation's default.
    pub max_version: Option<TlsVersion>,
}

/// TLS on the side of a client.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct UpstreamTls {
    /// Name of the SDS secret with our certificate and key; `None` presents none.
    pub certificate: Option<String>,
    /// How the server's certificate is verified; `None` does not verify it.
    pub validation: Option<CertificateValidation>,
    /// The server name sent; empty sends none.
    pub sni: String,
    /// Application protocols offered.
    pub alpn: Vec<String>,
}
