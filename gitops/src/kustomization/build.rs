//! From the files of an artifact to objects in the order of their application. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fairlead_crds::label;
use fairlead_kustomize::order::{self, Stage};
use fairlead_kustomize::{self as kustomize, Id, Resource, Tree, substitute, yaml};
use serde_json::{Map, Value};

use super::validate::ValidatedKustomization;
use crate::artifact::Digest;

/// What is to be in the cluster.
#[derive(Clone, Debug)]
pub struct Built {
    /// The objects, in stages.
    pub stages: Vec<(Stage, Vec<Resource>)>,
    /// Hash of all objects.
    pub digest: Digest,
}

impl Built {
    /// The identities of all objects.
    pub fn ids(&self) -> Vec<Id> {
        self.stages
            .iter()
            .flat_map(|(_, resources)| resources)
            .map(Resource::id)
            .collect()
    }
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is not in the artifact.
    #[error("kustomization path not found: `{0}`")]
    Path(String),
    /// The files are wrong.
    #[error("failed to build the manifests")]
    Overlay(#[source] kustomize::Error),
    /// Variables could not be filled in.
    #[error("failed to fill in variables")]
    Substitute(#[source] substitute::Error),
    /// An object is still encrypted.
    #[error("{object} is encrypted with SOPS, and decryption is not supported: it is not applied")]
    Encrypted {
        /// The object and where it stands.
        object: String,
    },
}

/// Builds the objects of a Kustomization.
pub fn build(tree: &Tree, kustomization: &ValidatedKustomization) -> Result<Built, Error> {
    let resources = kustomize::build(tree, &kustomization.path, &kustomization.customization)
        .map_err(|error| match error {
            kustomize::Error::MissingDirectory { path } => Error::Path(path),
            other => Error::Overlay(other),
        })?;
    let mut prepared = Vec::with_capacity(resources.len());
    let mut text = String::new();
    for resource in resources {
        if resource.value().get("sops").is_some() {
            let object = format!("{} in {}", resource.id(), resource.origin());
            return Err(Error::Encrypted { object });
        }
        let resource = match &kustomization.variables {
            Some(variables) => {
                substitute::substitute(resource, variables).map_err(Error::Substitute)?
            }
            None => resource,
        };
        text.push_str("---\n");
        text.push_str(&yaml::to_string(resource.value()));
        prepared.push(prepare(resource, kustomization));
    }
    Ok(Built {
        stages: order::stages(prepared),
        digest: Digest::of(text.as_bytes()),
    })
}

/// Labels that say whose the object is, the metadata of the spec, and nothing a server would add.
fn prepare(resource: Resource, kustomization: &ValidatedKustomization) -> Resource {
    let mut value = resource.value().clone();
    let mut labels = kustomization.labels.clone();
    labels.insert(label::KUSTOMIZE_NAME.to_owned(), kustomization.name.clone());
    labels.insert(
        label::KUSTOMIZE_NAMESPACE.to_owned(),
        kustomization.namespace.clone(),
    );
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in [
            "creationTimestamp",
            "managedFields",
            "resourceVersion",
            "uid",
            "generation",
            "selfLink",
        ] {
            metadata.shift_remove(field);
        }
        stamp(metadata, "labels", &labels);
        stamp(metadata, "annotations", &kustomization.annotations);
    }
    if let Value::Object(map) = &mut value {
        map.shift_remove("status");
        if map.get("kind").and_then(Value::as_str) == Some("Secret") {
            encode_strings(map);
        }
    }
    // The fields that make an object one were not touched.
    resource.clone().with_value(value).unwrap_or(resource)
}

fn stamp(metadata: &mut Map<String, Value>, place: &str, pairs: &BTreeMap<String, String>) {
    if pairs.is_empty() {
        return;
    }
    let strings = metadata.entry(place).or_insert(Value::Null);
    if strings.is_null() {
        *strings = Value::Object(Map::new());
    }
    if let Value::Object(strings) = strings {
        strings.extend(
            pairs
                .iter()
                .map(|(key, text)| (key.clone(), Value::from(text.as_str()))),
        );
    }
}

/// `stringData` is for writing only; applied as it is, a key removed later would stay in `data`.
fn encode_strings(secret: &mut Map<String, Value>) {
    let Some(Value::Object(strings)) = secret.shift_remove("stringData") else {
        return;
    };
    let data = secret.entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    if let Value::Object(data) = data {
        for (key, value) in strings {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            data.insert(key, Value::from(STANDARD.encode(text)));
        }
    }
}
