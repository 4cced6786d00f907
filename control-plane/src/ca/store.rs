//! Where the authority's key lives: the Secret `cacerts` of the user, else `istio-ca-secret`, which
//! the first replica creates and all others read.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

/// Secret with the key that the user brings.
const PLUGGED: &str = "cacerts";
/// Secret with the key that we make.
const SELF_MADE: &str = "istio-ca-secret";
/// Its type, which keeps it out of the way of other controllers.
const SELF_MADE_TYPE: &str = "istio.io/ca-root";

/// The authority's certificates and key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The certificate that signs.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// What workloads trust; several certificates while a root is being replaced.
    pub roots: String,
    /// From the signing certificate up to, and without, the root; empty when it is the root.
    pub chain: String,
}

/// Says what it is, never the key.
impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial").finish_non_exhaustive()
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Secret could not be read.
    #[error("failed to read secret `{secret}`")]
    Read {
        /// Its name.
        secret: &'static str,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Secret could not be created.
    #[error("failed to create secret `{SELF_MADE}`")]
    Create(#[source] Box<kube::Error>),
    /// A Secret lacks an entry.
    #[error("secret `{secret}` has no entry `{entry}`, or it is not text")]
    Entry {
        /// Its name.
        secret: &'static str,
        /// The entry.
        entry: &'static str,
    },
    /// No key could be made.
    #[error("failed to make a key")]
    Make(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The Secrets of the root namespace.
#[derive(Clone)]
pub struct KeyStore {
    secrets: Api<Secret>,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore").finish_non_exhaustive()
    }
}

impl KeyStore {
    /// The Secrets of `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
        }
    }

    /// The key in force, if there is one yet.
    ///
    /// # Errors
    /// The API server does not answer, or a Secret is incomplete. A broken `cacerts` is an error
    /// and never a reason to fall back to another root.
    pub async fn load(&self) -> Result<Option<KeyMaterial>, Error> {
        for secret in [PLUGGED, SELF_MADE] {
            let found = self.secrets.get_opt(secret).await;
            let found = found.map_err(|source| Error::Read {
                secret,
                source: Box::new(source),
            })?;
            if let Some(found) = found {
                return parse(secret, &found.data.unwrap_or_default()).map(Some);
            }
        }
        Ok(None)
    }

    /// The key in force; where there is none, the one from `make`, unless another replica is
    /// faster.
    ///
    /// # Errors
    /// As [`Self::load`]; also when the key cannot be made or stored.
    pub async fn load_or_create<E>(
        &self,
        make: impl Fn() -> Result<KeyMaterial, E>,
    ) -> Result<KeyMaterial, Error>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        loop {
            if let Some(material) = self.load().await? {
                return Ok(material);
            }
            let material = make().map_err(|source| Error::Make(Box::new(source)))?;
            let secret = unparse(&material);
            match self.secrets.create(&PostParams::default(), &secret).await {
                Ok(_) => {
                    tracing::info!(secret = SELF_MADE, "created the key of the authority");
                    return Ok(material);
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(source) => return Err(Error::Create(Box::new(source))),
            }
        }
    }
}

fn parse(secret: &'static str, data: &BTreeMap<String, ByteString>) -> Result<KeyMaterial, Error> {
    let optional = |entry: &str| {
        data.get(entry)
            .and_then(|value| String::from_utf8(value.0.clone()).ok())
    };
    let required = |entry: &'static str, alias: &str| {
        optional(entry)
            .or_else(|| optional(alias))
            .ok_or(Error::Entry { secret, entry })
    };
    let certificate = required("ca-cert.pem", "tls.crt")?;
    Ok(KeyMaterial {
        key: required("ca-key.pem", "tls.key")?,
        roots: optional("root-cert.pem")
            .or_else(|| optional("ca.crt"))
            .unwrap_or_else(|| certificate.clone()),
        chain: optional("cert-chain.pem").unwrap_or_default(),
        certificate,
    })
}

fn unparse(material: &KeyMaterial) -> Secret {
    let KeyMaterial {
        certificate,
        key,
        roots,
        chain,
    } = material;
    let data = [
        ("ca-cert.pem", certificate),
        ("ca-key.pem", key),
        ("root-cert.pem", roots),
        ("cert-chain.pem", chain),
    ];
    let data = data.map(|(name, pem)| (name.to_owned(), ByteString(pem.clone().into_bytes())));
    Secret {
        metadata: ObjectMeta {
            name: Some(SELF_MADE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(SELF_MADE_TYPE.to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material() -> KeyMaterial {
        KeyMaterial {
            certificate: "certificate".to_owned(),
            key: "key".to_owned(),
            roots: "roots".to_owned(),
            chain: String::new(),
        }
    }

    #[test]
    fn what_is_stored_is_what_is_read() {
        let data = unparse(&material()).data.unwrap();
        assert!(parse(SELF_MADE, &data).unwrap() == material());
    }

    #[test]
    fn a_plugged_key_may_use_the_names_of_tls_secrets() {
        let data = [
            ("tls.crt", "certificate"),
            ("tls.key", "key"),
            ("ca.crt", "roots"),
        ]
        .map(|(name, pem)| (name.to_owned(), ByteString(pem.as_bytes().to_vec())));
        assert!(parse(PLUGGED, &data.into()).unwrap() == material());
    }

    #[test]
    fn a_missing_entry_is_named() {
        let error = parse(PLUGGED, &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "secret `cacerts` has no entry `ca-cert.pem`, or it is not text"
        );
    }

    #[test]
    fn the_key_is_never_printed() {
        assert!(
            !format!(
                "{:?}",
                KeyMaterial {
                    key: "s3cret".to_owned(),
                    ..material()
                }
            )
            .contains("s3cret")
        );
    }
}
