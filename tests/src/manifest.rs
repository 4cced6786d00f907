//! Applying YAML as a user would: several documents, any kind that the API server knows.

use std::collections::BTreeMap;

use anyhow::Context as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;

/// The field manager of what the harness applies.
pub const FIELD_MANAGER: &str = "fairlead-tests";

/// Replaces each `${key}` by its value.
///
/// # Errors
/// A key without a value, named.
pub fn fill(template: &str, values: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (key, after) = after.split_once('}').context("a `${` without its `}`")?;
        text.push_str(before);
        text.push_str(
            values
                .get(key)
                .with_context(|| format!("no value for `${{{key}}}`"))?,
        );
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// Splits YAML into its documents; empty ones are left out.
pub fn parse(yaml: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let value = serde_json::Value::deserialize(document).context("not YAML")?;
        if !value.is_null() {
            objects.push(serde_json::from_value(value).context("not a Kubernetes object")?);
        }
    }
    Ok(objects)
}

/// Applies every object of `yaml`, in order, with server-side apply.
pub async fn apply(client: &Client, yaml: &str) -> anyhow::Result<()> {
    for object in parse(yaml)? {
        apply_object(client, &object).await?;
    }
    Ok(())
}

async fn apply_object(client: &Client, object: &DynamicObject) -> anyhow::Result<()> {
    let api = api_of(client, object).await?;
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&object.name_any(), &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("failed to apply `{}`", object.name_any()))?;
    Ok(())
}

/// Deletes every object of `yaml`; those that are gone already are fine.
pub async fn delete(client: &Client, yaml: &str) -> anyhow::Result<()> {
    for object in parse(yaml)?.iter().rev() {
        let api = api_of(client, object).await?;
        match api.delete(&object.name_any(), &Default::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("failed to delete `{}`", object.name_any()));
            }
        }
    }
    Ok(())
}

/// Where objects like this one live.
///
/// # Errors
/// A kind that the API server does not know.
pub async fn api_of(client: &Client, object: &DynamicObject) -> anyhow::Result<Api<DynamicObject>> {
    let types = object
        .types
        .as_ref()
        .context("an object without apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = kube::discovery::pinned_kind(client, &kind)
        .await
        .with_context(|| format!("the API server does not know {}", types.kind))?;
    Ok(match (capabilities.scope, object.namespace()) {
        (kube::discovery::Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (kube::discovery::Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
        (kube::discovery::Scope::Namespaced, None) => {
            Api::default_namespaced_with(client.clone(), &resource)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_every_key() {
        let values = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(fill("x ${a} y ${a}", &values).unwrap(), "x 1 y 1");
    }

    #[test]
    fn a_key_without_a_value_is_named() {
        let error = fill("${who}", &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("`${who}`"), "{error}");
    }

    #[test]
    fn empty_documents_are_left_out() {
        let yaml = "---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
        assert_eq!(parse(yaml).unwrap().len(), 1);
    }
}
