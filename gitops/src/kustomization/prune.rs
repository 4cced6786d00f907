//! Deleting what left the build. Client required.

use std::time::Duration;

use fairlead_controller::ApiError;
use fairlead_kustomize::{Id, order};
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions, PropagationPolicy};
use kube::runtime::wait::{await_condition, conditions};

use super::plan::value_of;
use super::policy;
use crate::cluster::{self, Access};

/// Why an object was not deleted.
#[derive(Debug, thiserror::Error)]
#[error("failed to prune {object}")]
pub struct Error {
    object: Box<Id>,
    source: Cause,
}

/// What stood in the way.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Its kind cannot be found out.
    #[error(transparent)]
    Kind(cluster::Error),
    /// The server said no.
    #[error(transparent)]
    Api(ApiError),
    /// It is still there.
    #[error("it is still there after {0:?}")]
    NotGone(Duration),
}

/// What became of the objects that should go.
#[derive(Debug, Default)]
pub struct Pruned {
    /// They are deleted.
    pub deleted: Vec<Id>,
    /// They could not be deleted, and must not be forgotten.
    pub left: Vec<Id>,
    /// Why.
    pub errors: Vec<Error>,
}

/// Deletes objects of one Kustomization.
#[derive(Debug)]
pub struct Pruner<'a> {
    /// The cluster, with the rights that count.
    pub access: Access<'a>,
    /// Namespace of the Kustomization.
    pub namespace: &'a str,
    /// Name of the Kustomization.
    pub name: &'a str,
    /// How long to wait for objects to be gone, if at all.
    pub wait: Option<Duration>,
}

impl Pruner<'_> {
    /// Deletes objects, the last applied first; an object that is not ours any more is left alone.
    pub async fn prune(&self, mut ids: Vec<Id>) -> Pruned {
        order::sort_for_deletion(&mut ids);
        let mut pruned = Pruned::default();
        let mut awaited = Vec::new();
        for id in ids {
            match self.delete(&id).await {
                Ok(Some((api, uid))) => {
                    awaited.push((id.clone(), api, uid));
                    pruned.deleted.push(id);
                }
                Ok(None) => {}
                Err(source) => {
                    pruned.errors.push(Error {
                        object: Box::new(id.clone()),
                        source,
                    });
                    pruned.left.push(id);
                }
            }
        }
        if let Some(limit) = self.wait {
            for (id, api, uid) in awaited {
                let gone = await_condition(api, &id.name, conditions::is_deleted(&uid));
                if !matches!(tokio::time::timeout(limit, gone).await, Ok(Ok(_))) {
                    pruned.errors.push(Error {
                        object: Box::new(id.clone()),
                        source: Cause::NotGone(limit),
                    });
                    pruned.left.push(id);
                }
            }
        }
        pruned
    }

    /// None if there is nothing to delete.
    async fn delete(&self, id: &Id) -> Result<Option<(Api<DynamicObject>, String)>, Cause> {
        let kind = match self.access.kind(id).await {
            Ok(kind) => kind,
            // With its definition all objects of a kind are gone.
            Err(cluster::Error::UnknownKind { .. }) => return Ok(None),
            Err(error) => return Err(Cause::Kind(error)),
        };
        let api = kind.api(self.access.client, &id.namespace);
        let Some(live) = api
            .get_opt(&id.name)
            .await
            .map_err(|error| Cause::Api(error.into()))?
        else {
            return Ok(None);
        };
        if !policy::is_prunable(&value_of(&live), self.namespace, self.name) {
            return Ok(None);
        }
        let uid = live.metadata.uid.unwrap_or_default();
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&id.name, &params).await.map_err(ApiError::from) {
            Ok(_) => Ok(Some((api, uid))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Cause::Api(error)),
        }
    }
}
