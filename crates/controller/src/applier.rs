//! Writes objects by server-side apply under one field manager, and removes those no longer wanted.

use std::collections::BTreeSet;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, ObjectMeta};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ApiError;
use crate::requeue::Class;

/// Why objects could not be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused or did not answer.
    #[error("failed to apply {object}")]
    Apply {
        /// Kind, namespace and name.
        object: String,
        /// The server's answer.
        #[source]
        source: ApiError,
    },
    /// The status was refused.
    #[error("failed to write the status of {object}")]
    Status {
        /// Kind, namespace and name.
        object: String,
        /// The server's answer.
        #[source]
        source: ApiError,
    },
    /// The server refused or did not answer.
    #[error("failed to delete {object}")]
    Delete {
        /// Kind, namespace and name.
        object: String,
        /// The server's answer.
        #[source]
        source: ApiError,
    },
    /// Objects to remove could not be found out.
    #[error("failed to list {kind} with labels `{labels}`")]
    List {
        /// The kind.
        kind: String,
        /// The selector.
        labels: String,
        /// The server's answer.
        #[source]
        source: ApiError,
    },
    /// An object is not representable, which is a bug.
    #[error("failed to convert {object}")]
    Convert {
        /// Kind, namespace and name.
        object: String,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// What helps.
    pub fn class(&self) -> Class {
        match self {
            Self::Apply { source, .. }
            | Self::Status { source, .. }
            | Self::Delete { source, .. }
            | Self::List { source, .. } => source.class(),
            Self::Convert { .. } => Class::Invalid,
        }
    }

    /// A word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Apply { source, .. }
            | Self::Status { source, .. }
            | Self::Delete { source, .. }
            | Self::List { source, .. } => source.category(),
            Self::Convert { .. } => "convert",
        }
    }
}

/// An object of any kind, ready to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    object: DynamicObject,
    resource: ApiResource,
}

impl Prepared {
    /// Takes a typed object; its metadata says name and namespace.
    pub fn new<K>(object: &K) -> Result<Self, Error>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let resource = ApiResource::erase::<K>(&());
        let convert = |source| Error::Convert {
            object: describe(&resource, object.meta()),
            source,
        };
        let mut value = serde_json::to_value(object).map_err(convert)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_owned(), resource.api_version.clone().into());
            fields.insert("kind".to_owned(), resource.kind.clone().into());
            // An empty status would claim fields that others own.
            fields.remove("status");
        }
        let dynamic = serde_json::from_value(value).map_err(convert)?;
        Ok(Self {
            object: dynamic,
            resource,
        })
    }

    /// The object.
    pub fn object(&self) -> &DynamicObject {
        &self.object
    }

    /// Metadata, for labels and owners that all objects of a set share.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.object.metadata
    }

    /// Kind, namespace and name, for people.
    pub fn describe(&self) -> String {
        describe(&self.resource, &self.object.metadata)
    }
}

/// An object as the server holds it after it was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    object: DynamicObject,
    resource: ApiResource,
}

impl Applied {
    /// The object as the server holds it.
    pub fn object(&self) -> &DynamicObject {
        &self.object
    }

    /// The object in its own type.
    pub fn parse<K: DeserializeOwned>(&self) -> Result<K, Error> {
        let convert = |source| Error::Convert {
            object: describe(&self.resource, &self.object.metadata),
            source,
        };
        serde_json::from_value(serde_json::to_value(&self.object).map_err(convert)?)
            .map_err(convert)
    }
}

/// Applies and removes objects under one field manager.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    field_manager: &'static str,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier")
            .field("field_manager", &self.field_manager)
            .finish_non_exhaustive()
    }
}

impl Applier {
    /// Writes will carry `field_manager`, one for each controller.
    pub fn new(client: Client, field_manager: &'static str) -> Self {
        Self {
            client,
            field_manager,
        }
    }

    /// Makes the server's object have these fields, taking over those that others set.
    pub async fn apply(&self, prepared: &Prepared) -> Result<Applied, Error> {
        let Prepared { object, resource } = prepared;
        let api = self.api(resource, object.metadata.namespace.as_deref());
        let params = PatchParams::apply(self.field_manager).force();
        let object = api
            .patch(&object.name_any(), &params, &Patch::Apply(object))
            .await
            .map_err(|source| Error::Apply {
                object: prepared.describe(),
                source: source.into(),
            })?;
        Ok(Applied {
            object,
            resource: resource.clone(),
        })
    }

    /// Applies the status of an object; fields of it that this manager wrote before and that are
    /// missing now are removed.
    pub async fn apply_status<K>(&self, object: &K, status: impl Serialize) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let meta = object.meta();
        let what = || describe(&resource, meta);
        let status = serde_json::to_value(status).map_err(|source| Error::Convert {
            object: what(),
            source,
        })?;
        let patch = serde_json::json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": meta.name, "uid": meta.uid },
            "status": status,
        });
        self.api(&resource, meta.namespace.as_deref())
            .patch_status(
                meta.name.as_deref().unwrap_or_default(),
                &PatchParams::apply(self.field_manager).force(),
                &Patch::Apply(&patch),
            )
            .await
            .map_err(|source| Error::Status {
                object: what(),
                source: source.into(),
            })?;
        Ok(())
    }

    /// Deletes the objects of one kind that carry `labels` and are not among `keep`.
    ///
    /// Returns what was deleted, for people.
    pub async fn prune(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        labels: &str,
        keep: &BTreeSet<ObjectKey>,
    ) -> Result<Vec<String>, Error> {
        let found = self
            .api(resource, namespace)
            .list_metadata(&ListParams::default().labels(labels))
            .await
            .map_err(|source| Error::List {
                kind: resource.kind.clone(),
                labels: labels.to_owned(),
                source: source.into(),
            })?;
        let mut deleted = Vec::new();
        for object in found {
            let key = ObjectKey::new(resource, &object.metadata);
            if keep.contains(&key) || object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            self.delete_exactly(resource, &object.metadata).await?;
            deleted.push(describe(resource, &object.metadata));
        }
        Ok(deleted)
    }

    async fn delete_exactly(&self, resource: &ApiResource, meta: &ObjectMeta) -> Result<(), Error> {
        let mut params = DeleteParams::background();
        if let Some(uid) = &meta.uid {
            params = params.preconditions(Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            });
        }
        let api = self.api(resource, meta.namespace.as_deref());
        match api
            .delete(meta.name.as_deref().unwrap_or_default(), &params)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(Error::Delete {
                object: describe(resource, meta),
                source: source.into(),
            }),
        }
    }

    fn api(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }
}

/// What tells one object of a cluster from all others.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectKey {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

impl ObjectKey {
    /// The key of an object of this kind.
    pub fn new(resource: &ApiResource, meta: &ObjectMeta) -> Self {
        Self {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl From<&Applied> for ObjectKey {
    fn from(applied: &Applied) -> Self {
        Self::new(&applied.resource, &applied.object.metadata)
    }
}

impl From<&Prepared> for ObjectKey {
    fn from(prepared: &Prepared) -> Self {
        Self::new(&prepared.resource, &prepared.object.metadata)
    }
}

fn describe(resource: &ApiResource, meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    match &meta.namespace {
        Some(namespace) => format!("{} `{namespace}/{name}`", resource.kind),
        None => format!("{} `{name}`", resource.kind),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};

    use super::*;

    #[test]
    fn a_prepared_object_names_its_kind_and_claims_no_status() {
        let deployment = Deployment {
            metadata: ObjectMeta {
                name: Some("web".to_owned()),
                namespace: Some("shop".to_owned()),
                ..ObjectMeta::default()
            },
            status: Some(DeploymentStatus::default()),
            ..Deployment::default()
        };
        let prepared = Prepared::new(&deployment).unwrap();
        let value = serde_json::to_value(prepared.object()).unwrap();
        assert_eq!(value["apiVersion"], "apps/v1");
        assert_eq!(value["kind"], "Deployment");
        assert_eq!(value.get("status"), None);
        assert_eq!(prepared.describe(), "Deployment `shop/web`");
    }
}
