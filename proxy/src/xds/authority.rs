//! The proxy's own certificate: asked for at the start, and again at half of its life.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead_identity::{KeyAndRequest, SpiffeId, rotation};
use fairlead_xds::ca::{CertificateClient, CertificateRequest};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;

use super::channel;
use crate::tls::{self, Identity};

/// Life of a certificate that is asked for; the authority may give less.
const VALIDITY_SECONDS: i64 = 24 * 3600;
/// The authority answers in this time, or is asked again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub struct Authority {
    /// `host:port` of the control plane.
    pub address: String,
    /// Who we are.
    pub id: SpiffeId,
    /// File with the token that proves it.
    pub token: PathBuf,
    /// File with the roots that the control plane's certificate leads to.
    pub roots: PathBuf,
    /// Cryptography.
    pub provider: Arc<CryptoProvider>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("failed to read `{path}`")]
    ReadFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The roots cannot be used.
    #[error("failed to use the roots in `{path}`")]
    Roots {
        /// Their file.
        path: PathBuf,
        /// Why.
        #[source]
        source: tls::Error,
    },
    /// The token has characters that cannot be sent.
    #[error("the token in `{0}` cannot be sent")]
    Token(PathBuf),
    /// No key could be made.
    #[error("failed to make a key")]
    Key(#[source] fairlead_identity::csr::Error),
    /// The control plane cannot be reached.
    #[error("failed to reach the certificate authority")]
    Connect(#[source] channel::Error),
    /// It refused.
    #[error("the certificate authority refused")]
    Refused(#[source] tonic::Status),
    /// Its answer cannot be used.
    #[error("failed to use the certificate")]
    Certificate(#[source] tls::Error),
}

impl Authority {
    /// Asks for a certificate.
    pub async fn obtain(&self) -> Result<Identity, Error> {
        let roots = self.read_roots().await?;
        let token = read(&self.token).await?;
        let token = String::from_utf8(token).ok();
        let token = token.and_then(|token| {
            AsciiMetadataValue::try_from(format!("Bearer {}", token.trim())).ok()
        });
        let token = token.ok_or_else(|| Error::Token(self.token.clone()))?;
        let parsed = tls::identity::parse_roots(&roots).map_err(|source| Error::Roots {
            path: self.roots.clone(),
            source,
        })?;
        let channel = channel::open(&self.address, Arc::new(parsed), None, &self.provider)
            .await
            .map_err(Error::Connect)?;
        let KeyAndRequest { key, csr_pem } =
            KeyAndRequest::generate(&self.id).map_err(Error::Key)?;
        let mut request = Request::new(CertificateRequest {
            csr: csr_pem,
            validity_duration: VALIDITY_SECONDS,
            metadata: None,
        });
        request.metadata_mut().insert("authorization", token);
        request.set_timeout(TIMEOUT);
        let response = CertificateClient::new(channel)
            .create_certificate(request)
            .await;
        let chain = response.map_err(Error::Refused)?.into_inner().cert_chain;
        // The root comes last; it is trusted because the answer came over a verified connection.
        let (presented, root) = match chain.as_slice() {
            [rest @ .., root] if !rest.is_empty() => (rest.concat(), root.as_str()),
            all => (all.concat(), ""),
        };
        let mut trusted = roots;
        trusted.push(b'\n');
        trusted.extend_from_slice(root.as_bytes());
        Identity::from_pem(presented.as_bytes(), key.expose_pem().as_bytes(), &trusted)
            .map_err(Error::Certificate)
    }

    /// The roots that the control plane's own certificate leads to.
    pub async fn roots(&self) -> Result<RootCertStore, Error> {
        let pem = self.read_roots().await?;
        tls::identity::parse_roots(&pem).map_err(|source| Error::Roots {
            path: self.roots.clone(),
            source,
        })
    }

    async fn read_roots(&self) -> Result<Vec<u8>, Error> {
        read(&self.roots).await
    }
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    let read = tokio::fs::read(path).await;
    read.map_err(|source| Error::ReadFile {
        path: path.clone(),
        source,
    })
}

/// How long to wait until a certificate should be renewed; `jitter` is between -1 and 1.
pub fn until_renewal(identity: &Identity, now: Timestamp, jitter: f64) -> Duration {
    let at = rotation::renew_at(identity.leaf.not_before, identity.leaf.not_after, jitter);
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
