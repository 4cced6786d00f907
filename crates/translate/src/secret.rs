//! Secrets (SDS) of gateways, from Secrets of their namespace.

use std::sync::Arc;

use fairlead_identity::TrustBundle;
use fairlead_xds::resource::Secret;
use fairlead_xds::resource::secret::SecretContent;
use k8s_openapi::api::core::v1 as core;

use crate::snapshot::ObjectKey;
use crate::translator::Index;

/// Why a Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no Secret `{0}` is in the gateway's namespace")]
    Missing(String),
    #[error("the Secret `{name}` has no `{key}`")]
    Key { name: String, key: &'static str },
    #[error("the certificate in the Secret `{0}` is not valid")]
    Certificate(String),
    #[error("the key in the Secret `{0}` is not valid")]
    PrivateKey(String),
}

/// Name of the SDS secret of a gateway's certificate.
pub(crate) fn certificate_name(credential: &str) -> String {
    format!("kubernetes://{credential}")
}

/// Name of the SDS secret of the roots for clients' certificates.
pub(crate) fn roots_name(credential: &str) -> String {
    format!("kubernetes://{credential}-cacert")
}

/// The secrets of a credential in a gateway's namespace: the certificate, and the roots for clients'
/// certificates if they are verified.
pub(crate) fn of_gateway(
    index: &Index,
    namespace: &str,
    credential: &str,
    with_roots: bool,
) -> Result<Vec<Secret>, Error> {
    let find = |name: &str| {
        index
            .secrets
            .get(&ObjectKey::new(namespace, name))
            .map(Arc::as_ref)
    };
    let own = find(credential);
    let mut secrets = vec![certificate(credential, own)?];
    if with_roots {
        secrets.push(roots(
            credential,
            own,
            find(&format!("{credential}-cacert")),
        )?);
    }
    Ok(secrets)
}

/// The certificate of a credential with its key.
fn certificate(credential: &str, secret: Option<&core::Secret>) -> Result<Secret, Error> {
    let secret = secret.ok_or_else(|| Error::Missing(credential.to_owned()))?;
    let chain = value(credential, secret, &["tls.crt", "cert"])?;
    let key = value(credential, secret, &["tls.key", "key"])?;
    if !is_certificate(chain) {
        return Err(Error::Certificate(credential.to_owned()));
    }
    let is_key = std::str::from_utf8(key).is_ok_and(|text| text.contains("PRIVATE KEY-----"));
    if !is_key {
        return Err(Error::PrivateKey(credential.to_owned()));
    }
    let content = SecretContent::Certificate {
        chain: chain.to_vec(),
        key: key.to_vec(),
    };
    Ok(Secret {
        name: certificate_name(credential),
        content,
    })
}

/// The roots for clients' certificates: in a Secret of their own, or with the certificate.
fn roots(
    credential: &str,
    secret: Option<&core::Secret>,
    own: Option<&core::Secret>,
) -> Result<Secret, Error> {
    let source = own
        .or(secret)
        .ok_or_else(|| Error::Missing(credential.to_owned()))?;
    let roots = value(credential, source, &["ca.crt", "cacert"])?;
    if !is_certificate(roots) {
        return Err(Error::Certificate(credential.to_owned()));
    }
    let content = SecretContent::Roots {
        roots: roots.to_vec(),
    };
    Ok(Secret {
        name: roots_name(credential),
        content,
    })
}

fn value<'s>(
    name: &str,
    secret: &'s core::Secret,
    keys: &[&'static str],
) -> Result<&'s [u8], Error> {
    let data = secret.data.as_ref();
    keys.iter()
        .find_map(|key| data.and_then(|data| data.get(*key)))
        .map(|bytes| bytes.0.as_slice())
        .ok_or_else(|| Error::Key {
            name: name.to_owned(),
            key: keys.first().copied().unwrap_or_default(),
        })
}

fn is_certificate(pem: &[u8]) -> bool {
    std::str::from_utf8(pem).is_ok_and(|text| TrustBundle::parse(text).is_ok())
}
