//! Snapshots of manifests, for tools that look at files instead of a cluster.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::snapshot::{ObjectKey, Objects, Snapshot};

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no kind.
    #[error("the manifest has no `kind`")]
    NoKind,
    /// It has no name.
    #[error("the {0} has no `metadata.name`")]
    NoName(String),
    /// It does not have the form of its kind.
    #[error("failed to read the {kind} `{key}`")]
    Form {
        /// The kind.
        kind: String,
        /// The object.
        key: ObjectKey,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Snapshot {
    /// Adds the object of a manifest; one of no namespace is in `default`. A kind that translation
    /// does not look at is passed over, and `false` is returned.
    ///
    /// # Errors
    /// When the manifest has no kind or name, or not the form of its kind.
    pub fn add_manifest(&mut self, manifest: Value) -> Result<bool, Error> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let kind = text(manifest.get("kind")).ok_or(Error::NoKind)?;
        let metadata = manifest.get("metadata");
        let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
        let name = text(metadata.and_then(|metadata| metadata.get("name")))
            .ok_or_else(|| Error::NoName(kind.clone()))?;
        let key = ObjectKey::new(namespace.unwrap_or_else(|| "default".to_owned()), name);
        match kind.as_str() {
            "Service" => insert(&mut self.services, key, &kind, manifest)?,
            "EndpointSlice" => insert(&mut self.endpoint_slices, key, &kind, manifest)?,
            "Pod" => insert(&mut self.pods, key, &kind, manifest)?,
            "Secret" => insert(&mut self.secrets, key, &kind, manifest)?,
            "VirtualService" => insert(&mut self.virtual_services, key, &kind, manifest)?,
            "DestinationRule" => insert(&mut self.destination_rules, key, &kind, manifest)?,
            "Gateway" => insert(&mut self.gateways, key, &kind, manifest)?,
            "ServiceEntry" => insert(&mut self.service_entries, key, &kind, manifest)?,
            "PeerAuthentication" => insert(&mut self.peer_authentications, key, &kind, manifest)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn insert<K: DeserializeOwned>(
    objects: &mut Objects<K>,
    key: ObjectKey,
    kind: &str,
    manifest: Value,
) -> Result<(), Error> {
    let object = serde_json::from_value(manifest).map_err(|source| Error::Form {
        kind: kind.to_owned(),
        key: key.clone(),
        source,
    })?;
    objects.insert(key, Arc::new(object));
    Ok(())
}
