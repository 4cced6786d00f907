//! Who a certificate says its bearer is, and whether that is whom we expect; no IO.
//!
//! Workloads are known by the URI in their certificate's subject alternative names (SPIFFE), not
//! by DNS name: X.509-SVID, section 2.

use std::sync::Arc;

use fairlead_routing::text::TextMatcher;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A certificate that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("malformed certificate: {0}")]
pub struct InvalidCertificate(String);

/// What a leaf certificate says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The SPIFFE URI, if it has one.
    pub uri: Option<Arc<str>>,
    /// DNS names.
    pub dns: Vec<String>,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

impl Leaf {
    /// Reads a certificate.
    pub fn parse(certificate: &CertificateDer<'_>) -> Result<Self, InvalidCertificate> {
        let invalid = |text: &dyn std::fmt::Display| InvalidCertificate(text.to_string());
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| invalid(&e))?;
        let names = parsed.subject_alternative_name().map_err(|e| invalid(&e))?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let (mut uri, mut dns) = (None, Vec::new());
        for name in names {
            match name {
                GeneralName::URI(text) if uri.is_none() => uri = Some(Arc::from(*text)),
                GeneralName::DNSName(text) => dns.push((*text).to_owned()),
                _ => {}
            }
        }
        let time = |seconds| Timestamp::from_second(seconds).map_err(|e| invalid(&e));
        Ok(Self {
            uri,
            dns,
            serial: parsed.raw_serial_as_string().replace(':', ""),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
        })
    }
}

/// The trust domain of a SPIFFE URI.
pub fn trust_domain(uri: &str) -> Option<&str> {
    uri.strip_prefix("spiffe://")?
        .split('/')
        .next()
        .filter(|domain| !domain.is_empty())
}

/// Whom a certificate may name.
#[derive(Debug, Clone)]
pub enum Names {
    /// Anyone that the roots vouch for.
    Any,
    /// One of these, as URI or DNS name; nobody when there are none.
    OneOf(Vec<TextMatcher>),
    /// Any workload of this trust domain.
    Domain(String),
}

impl Names {
    fn accepts(&self, leaf: &Leaf) -> bool {
        match self {
            Self::Any => true,
            Self::Domain(domain) => {
                leaf.uri.as_deref().and_then(trust_domain) == Some(domain.as_str())
            }
            Self::OneOf(expected) => {
                let uri = leaf.uri.as_deref().into_iter();
                let mut bearer = uri.chain(leaf.dns.iter().map(String::as_str));
                bearer.any(|name| expected.iter().any(|own| own.is_match(name.as_bytes())))
            }
        }
    }

    fn check(&self, end_entity: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if matches!(self, Self::Any) {
            return Ok(());
        }
        let leaf = Leaf::parse(end_entity)
            .map_err(|_error| rustls::Error::from(CertificateError::BadEncoding))?;
        if self.accepts(&leaf) {
            Ok(())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }
}

/// Accepts a client that WebPKI accepts, if its name is expected too.
#[derive(Debug)]
pub struct ExpectedClient {
    inner: Arc<dyn ClientCertVerifier>,
    names: Names,
}

impl ExpectedClient {
    /// Expects one of `names`.
    pub fn new(inner: Arc<dyn ClientCertVerifier>, names: Names) -> Self {
        Self { inner, names }
    }
}

impl ClientCertVerifier for ExpectedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        self.names.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts a server that the roots vouch for, if its name is expected.
#[derive(Debug)]
pub struct ExpectedServer {
    roots: Option<Arc<RootCertStore>>,
    names: Names,
    provider: Arc<CryptoProvider>,
}

impl ExpectedServer {
    /// Expects one of `names`; without roots nobody needs to vouch.
    pub fn new(
        roots: Option<Arc<RootCertStore>>,
        names: Names,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self {
            roots,
            names,
            provider,
        }
    }
}

impl ServerCertVerifier for ExpectedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        self.names.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use fairlead_routing::StringMatch;

    use super::*;

    fn leaf(uri: &str) -> Leaf {
        Leaf {
            uri: Some(uri.into()),
            dns: vec![],
            serial: String::new(),
            not_before: Timestamp::UNIX_EPOCH,
            not_after: Timestamp::UNIX_EPOCH,
        }
    }

    fn one_of(names: &[&str]) -> Names {
        let names = names
            .iter()
            .map(|&name| StringMatch::exact(name).compile().unwrap());
        Names::OneOf(names.collect())
    }

    #[test]
    fn only_a_listed_identity_is_accepted() {
        let a = "spiffe://cluster.local/ns/a/sa/a";
        assert!(one_of(&[a]).accepts(&leaf(a)));
        assert!(!one_of(&[a]).accepts(&leaf("spiffe://cluster.local/ns/b/sa/b")));
        assert!(!one_of(&[]).accepts(&leaf(a)));
    }

    #[test]
    fn a_trust_domain_is_compared_as_a_whole() {
        let own = Names::Domain("cluster.local".to_owned());
        assert!(own.accepts(&leaf("spiffe://cluster.local/ns/b/sa/b")));
        assert!(!own.accepts(&leaf("spiffe://cluster.local.evil/ns/b/sa/b")));
        assert!(!own.accepts(&Leaf {
            uri: None,
            ..leaf("")
        }));
    }
}
