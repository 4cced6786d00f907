//! SPIFFE ids of workloads: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
//!
//! <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>

use std::fmt;
use std::str::FromStr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A workload's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

/// Why an identity is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not of the form.
    #[error("`{0}` is not of the form `spiffe://<trust domain>/ns/<namespace>/sa/<account>`")]
    Form(String),
    /// A part has characters that no such name has.
    #[error("`{0}` is not a valid part of a SPIFFE id")]
    Part(String),
    /// The certificate cannot be read.
    #[error("failed to read the certificate")]
    Certificate(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// The certificate's extension cannot be read.
    #[error("failed to read the certificate's alternative names")]
    AlternativeNames(#[source] x509_parser::error::X509Error),
    /// The certificate has no URI, or more than one.
    #[error("the certificate has {0} URIs and not one")]
    UriCount(usize),
}

impl SpiffeId {
    /// An identity of its parts.
    ///
    /// # Errors
    /// When a part has characters that would change the meaning of the whole.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, Error> {
        for part in [trust_domain, namespace, service_account] {
            let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if part.is_empty() || !part.bytes().all(is_valid) {
                return Err(Error::Part(part.to_owned()));
            }
        }
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        })
    }

    /// The identity in a certificate's only URI.
    ///
    /// # Errors
    /// When the certificate cannot be read, or has not exactly one URI, or that is no identity.
    pub fn of_certificate(der: &[u8]) -> Result<Self, Error> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(Error::Certificate)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(Error::AlternativeNames)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris.as_slice() {
            [uri] => uri.parse(),
            several => Err(Error::UriCount(several.len())),
        }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            namespace,
            service_account,
        } = self;
        write!(
            f,
            "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
        )
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || Error::Form(text.to_owned());
        let mut parts = text.strip_prefix("spiffe://").ok_or_else(form)?.split('/');
        match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Self::new(domain, namespace, account)
            }
            _ => Err(form()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_and_written_alike() {
        let text = "spiffe://cluster.local/ns/shop/sa/web";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!((id.namespace(), id.service_account()), ("shop", "web"));
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn what_could_be_read_as_another_identity_is_refused() {
        for text in [
            "spiffe://cluster.local/ns/shop/sa/web/extra",
            "spiffe://cluster.local/ns/shop/sa/",
            "spiffe://cluster.local/ns/a%2Fb/sa/web",
            "https://cluster.local/ns/shop/sa/web",
            "spiffe://cluster.local/sa/web/ns/shop",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
        SpiffeId::new("cluster.local", "shop", "web/ns/admin").unwrap_err();
    }
}
