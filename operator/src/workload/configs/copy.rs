//! The primary's own copies of configs, and what they held under earlier revisions.
//!
//! The old content is kept beside them, so that a primary that gets back an earlier revision gets
//! back what its pods were started with then.

use std::fmt::Debug;

use fairlead_crds::canary::Canary;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reference::COPY;
use super::{Configs, Error, Kind, Reference};
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

    /// Those of the configs that are copies of ours.
    pub async fn find(
        &self,
        configs: impl Iterator<Item = Reference>,
    ) -> Result<Vec<Reference>, Error> {
        let mut found = Vec::new();
        for config in configs {
            let owners = match config.kind {
                Kind::ConfigMap => self.owners::<ConfigMap>(&config.name).await?,
                Kind::Secret => self.owners::<Secret>(&config.name).await?,
            };
            let kind = Canary::kind(&());
            // Several Canaries may share a copy; it names the one that wrote it last.
            if owners.iter().any(|owner| owner.kind == kind) {
                found.push(config);
            }
        }
        Ok(found)
    }

    /// Keeps what the copies hold, for `owner` and no longer than that.
    ///
    /// # Guarantees
    /// What is kept is not overwritten: the copies may already be half new.
    pub async fn keep(&self, copies: &[Reference], owner: &OwnerReference) -> Result<(), Error> {
        for Reference { kind, name } in copies {
            match kind {
                Kind::ConfigMap => self.keep_one::<ConfigMap>(name, owner).await?,
                Kind::Secret => self.keep_one::<Secret>(name, owner).await?,
            }
        }
        Ok(())
    }

    /// Gives the copies the content that is kept of them for `owner`.
    pub async fn put_back(&self, copies: &[Reference], owner: &str) -> Result<(), Error> {
        for Reference { kind, name } in copies {
            match kind {
                Kind::ConfigMap => self.put_back_one::<ConfigMap>(name, owner).await?,
                Kind::Secret => self.put_back_one::<Secret>(name, owner).await?,
            }
        }
        Ok(())
    }

    async fn owners<K: Config>(&self, name: &str) -> Result<Vec<OwnerReference>, Error> {
        let found = self.read::<K>(name).await?;
        Ok(found.map_or_else(Vec::new, |found| found.owner_references().to_vec()))
    }

    async fn keep_one<K: Config>(&self, copy: &str, owner: &OwnerReference) -> Result<(), Error> {
        let name = kept_name(&owner.name, copy);
        if self.read::<K>(&name).await?.is_some() {
            return Ok(());
        }
        let Some(live) = self.read::<K>(copy).await? else {
            return Ok(());
        };
        let metadata = ObjectMeta {
            owner_references: Some(vec![owner.clone()]),
            ..self.metadata(&live, name)
        };
        self.apply(&live.with(metadata)).await
    }

    async fn put_back_one<K: Config>(&self, copy: &str, owner: &str) -> Result<(), Error> {
        let name = kept_name(owner, copy);
        let kept = self.read::<K>(&name).await?;
        let kept = kept.ok_or_else(|| Error::Lost(self.describe::<K>(&name)))?;
        self.copy(&kept, copy.to_owned()).await
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

    async fn read<K: Config>(&self, name: &str) -> Result<Option<K>, Error> {
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
    format!("{}{COPY}", original.name_any())
}

fn kept_name(owner: &str, copy: &str) -> String {
    format!("{owner}.{copy}")
}
