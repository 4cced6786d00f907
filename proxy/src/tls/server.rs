//! TLS toward downstreams; builds configurations, accepts no connection.

use std::sync::Arc;

use fairlead_xds::resource::TlsVersion;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::Error;
use super::client::Certificate;
use super::verify::{ExpectedClient, Names};

/// Which clients are let in.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Who vouches for them.
    pub roots: Arc<RootCertStore>,
    /// What they must be called.
    pub names: Names,
    /// Without a certificate they are not let in.
    pub required: bool,
}

/// A server configuration with a certificate, which asks clients for theirs if `clients` says so.
pub fn build(
    (chain, key): Certificate,
    clients: Option<Clients>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(Error::Protocol)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(Clients {
            roots,
            names,
            required,
        }) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            let verifier = if required {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            let verifier = verifier.build().map_err(Error::BuildVerifier)?;
            builder.with_client_cert_verifier(Arc::new(ExpectedClient::new(verifier, names)))
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(Error::UseCertificate)?;
    config.alpn_protocols = alpn;
    // A resumed session would keep the client's old certificate past its end.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The versions between two bounds; all that are safe without them.
pub fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> Vec<&'static SupportedProtocolVersion> {
    match (min, max) {
        (Some(TlsVersion::V1_3), _) => vec![&TLS13],
        (_, Some(TlsVersion::V1_2)) => vec![&TLS12],
        _ => vec![&TLS13, &TLS12],
    }
}
