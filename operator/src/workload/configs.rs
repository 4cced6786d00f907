//! ConfigMaps and Secrets that a pod template refers to: found, hashed, copied for the primary.
//!
//! The content of pull secrets is neither a trigger nor copied: rotating them rolls nothing out.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_controller::ApiError;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVar, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::canary::FIELD_MANAGER;

/// Turns tracking off on a ConfigMap or Secret when its value starts with `disable`.
const TRACKING: &str = "flagger.app/config-tracking";
/// Types of Secrets that are an application's own.
const SECRET_TYPES: [&str; 4] = [
    "Opaque",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/tls",
];

/// Which kind of config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// One config, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Reference {
    /// The key that Flagger's status uses.
    pub fn key(&self) -> String {
        match self.kind {
            Kind::ConfigMap => format!("configmap/{}", self.name),
            Kind::Secret => format!("secret/{}", self.name),
        }
    }
}

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, and the pods cannot start without it.
    #[error("{0}, which the target needs, does not exist")]
    Missing(String),
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
            Self::Missing(_) => None,
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

    /// Writes the primary's copies.
    pub async fn copy(
        &self,
        client: &Client,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<(), Error> {
        for map in &self.maps {
            let copy = ConfigMap {
                metadata: copied(&map.metadata, owner),
                data: map.data.clone(),
                binary_data: map.binary_data.clone(),
                immutable: None,
            };
            apply(client, namespace, &map.name_any(), &copy).await?;
        }
        for secret in &self.secrets {
            let copy = Secret {
                metadata: copied(&secret.metadata, owner),
                data: secret.data.clone(),
                type_: secret.type_.clone(),
                ..Secret::default()
            };
            apply(client, namespace, &secret.name_any(), &copy).await?;
        }
        Ok(())
    }
}

async fn apply<K>(client: &Client, namespace: &str, original: &str, copy: &K) -> Result<(), Error>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let name = format!("{original}-primary");
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(&name, &params, &Patch::Apply(copy)).await;
    applied.map(drop).map_err(|source| Error::Write {
        object: format!("{} `{namespace}/{name}`", K::kind(&())),
        source: source.into(),
    })
}

fn copied(original: &ObjectMeta, owner: &OwnerReference) -> ObjectMeta {
    let name = original.name.clone().unwrap_or_default();
    ObjectMeta {
        name: Some(format!("{name}-primary")),
        namespace: original.namespace.clone(),
        labels: original.labels.clone(),
        // Several Canaries may share a copy, so none of them is its controller.
        owner_references: Some(vec![OwnerReference {
            controller: None,
            ..owner.clone()
        }]),
        ..ObjectMeta::default()
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

/// What a pod refers to, and whether it can start without it.
pub fn references(pod: &PodSpec) -> BTreeMap<Reference, bool> {
    let mut found = BTreeMap::new();
    let mut pod = pod.clone();
    visit(&mut pod, &mut |kind, name, optional| {
        let reference = Reference {
            kind,
            name: name.clone(),
        };
        // Needed anywhere is needed.
        let entry = found.entry(reference).or_insert(true);
        *entry = *entry && optional;
    });
    found
}

/// Points a pod at the primary's copies.
pub fn rename(pod: &mut PodSpec, renamed: &BTreeSet<Reference>) {
    visit(pod, &mut |kind, name, _| {
        if renamed.contains(&Reference {
            kind,
            name: name.clone(),
        }) {
            name.push_str("-primary");
        }
    });
}

/// Calls `each` with kind, name and "optional" of every reference.
fn visit(pod: &mut PodSpec, each: &mut dyn FnMut(Kind, &mut String, bool)) {
    for volume in pod.volumes.iter_mut().flatten() {
        if let Some(map) = &mut volume.config_map {
            each(
                Kind::ConfigMap,
                &mut map.name,
                map.optional.unwrap_or(false),
            );
        }
        if let Some(secret) = &mut volume.secret
            && let Some(name) = &mut secret.secret_name
        {
            each(Kind::Secret, name, secret.optional.unwrap_or(false));
        }
        let sources = volume
            .projected
            .as_mut()
            .and_then(|all| all.sources.as_mut());
        for source in sources.into_iter().flatten() {
            if let Some(map) = &mut source.config_map {
                each(
                    Kind::ConfigMap,
                    &mut map.name,
                    map.optional.unwrap_or(false),
                );
            }
            if let Some(secret) = &mut source.secret {
                each(
                    Kind::Secret,
                    &mut secret.name,
                    secret.optional.unwrap_or(false),
                );
            }
        }
    }
    let containers = pod
        .init_containers
        .iter_mut()
        .flatten()
        .chain(pod.containers.iter_mut());
    for Container { env, env_from, .. } in containers {
        env.iter_mut()
            .flatten()
            .for_each(|variable| visit_variable(variable, each));
        env_from
            .iter_mut()
            .flatten()
            .for_each(|source| visit_source(source, each));
    }
}

fn visit_variable(variable: &mut EnvVar, each: &mut dyn FnMut(Kind, &mut String, bool)) {
    let Some(from) = &mut variable.value_from else {
        return;
    };
    if let Some(map) = &mut from.config_map_key_ref {
        each(
            Kind::ConfigMap,
            &mut map.name,
            map.optional.unwrap_or(false),
        );
    }
    if let Some(secret) = &mut from.secret_key_ref {
        each(
            Kind::Secret,
            &mut secret.name,
            secret.optional.unwrap_or(false),
        );
    }
}

fn visit_source(source: &mut EnvFromSource, each: &mut dyn FnMut(Kind, &mut String, bool)) {
    if let Some(map) = &mut source.config_map_ref {
        each(
            Kind::ConfigMap,
            &mut map.name,
            map.optional.unwrap_or(false),
        );
    }
    if let Some(secret) = &mut source.secret_ref {
        each(
            Kind::Secret,
            &mut secret.name,
            secret.optional.unwrap_or(false),
        );
    }
}
