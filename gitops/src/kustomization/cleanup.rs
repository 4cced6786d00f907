//! Deleting a Kustomization: its objects go as `deletionPolicy` says, then its finalizer.
//!
//! A broken spec does not keep it: what cannot be read is taken as the default.

use std::time::Duration;

use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::parse_duration;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};

use super::status::{self, Reason};
use super::{Error, prune};
use crate::context::Context;
use crate::finalizer;

/// When to look again at objects that did not go.
const RETRY: Duration = Duration::from_secs(10);

/// How long to wait for objects to be gone, unless the spec says otherwise.
const WAIT: Duration = Duration::from_secs(120);

/// Deletes what has to go, and then lets the object go.
pub async fn cleanup(
    guard: &DeserializeGuard<Kustomization>,
    context: &Context,
) -> Result<Action, Error> {
    if !finalizer::is_set(guard) {
        return Ok(Action::await_change());
    }
    if let Ok(object) = &guard.0
        && let Some(wait) = deletes(object)
    {
        delete_objects(object, wait, context).await?;
    }
    finalizer::remove(&context.client, guard)
        .await
        .map_err(Error::Finalize)?;
    Ok(Action::await_change())
}

/// Whether objects are deleted along with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    No,
    For(Duration),
}

fn deletes(object: &Kustomization) -> Option<Wait> {
    if object.spec.suspend == Some(true) {
        return None;
    }
    match object.spec.deletion_policy.as_deref() {
        Some("Orphan") => None,
        Some("Delete") => Some(Wait::No),
        Some("WaitForTermination") => {
            let limit = object
                .spec
                .timeout
                .as_deref()
                .and_then(|text| parse_duration(text).ok());
            Some(Wait::For(limit.unwrap_or(WAIT)))
        }
        // `MirrorPrune`, and what no schema lets in.
        _ => object.spec.prune.then_some(Wait::No),
    }
}

async fn delete_objects(
    object: &Kustomization,
    wait: Wait,
    context: &Context,
) -> Result<(), Error> {
    let ids = object
        .status
        .as_ref()
        .map(status::inventory_of)
        .unwrap_or_default();
    if ids.is_empty() {
        return Ok(());
    }
    let namespace = object.namespace().unwrap_or_default();
    let Some(client) = client(object, &namespace, context).await? else {
        let note = "the service account is gone: its objects are left behind";
        context
            .recorder
            .publish(object, Reason::PruneFailed, note)
            .await;
        return Ok(());
    };
    let pruner = prune::Pruner {
        access: context.access(&client),
        namespace: &namespace,
        name: &object.name_any(),
        wait: match wait {
            Wait::No => None,
            Wait::For(limit) => Some(limit),
        },
    };
    let pruned = pruner.prune(ids).await;
    if pruned.errors.is_empty() {
        return Ok(());
    }
    let error = Error::Prune {
        errors: pruned.errors,
        retry: RETRY,
    };
    let note = fairlead_runtime::report(&error).to_string();
    context
        .recorder
        .publish(object, Reason::PruneFailed, note)
        .await;
    Err(error)
}

/// The client whose rights count; none if its service account is gone.
async fn client(
    object: &Kustomization,
    namespace: &str,
    context: &Context,
) -> Result<Option<Client>, Error> {
    use k8s_openapi::api::core::v1::ServiceAccount;
    use kube::Api;
    let account = object.spec.service_account_name.as_ref();
    let Some(account) = account.or(context.settings.default_service_account.as_ref()) else {
        return Ok(Some(context.client.clone()));
    };
    let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
    match api.get_metadata_opt(account).await {
        Ok(None) => Ok(None),
        Ok(Some(_)) => context
            .cluster
            .act_as(namespace, account)
            .map(Some)
            .map_err(Error::Act),
        Err(error) => Err(Error::Finalize(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_crds::kustomization::KustomizationSpec;

    use super::*;

    fn check(policy: Option<&str>, prune: bool, suspend: bool, expected: Option<Wait>) {
        let spec = KustomizationSpec {
            deletion_policy: policy.map(str::to_owned),
            prune,
            suspend: Some(suspend),
            ..KustomizationSpec::default()
        };
        assert_eq!(
            deletes(&Kustomization::new("a", spec)),
            expected,
            "{policy:?}"
        );
    }

    #[test]
    fn objects_go_as_the_policy_says() {
        check(None, true, false, Some(Wait::No));
        check(None, false, false, None);
        check(Some("MirrorPrune"), false, false, None);
        check(Some("Delete"), false, false, Some(Wait::No));
        check(Some("Orphan"), true, false, None);
        check(
            Some("WaitForTermination"),
            true,
            false,
            Some(Wait::For(WAIT)),
        );
        check(Some("Delete"), true, true, None);
    }
}
