//! The finalizer of our objects: added before the first effect, removed after the clean-up.
//!
//! A merge patch guarded by the resource version: the list of finalizers belongs to several writers.

use fairlead_controller::ApiError;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use serde_json::json;

/// Flux's name for it, so that objects made under Flux can be deleted too.
pub const FINALIZER: &str = "finalizers.fluxcd.io";

/// Whether the object has our finalizer.
pub fn is_set<K: Resource>(object: &K) -> bool {
    object
        .meta()
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == FINALIZER)
}

/// Adds our finalizer.
pub async fn add<K: Resource<DynamicType = ()>>(
    client: &Client,
    object: &K,
) -> Result<(), ApiError> {
    let present = object
        .meta()
        .finalizers
        .iter()
        .flatten()
        .map(String::as_str);
    patch(client, object, present.chain([FINALIZER]).collect()).await
}

/// Removes our finalizer; an object that is gone already is no error.
pub async fn remove<K: Resource<DynamicType = ()>>(
    client: &Client,
    object: &K,
) -> Result<(), ApiError> {
    let present = object
        .meta()
        .finalizers
        .iter()
        .flatten()
        .map(String::as_str);
    match patch(
        client,
        object,
        present
            .filter(|finalizer| *finalizer != FINALIZER)
            .collect(),
    )
    .await
    {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

async fn patch<K: Resource<DynamicType = ()>>(
    client: &Client,
    object: &K,
    finalizers: Vec<&str>,
) -> Result<(), ApiError> {
    let resource = ApiResource::erase::<K>(&());
    let meta = object.meta();
    let api: Api<DynamicObject> = match meta.namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let body = json!({ "metadata": { "resourceVersion": meta.resource_version, "finalizers": finalizers } });
    let name = meta.name.as_deref().unwrap_or_default();
    api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&body))
        .await?;
    Ok(())
}
