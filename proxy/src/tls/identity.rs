//! The certificate chain, key and roots that a proxy speaks TLS with.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Error, verify};

/// What a proxy is known by. Printing it never shows the key.
pub struct Identity {
    /// Certificates, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// Whom we trust.
    pub roots: Arc<RootCertStore>,
    /// What the leaf says.
    pub leaf: verify::Leaf,
}

impl Identity {
    /// Reads a chain (leaf first), its key and the trusted roots from PEM.
    pub fn from_pem(chain: &[u8], key: &[u8], roots: &[u8]) -> Result<Self, Error> {
        let (chain, key) = parse_pair(chain, key)?;
        let leaf = chain
            .first()
            .ok_or(Error::Missing("the certificate chain"))?;
        let leaf = verify::Leaf::parse(leaf).map_err(Error::ParseCertificate)?;
        let roots = parse_roots(roots)?;
        Ok(Self {
            chain,
            key,
            roots: Arc::new(roots),
            leaf,
        })
    }

    /// When the leaf is no longer valid.
    pub fn expires(&self) -> Timestamp {
        self.leaf.not_after
    }
}

/// Reads a chain (leaf first) and its key from PEM.
pub fn parse_pair(
    chain: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = parse_certificates(chain, "the certificate chain")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| Error::ReadPem {
        what: "the key",
        source,
    })?;
    Ok((chain, key))
}

/// Reads trusted roots from PEM.
pub fn parse_roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for root in parse_certificates(pem, "the roots")? {
        store.add(root).map_err(Error::UseRoot)?;
    }
    if store.is_empty() {
        Err(Error::Missing("the roots"))
    } else {
        Ok(store)
    }
}

fn parse_certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| Error::ReadPem { what, source })
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("leaf", &self.leaf)
            .finish_non_exhaustive()
    }
}
