//! Trust bundles: the roots that a mesh trusts, as a set.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no PEM.
    #[error("failed to read PEM")]
    Pem(#[source] pem::Error),
    /// A certificate in it cannot be read.
    #[error("failed to read certificate {position} of the bundle")]
    Certificate {
        /// The certificate's position, from 1.
        position: usize,
        /// Why.
        #[source]
        source: x509_parser::nom::Err<x509_parser::error::X509Error>,
    },
    /// There is no certificate in it.
    #[error("there is no certificate in the bundle")]
    Empty,
}

/// A set of trusted roots; each once, in an order that does not depend on where they came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundle {
    roots: BTreeSet<Vec<u8>>,
}

impl TrustBundle {
    /// Reads a bundle of PEM certificates.
    ///
    /// # Errors
    /// When it cannot be read or is empty.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let roots: BTreeSet<_> = split_pem(text)?.into_iter().collect();
        if roots.is_empty() {
            Err(Error::Empty)
        } else {
            Ok(Self { roots })
        }
    }

    /// Adds the roots of another bundle. A root is replaced without an outage by trusting both for
    /// as long as certificates of the old one live.
    pub fn merge(&mut self, other: &Self) {
        self.roots.extend(other.roots.iter().cloned());
    }

    /// Removes roots that have expired at `now`.
    pub fn remove_expired(&mut self, now: Timestamp) {
        self.roots
            .retain(|der| match X509Certificate::from_der(der) {
                Ok((_, root)) => validity(&root).1 > now,
                Err(_) => false,
            });
    }

    /// PEM of all roots.
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(|der| to_pem(der)).collect()
    }

    /// Whether a certificate is one of the roots.
    pub fn contains(&self, der: &[u8]) -> bool {
        self.roots.contains(der)
    }

    /// The roots as DER.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().map(Vec::as_slice)
    }
}

/// DER of each certificate of a PEM text, in order.
pub(crate) fn split_pem(text: &str) -> Result<Vec<Vec<u8>>, Error> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .enumerate()
        .map(|(index, der)| {
            let der = der.map_err(Error::Pem)?;
            X509Certificate::from_der(&der).map_err(|source| Error::Certificate {
                position: index + 1,
                source,
            })?;
            Ok(der.to_vec())
        })
        .collect()
}

/// PEM of a certificate.
pub(crate) fn to_pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = base64(der);
    let mut pem = String::with_capacity(text.len() + text.len() / LINE + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Begin and end of a certificate's life.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let validity = certificate.validity();
    let time = |seconds: i64, fallback| Timestamp::from_second(seconds).unwrap_or(fallback);
    (
        time(validity.not_before.timestamp(), Timestamp::MIN),
        time(validity.not_after.timestamp(), Timestamp::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::Authority;

    fn root() -> TrustBundle {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        Authority::self_signed("root", now).unwrap().roots().clone()
    }

    #[test]
    fn merging_is_a_union_whatever_the_order() {
        let (a, b) = (root(), root());
        let mut left = a.clone();
        left.merge(&b);
        let mut right = b;
        right.merge(&a);
        right.merge(&a);
        assert_eq!(left.to_pem(), right.to_pem());
        assert_eq!(TrustBundle::parse(&left.to_pem()).unwrap(), left);
    }

    #[test]
    fn an_expired_root_is_dropped() {
        let mut bundle = root();
        bundle.remove_expired("2026-03-02T12:00:00Z".parse().unwrap());
        assert_eq!(bundle.iter().count(), 1);
        bundle.remove_expired("2037-03-02T12:00:00Z".parse().unwrap());
        assert_eq!(bundle.iter().count(), 0);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(matches!(TrustBundle::parse("").unwrap_err(), Error::Empty));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            TrustBundle::parse(broken).unwrap_err(),
            Error::Certificate { position: 1, .. }
        ));
    }
}
