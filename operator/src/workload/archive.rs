//! What a primary ran before, kept in objects of our own: a ControllerRevision for each revision,
//! with the template, and copies of the configs that it was started with.
//!
//! The history that a workload's own controller keeps may be set to nothing, and knows no configs.

use fairlead_crds::{annotation, label};
use fairlead_rollout::Revision;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::configs::{Copies, Reference, references};
use super::{Content, Error, Kind};
use crate::canary::FIELD_MANAGER;

/// The kept revisions of one primary.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its configs; the owner of both is the Canary.
    pub copies: Copies<'a>,
}

/// One revision, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What the primary ran, with its own configs.
    #[serde(flatten)]
    pub content: Content,
    /// The configs that it had, by key: what was missing then is not put back.
    configs: Vec<String>,
}

impl Archive<'_> {
    /// Keeps what the primary runs, if that is one of `keeping`, and forgets all but these.
    ///
    /// # Guarantees
    /// What is kept once is not kept again: its configs may already be half new.
    pub async fn keep(&self, keeping: &[Revision]) -> Result<(), Error> {
        if let Some(primary) = self.primary().await?
            && let Some(revision) = primary.annotations().get(annotation::REVISION)
            && let Some(revision) = keeping.iter().find(|one| one.0 == *revision)
        {
            self.keep_one(&primary, revision).await?;
        }
        self.forget_others(keeping).await
    }

    /// What is kept of a revision.
    pub async fn find(&self, revision: &Revision) -> Result<Option<Record>, Error> {
        let found = self.read(revision).await?;
        found.map(|kept| self.record(&kept)).transpose()
    }

    /// Gives the primary's configs the content that they had.
    pub async fn put_back(&self, revision: &Revision, record: &Record) -> Result<(), Error> {
        let name = self.name(revision);
        let configs = record.references();
        Ok(self.copies.put_back(&configs, &name).await?)
    }

    /// Keeps what the primary is about to run: of a target whose history the cluster does not keep.
    pub async fn hold(&self, revision: &Revision, content: &Content) -> Result<(), Error> {
        if self.read(revision).await?.is_none() {
            self.write(content.clone(), revision).await?;
        }
        Ok(())
    }

    async fn keep_one(&self, primary: &DynamicObject, revision: &Revision) -> Result<(), Error> {
        let kept = if let Some(kept) = self.read(revision).await? {
            kept
        } else {
            let content = self.kind.content(&primary.data["spec"]);
            let content = content.map_err(|source| Error::Convert {
                object: self.describe(&self.name(revision)),
                source,
            })?;
            self.write(content, revision).await?
        };
        let owner = OwnerReference {
            api_version: ControllerRevision::api_version(&()).into_owned(),
            kind: ControllerRevision::kind(&()).into_owned(),
            name: kept.name_any(),
            uid: kept.uid().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let configs = self.record(&kept)?.references();
        Ok(self.copies.keep(&configs, &owner).await?)
    }

    async fn write(
        &self,
        content: Content,
        revision: &Revision,
    ) -> Result<ControllerRevision, Error> {
        let name = self.name(revision);
        let pod = content.pod().cloned().unwrap_or_default();
        let found = self.copies.find(references(&pod).into_keys()).await?;
        let record = Record {
            content,
            configs: found.iter().map(Reference::key).collect(),
        };
        let data = serde_json::to_value(record).map_err(|source| Error::Convert {
            object: self.describe(&name),
            source,
        })?;
        let marks = [(annotation::REVISION.to_owned(), revision.0.clone())];
        let labels = [(
            label::MANAGED_BY.to_owned(),
            label::MANAGED_BY_FAIRLEAD.to_owned(),
        )];
        let kept = ControllerRevision {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(self.copies.namespace.to_owned()),
                annotations: Some(marks.into()),
                labels: Some(labels.into()),
                owner_references: Some(vec![self.copies.owner.clone()]),
                ..ObjectMeta::default()
            },
            data: Some(RawExtension(data)),
            revision: 0,
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = self.api().patch(&name, &params, &Patch::Apply(kept)).await;
        written.map_err(|source| Error::Write {
            object: self.describe(&name),
            source: source.into(),
        })
    }

    /// The copies of configs go with what they are kept for.
    async fn forget_others(&self, keeping: &[Revision]) -> Result<(), Error> {
        let selector = format!("{}={}", label::MANAGED_BY, label::MANAGED_BY_FAIRLEAD);
        let params = ListParams::default().labels(&selector);
        let list = self.api().list(&params).await;
        let list = list.map_err(|source| Error::Read {
            object: format!("the ControllerRevisions of {}", self.copies.primary),
            source: source.into(),
        })?;
        let stays: Vec<String> = keeping.iter().map(|one| self.name(one)).collect();
        let owner = &self.copies.owner.uid;
        for kept in list.items {
            let name = kept.name_any();
            let is_ours = kept.owner_references().iter().any(|one| one.uid == *owner);
            if !is_ours || stays.contains(&name) {
                continue;
            }
            match self.api().delete(&name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(source) => {
                    return Err(Error::Write {
                        object: self.describe(&name),
                        source: source.into(),
                    });
                }
            }
        }
        Ok(())
    }

    async fn primary(&self) -> Result<Option<DynamicObject>, Error> {
        let Copies {
            client,
            namespace,
            primary,
            ..
        } = self.copies;
        let resource = self.kind.resource();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let found = api.get_opt(primary).await;
        found.map_err(|source| Error::Read {
            object: format!("{} `{namespace}/{primary}`", resource.kind),
            source: source.into(),
        })
    }

    async fn read(&self, revision: &Revision) -> Result<Option<ControllerRevision>, Error> {
        let name = self.name(revision);
        let found = self.api().get_opt(&name).await;
        found.map_err(|source| Error::Read {
            object: self.describe(&name),
            source: source.into(),
        })
    }

    fn record(&self, kept: &ControllerRevision) -> Result<Record, Error> {
        let data = kept.data.clone().unwrap_or_default().0;
        serde_json::from_value(data).map_err(|source| Error::Convert {
            object: self.describe(&kept.name_any()),
            source,
        })
    }

    fn api(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.copies.client.clone(), self.copies.namespace)
    }

    fn name(&self, revision: &Revision) -> String {
        // No controller of workloads names its own like this.
        format!("{}.{revision}", self.copies.primary)
    }

    fn describe(&self, name: &str) -> String {
        format!("ControllerRevision `{}/{name}`", self.copies.namespace)
    }
}

impl Record {
    fn references(&self) -> Vec<Reference> {
        let keys = self.configs.iter();
        keys.filter_map(|key| Reference::of_key(key)).collect()
    }
}
