//! The primary's own copies of configs, and what they held before its last promotion.
//!
//! The old content is kept beside them, so that a primary that does not come up with a new
//! revision gets back what its old pods were started with.

use std::collections::BTreeMap;
use std::fmt::Debug;

use fairlead_crds::annotation;
use fairlead_rollout::Revision;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Configs, Error, Kind, references};
use crate::canary::FIELD_MANAGER;

/// The copies of one primary.
#[derive(Clone, Copy)]
pub struct Copies<'a> {
    /// The cluster.
    pub client: &'a Client,
    /// The namespace.
    pub namespace: &'a str,
    /// The primary workload.
    pub primary: &'a str,
    /// Who owns what is made.
    pub owner: &'a OwnerReference,
}

impl Debug for Copies<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copies")
            .field("primary", &self.primary)
            .finish_non_exhaustive()
    }
}

impl Copies<'_> {
    /// Makes the copies hold what `configs` do.
    pub async fn write(&self, configs: &Configs) -> Result<(), Error> {
        for map in &configs.maps {
            self.copy(map, copy_name(map)).await?;
        }
        for secret in &configs.secrets {
            self.copy(secret, copy_name(secret)).await?;
        }
        Ok(())
    }

    /// Keeps what the copies of `configs` hold under `revision`, before they are written again.
    ///
    /// # Guarantees
    /// Once kept it is not overwritten for the same revision: the copies may already be half new.
    pub async fn keep(&self, configs: &Configs, revision: &Revision) -> Result<(), Error> {
        for map in &configs.maps {
            self.keep_one::<ConfigMap>(&copy_name(map), revision)
                .await?;
        }
        for secret in &configs.secrets {
            self.keep_one::<Secret>(&copy_name(secret), revision)
                .await?;
        }
        Ok(())
    }

    /// Gives the copies that `pod` refers to the content that they had under `revision`.
    pub async fn put_back(&self, pod: &PodSpec, revision: &Revision) -> Result<(), Error> {
        for copy in references(pod).into_keys() {
            match copy.kind {
                Kind::ConfigMap => {
                    self.put_back_one::<ConfigMap>(copy.name, revision).await?;
                }
                Kind::Secret => self.put_back_one::<Secret>(copy.name, revision).await?,
            }
        }
        Ok(())
    }

    async fn keep_one<K: Config>(&self, copy: &str, revision: &Revision) -> Result<(), Error> {
        let name = self.previous(copy);
        let kept = self.find::<K>(&name).await?;
        if kept.is_some_and(|kept| is_of(&kept, revision)) {
            return Ok(());
        }
        let Some(live) = self.find::<K>(copy).await? else {
            return Ok(());
        };
        let revision = (annotation::REVISION.to_owned(), revision.0.clone());
        let metadata = ObjectMeta {
            annotations: Some(BTreeMap::from([revision])),
            ..self.metadata(&live, name)
        };
        self.apply(&live.with(metadata)).await
    }

    async fn put_back_one<K: Config>(
        &self,
        copy: String,
        revision: &Revision,
    ) -> Result<(), Error> {
        let kept = self.find::<K>(&self.previous(&copy)).await?;
        match kept.filter(|kept| is_of(kept, revision)) {
            Some(kept) => self.copy(&kept, copy).await,
            // No promotion wrote over it: it still holds what it held.
            None => Ok(()),
        }
    }

    /// Named after the primary: several Canaries may use the same config.
    fn previous(&self, copy: &str) -> String {
        format!("{copy}-before-{}", self.primary)
    }

    async fn copy<K: Config>(&self, original: &K, name: String) -> Result<(), Error> {
        self.apply(&original.with(self.metadata(original, name)))
            .await
    }

    fn metadata(&self, original: &impl ResourceExt, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: original.meta().labels.clone(),
            // Several Canaries may share a copy, so none of them is its controller.
            owner_references: Some(vec![OwnerReference {
                controller: None,
                ..self.owner.clone()
            }]),
            ..ObjectMeta::default()
        }
    }

    async fn find<K: Config>(&self, name: &str) -> Result<Option<K>, Error> {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let found = api.get_opt(name).await;
        found.map_err(|source| Error::Read {
            object: self.describe::<K>(name),
            source: source.into(),
        })
    }

    async fn apply<K: Config>(&self, copy: &K) -> Result<(), Error> {
        let name = copy.name_any();
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&name, &params, &Patch::Apply(copy)).await;
        applied.map(drop).map_err(|source| Error::Write {
            object: self.describe::<K>(&name),
            source: source.into(),
        })
    }

    fn describe<K: Config>(&self, name: &str) -> String {
        format!("{} `{}/{name}`", K::kind(&()), self.namespace)
    }
}

/// A ConfigMap or a Secret.
trait Config:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
{
    /// The same content under other metadata; never immutable, since a copy is written again.
    fn with(&self, metadata: ObjectMeta) -> Self;
}

impl Config for ConfigMap {
    fn with(&self, metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            data: self.data.clone(),
            binary_data: self.binary_data.clone(),
            immutable: None,
        }
    }
}

impl Config for Secret {
    fn with(&self, metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            data: self.data.clone(),
            type_: self.type_.clone(),
            ..Self::default()
        }
    }
}

fn copy_name(original: &impl ResourceExt) -> String {
    format!("{}-primary", original.name_any())
}

fn is_of(kept: &impl ResourceExt, revision: &Revision) -> bool {
    kept.annotations().get(annotation::REVISION) == Some(&revision.0)
}
