//! The finalizer of Canaries that give back on deletion.

use fairlead_crds::canary::Canary;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::look::Look;
use super::{Error, Result};

/// Flagger's name, so that a Canary may change hands.
const FINALIZER: &str = "finalizer.flagger.app";

/// Whether an object waits for us before it goes.
pub(super) fn is_kept(object: &impl ResourceExt) -> bool {
    object
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
}

/// Lets an object go; one that is gone already is no error.
pub(super) async fn let_go<K>(api: &Api<K>, object: &impl ResourceExt) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    if !is_kept(object) {
        return Ok(());
    }
    match write(api, object, false).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(Error::Finalize(source.into())),
    }
}

/// Guarded: a list of finalizers that someone else changed is not overwritten.
async fn write<K>(api: &Api<K>, object: &impl ResourceExt, keep: bool) -> kube::Result<K>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    if keep {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({ "metadata": {
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    } });
    api.patch(
        &object.name_any(),
        &PatchParams::default(),
        &Patch::Merge(patch),
    )
    .await
}

impl Look<'_> {
    /// Sets or removes the finalizer as the spec asks, while the Canary lives.
    pub(super) async fn keep_finalizer(&mut self) -> Result<()> {
        let wanted = self.canary.spec.revert_on_deletion.unwrap_or(false);
        let going = self.canary.metadata.deletion_timestamp.is_some();
        if going || wanted == is_kept(&self.canary) {
            return Ok(());
        }
        let written = write::<Canary>(&self.api, &self.canary, wanted).await;
        self.canary = written.map_err(|source| Error::Finalize(source.into()))?;
        Ok(())
    }
}
