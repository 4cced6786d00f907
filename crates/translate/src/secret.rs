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
    #[error("the proxy is in no pod that is known by its name and service account")]
    UnknownProxy,
    #[error("no Secret `{0}` is in the gateway's namespace")]
    Missing(String),
    #[error("the Secret `{name}` has no `{key}`")]
    Key { name: String, key: &'static str },
    #[error("the certificate in the Secret `{0}` is not valid")]
    Certificate(String),
    #[error("the key in the Secret `{0}` is not valid")]
    PrivateKey(String),
}

/// What a server of a gateway needs of the Secrets in its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credential {
    /// The Secret with the certificate.
    pub(crate) name: String,
    /// Whether clients' certificates are verified.
    pub(crate) asks_clients: bool,
    /// The Secret with the roots for these, if not that of the certificate or its `-cacert`.
    pub(crate) roots: Option<String>,
}

impl Credential {
    /// Name of the SDS secret of the certificate.
    pub(crate) fn certificate_name(&self) -> String {
        format!("kubernetes://{}", self.name)
    }

    /// Name of the SDS secret of the roots for clients' certificates.
    pub(crate) fn roots_name(&self) -> String {
        match &self.roots {
            Some(name) => format!("kubernetes-cacert://{name}"),
            None => format!("kubernetes://{}-cacert", self.name),
        }
    }
}

/// The secrets of a credential in a gateway's namespace: the certificate, and the roots for clients'
/// certificates if they are verified.
pub(crate) fn of_gateway(
    index: &Index,
    namespace: &str,
    credential: &Credential,
) -> Result<Vec<Secret>, Error> {
    let find = |name: &str| {
        index
            .secrets
            .get(&ObjectKey::new(namespace, name))
            .map(Arc::as_ref)
    };
    let own = find(&credential.name);
    let mut secrets = vec![certificate(credential, own)?];
    if credential.asks_clients {
        let (name, source) = match &credential.roots {
            Some(name) => (name, find(name)),
            None => (
                &credential.name,
                find(&format!("{}-cacert", credential.name)).or(own),
            ),
        };
        secrets.push(Secret {
            name: credential.roots_name(),
            content: roots(name, source)?,
        });
    }
    Ok(secrets)
}

/// The certificate of a credential with its key.
fn certificate(credential: &Credential, secret: Option<&core::Secret>) -> Result<Secret, Error> {
    let name = &credential.name;
    let secret = secret.ok_or_else(|| Error::Missing(name.clone()))?;
    let chain = value(name, secret, &["tls.crt", "cert"])?;
    let key = value(name, secret, &["tls.key", "key"])?;
    if !is_certificate(chain) {
        return Err(Error::Certificate(name.clone()));
    }
    let is_key = std::str::from_utf8(key).is_ok_and(|text| text.contains("PRIVATE KEY-----"));
    if !is_key {
        return Err(Error::PrivateKey(name.clone()));
    }
    let content = SecretContent::Certificate {
        chain: chain.to_vec(),
        key: key.to_vec(),
    };
    Ok(Secret {
        name: credential.certificate_name(),
        content,
    })
}

/// The roots in a Secret.
fn roots(name: &str, secret: Option<&core::Secret>) -> Result<SecretContent, Error> {
    let secret = secret.ok_or_else(|| Error::Missing(name.to_owned()))?;
    let roots = value(name, secret, &["ca.crt", "cacert"])?;
    if !is_certificate(roots) {
        return Err(Error::Certificate(name.to_owned()));
    }
    Ok(SecretContent::Roots {
        roots: roots.to_vec(),
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
