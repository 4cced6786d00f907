//! TLS toward upstreams; builds configurations, opens no connection.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::verify::{ExpectedServer, Names};
use super::{Error, Identity};

/// Whom to accept as the server.
#[derive(Debug, Clone)]
pub enum Expect {
    /// A bearer of such names, vouched for by our roots.
    Names(Names),
    /// A server of the public kind: its DNS name is the one that we asked for.
    DnsName,
    /// Anybody: the configuration says so.
    Unverified,
}

/// A certificate chain, leaf first, with the leaf's key.
pub type Certificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A cluster's endpoints share one server name, so few sessions are ever kept.
const RESUMABLE_SESSIONS: usize = 32;

/// A client configuration that trusts `roots` and presents `certificate`. Its application protocols
/// are still to be set.
pub fn build(
    roots: Arc<RootCertStore>,
    certificate: Option<Certificate>,
    expect: &Expect,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Protocol)?;
    let verifier = |roots, names| Arc::new(ExpectedServer::new(roots, names, Arc::clone(provider)));
    let builder = match expect {
        Expect::DnsName => builder.with_root_certificates(roots),
        Expect::Names(names) => builder
            .dangerous()
            .with_custom_certificate_verifier(verifier(Some(roots), names.clone())),
        Expect::Unverified => builder
            .dangerous()
            .with_custom_certificate_verifier(verifier(None, Names::Any)),
    };
    let mut config = match certificate {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(Error::UseCertificate)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(RESUMABLE_SESSIONS);
    Ok(config)
}

/// A client configuration for the control plane: HTTP/2, its name checked as usual.
pub fn plain(
    roots: Arc<RootCertStore>,
    identity: Option<&Identity>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, Error> {
    let own = identity.map(|identity| (identity.chain.clone(), identity.key.clone_key()));
    let mut config = build(roots, own, &Expect::DnsName, provider)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
