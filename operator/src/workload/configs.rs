//! ConfigMaps and Secrets that a pod template refers to: found, hashed, copied for the primary.
//!
//! The content of pull secrets is neither a trigger nor copied: rotating them rolls nothing out.

mod copy;
mod reference;

use std::collections::{BTreeMap, BTreeSet};

use fairlead_controller::ApiError;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use serde_json::json;
use sha2::{Digest, Sha256};

pub use self::copy::Copies;
pub use self::reference::{Kind, Reference, references, rename};

/// Turns tracking off on a ConfigMap or Secret when its value starts with `disable`.
const TRACKING: &str = "flagger.app/config-tracking";
/// Types of Secrets that are an application's own.
const SECRET_TYPES: [&str; 4] = [
    "Opaque",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/tls",
];

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, and the pods cannot start without it.
    #[error("{0}, which the target needs, does not exist")]
    Missing(String),
    /// What was kept of it is gone.
    #[error(
        "{0}, kept of an earlier revision, is gone: release a new revision, or go back to another"
    )]
    Lost(String),
    /// The API server did not give it.
    #[error("failed to read {object}")]
    Read {
        /// What.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// The API server did not take the copy.
    #[error("failed to write {object}")]
    Write {
        /// What.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
}

impl Error {
    /// The API server's answer, when that is the cause.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Missing(_) | Self::Lost(_) => None,
        }
    }
}

/// The configs of a template as they were read, opted-out and optional missing ones left out.
#[derive(Clone, Debug, Default)]
pub struct Configs {
    maps: Vec<ConfigMap>,
    secrets: Vec<Secret>,
}

impl Configs {
    /// Reads what `pod` refers to.
    pub async fn read(client: &Client, namespace: &str, pod: &PodSpec) -> Result<Self, Error> {
        let mut configs = Self::default();
        for (reference, optional) in references(pod) {
            let object = reference.key();
            let read = |source: kube::Error| Error::Read {
                object: object.clone(),
                source: source.into(),
            };
            let found = match reference.kind {
                Kind::ConfigMap => {
                    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                    let found = api.get_opt(&reference.name).await.map_err(read)?;
                    let is_there = found.is_some();
                    configs
                        .maps
                        .extend(found.filter(|map| is_tracked(&map.metadata)));
                    is_there
                }
                Kind::Secret => {
                    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                    let found = api.get_opt(&reference.name).await.map_err(read)?;
                    let is_there = found.is_some();
                    let own = |secret: &Secret| {
                        is_tracked(&secret.metadata)
                            && SECRET_TYPES.contains(&secret.type_.as_deref().unwrap_or("Opaque"))
                    };
                    configs.secrets.extend(found.filter(own));
                    is_there
                }
            };
            if !found && !optional {
                return Err(Error::Missing(object));
            }
        }
        Ok(configs)
    }

    /// A hash for each config; Flagger's, with binary data where there is any.
    pub fn hashes(&self) -> BTreeMap<String, String> {
        let maps = self.maps.iter().map(|map| {
            let binary = map.binary_data.as_ref().filter(|data| !data.is_empty());
            let content = match binary {
                None => json!(map.data),
                Some(binary) => json!([map.data, binary]),
            };
            (
                reference(Kind::ConfigMap, &map.metadata).key(),
                hash(&content),
            )
        });
        let secrets = self.secrets.iter().map(|secret| {
            (
                reference(Kind::Secret, &secret.metadata).key(),
                hash(&json!(secret.data)),
            )
        });
        maps.chain(secrets).collect()
    }

    /// The names that the primary's template must use instead.
    pub fn renamed(&self) -> BTreeSet<Reference> {
        let maps = self
            .maps
            .iter()
            .map(|map| reference(Kind::ConfigMap, &map.metadata));
        let secrets = self
            .secrets
            .iter()
            .map(|secret| reference(Kind::Secret, &secret.metadata));
        maps.chain(secrets).collect()
    }
}

fn reference(kind: Kind, meta: &ObjectMeta) -> Reference {
    Reference {
        kind,
        name: meta.name.clone().unwrap_or_default(),
    }
}

fn is_tracked(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    !annotations
        .and_then(|all| all.get(TRACKING))
        .is_some_and(|value| value.starts_with("disable"))
}

fn hash(content: &serde_json::Value) -> String {
    let digest = Sha256::digest(content.to_string().as_bytes());
    hex::encode(&digest[..8])
}
