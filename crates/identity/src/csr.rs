//! Certificate signing requests: made by a proxy, verified by the authority.
//!
//! A request proves only that the caller has the key. The names in it are not trusted: whoever
//! signs takes the identity from the caller's authentication.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, KeyPair, PublicKey,
    SanType,
};

use crate::issuer::PrivateKey;
use crate::spiffe::SpiffeId;

/// Why a request cannot be made or is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key could be generated.
    #[error("failed to generate a key")]
    GenerateKey(#[source] rcgen::Error),
    /// The identity does not fit into a certificate.
    #[error("failed to put `{id}` into a signing request")]
    Identity {
        /// The identity.
        id: SpiffeId,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The request could not be signed.
    #[error("failed to sign the signing request")]
    Sign(#[source] rcgen::Error),
    /// The request is not of its form, or its signature does not match its key.
    #[error("the signing request is not valid")]
    Verify(#[source] rcgen::Error),
}

/// A new key with the request for its certificate.
#[derive(Debug)]
pub struct KeyAndRequest {
    /// The key, which never leaves the process that made it.
    pub key: PrivateKey,
    /// PEM of the request.
    pub csr_pem: String,
}

impl KeyAndRequest {
    /// Generates a key (ECDSA P-256) and the request for a certificate of `id`.
    ///
    /// # Errors
    /// When the crypto library cannot.
    pub fn generate(id: &SpiffeId) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(Error::GenerateKey)?;
        let uri = id
            .to_string()
            .try_into()
            .map_err(|source| Error::Identity {
                id: id.clone(),
                source,
            })?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri)];
        let csr_pem = params
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(Error::Sign)?;
        Ok(Self {
            key: PrivateKey::new(key.serialize_pem()),
            csr_pem,
        })
    }
}

/// A request whose signature proves that the caller has the key.
#[derive(Clone, Debug)]
pub struct VerifiedRequest {
    pub(crate) key: PublicKey,
}

impl VerifiedRequest {
    /// Reads and verifies a request. Of what it asks only the key is kept.
    ///
    /// # Errors
    /// When it cannot be read or its signature is wrong.
    pub fn verify(pem: &str) -> Result<Self, Error> {
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(Error::Verify)?;
        Ok(Self {
            key: request.public_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_whose_signature_is_broken_is_refused() {
        let id = SpiffeId::new("cluster.local", "shop", "web").unwrap();
        let request = KeyAndRequest::generate(&id).unwrap();
        VerifiedRequest::verify(&request.csr_pem).unwrap();
        let lines: Vec<_> = request.csr_pem.lines().collect();
        let last = lines.len() - 2;
        let tampered: String = lines
            .iter()
            .enumerate()
            .map(|(index, line)| {
                if index == last {
                    line.replacen(&line[..4], "AAAA", 1)
                } else {
                    (*line).to_owned()
                }
            })
            .map(|line| line + "\n")
            .collect();
        VerifiedRequest::verify(&tampered).unwrap_err();
        VerifiedRequest::verify("no request").unwrap_err();
    }
}
