//! Trying objects out: what would change, and what the server refuses. Client required.
//!
//! Nothing is written here: the API server runs every change as a dry run.

use std::time::Duration;

use fairlead_controller::ApiError;
use fairlead_kustomize::{Id, Origin, Resource};
use futures::{StreamExt as _, stream};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::ownership;
use super::policy::{self, Decision};
use crate::cluster::{self, Access, Kind};
use crate::context::FIELD_MANAGER;

/// Requests that one Kustomization has open at once.
pub(super) const PARALLEL: usize = 8;

/// How long an object that is made anew may take to go.
pub(super) const DELETE_TIMEOUT: Duration = Duration::from_secs(60);

/// An object that was refused, where it stands in the source, and why.
#[derive(Debug, thiserror::Error)]
#[error("{object} in {origin}")]
pub struct Refusal {
    /// The object.
    pub object: Box<Id>,
    /// Where it stands.
    pub origin: Origin,
    /// Why.
    pub source: Cause,
}

/// Why an object was refused.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Its kind or namespace cannot be found out.
    #[error(transparent)]
    Kind(cluster::Error),
    /// The server said no.
    #[error(transparent)]
    Api(ApiError),
    /// The server said no to a Secret: what it says could quote the Secret.
    #[error(
        "the API server refuses it with code {0}; its message is not shown, as it may hold secret values"
    )]
    Secret(u16),
    /// A field cannot be changed.
    #[error("a field cannot be changed; `spec.force` lets the object be deleted and made anew")]
    Immutable(#[source] ApiError),
    /// The old object did not go away.
    #[error("the old object is still there after {DELETE_TIMEOUT:?}")]
    NotGone,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was different.
    Configured,
    /// It was as it should be.
    Unchanged,
    /// A marker says to leave it alone.
    Skipped,
}

/// Tries objects with one client.
#[derive(Clone, Copy, Debug)]
pub struct Planner<'a> {
    /// The cluster, with the rights that count.
    pub access: Access<'a>,
    /// Whether objects are made anew where a field cannot be changed.
    pub force: bool,
}

/// An object on its way, with what the server holds of it.
#[derive(Debug)]
pub struct Planned<'resource> {
    /// The object as git has it.
    pub resource: &'resource Resource,
    /// The object, in the namespace that it has in the cluster.
    pub id: Id,
    /// How the cluster serves its kind.
    pub kind: Kind,
    /// The object as the cluster has it.
    pub live: Option<DynamicObject>,
    /// What happens to it.
    pub change: Change,
    /// Whether it may be made anew where a field cannot be changed.
    pub may_recreate: bool,
}

impl Planner<'_> {
    /// Tries a stage without writing anything.
    pub async fn plan<'r>(
        &self,
        resources: &'r [Resource],
    ) -> Result<Vec<Planned<'r>>, Vec<Refusal>> {
        let plans: Vec<_> = resources
            .iter()
            .map(|resource| self.plan_one(resource))
            .collect();
        collect(stream::iter(plans).buffered(PARALLEL).collect().await)
    }

    /// Reads the live object and tries the change without making it.
    async fn plan_one<'r>(&self, resource: &'r Resource) -> Result<Planned<'r>, Refusal> {
        let mut id = resource.id();
        let refuse = |cause| refusal(resource, cause);
        let kind = self
            .access
            .kind(&id)
            .await
            .map_err(|error| refuse(Cause::Kind(error)))?;
        if !kind.is_namespaced {
            id.namespace.clear();
        } else if id.namespace.is_empty() {
            let object = format!("{} `{}`", id.kind, id.name);
            return Err(refuse(Cause::Kind(cluster::Error::NoNamespace { object })));
        }
        let api = kind.api(self.access.client, &id.namespace);
        let live = match api.get_opt(&id.name).await {
            Ok(live) => live,
            Err(error) => return Err(refuse(cause(&id, error.into()))),
        };
        let live_value = live.as_ref().map(value_of);
        let change = match policy::decide(resource.value(), live_value.as_ref()) {
            Decision::Skip => Change::Skipped,
            Decision::Apply => match self.dry_run(&api, resource, &id, live_value.as_ref()).await {
                Ok(change) => change,
                Err(cause) => return Err(refuse(cause)),
            },
        };
        Ok(Planned {
            resource,
            id,
            kind,
            live,
            change,
            may_recreate: self.may_recreate(resource),
        })
    }

    fn may_recreate(&self, resource: &Resource) -> bool {
        self.force || policy::is_forced(resource.value())
    }

    async fn dry_run(
        &self,
        api: &Api<DynamicObject>,
        resource: &Resource,
        id: &Id,
        live: Option<&Value>,
    ) -> Result<Change, Cause> {
        let tried = api
            .patch(
                &id.name,
                &params().dry_run(),
                &Patch::Apply(body(resource, id)),
            )
            .await;
        match (tried, live) {
            (Ok(_), None) => Ok(Change::Created),
            (Ok(tried), Some(live))
                if is_same(&value_of(&tried), live) && !is_transferred(resource, live) =>
            {
                Ok(Change::Unchanged)
            }
            (Ok(_), Some(_)) => Ok(Change::Configured),
            (Err(error), live) => {
                let error = ApiError::from(error);
                if live.is_some() && is_immutable(&error) {
                    return if self.may_recreate(resource) {
                        Ok(Change::Configured)
                    } else {
                        Err(Cause::Immutable(error))
                    };
                }
                Err(cause(id, error))
            }
        }
    }
}

pub(super) fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// What is sent: the object, with the namespace that its kind allows.
pub(super) fn body(resource: &Resource, id: &Id) -> Value {
    let mut value = resource.value().clone();
    if id.namespace.is_empty()
        && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.shift_remove("namespace");
    }
    value
}

pub(super) fn refusal(resource: &Resource, source: Cause) -> Refusal {
    Refusal {
        object: Box::new(resource.id()),
        origin: resource.origin().clone(),
        source,
    }
}

pub(super) fn cause(id: &Id, error: ApiError) -> Cause {
    match error.status() {
        Some(status) if id.kind == "Secret" && !matches!(status.code, 401 | 403 | 404 | 409) => {
            Cause::Secret(status.code)
        }
        _ => Cause::Api(error),
    }
}

pub(super) fn is_immutable(error: &ApiError) -> bool {
    error.status().is_some_and(|status| {
        status.code == 422
            && (status.message.contains("immutable")
                || status.message.contains("updates to") && status.message.contains("forbidden"))
    })
}

/// The results in order, or all refusals.
pub(super) fn collect<T>(results: Vec<Result<T, Refusal>>) -> Result<Vec<T>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut values = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if refusals.is_empty() {
        Ok(values)
    } else {
        Err(refusals)
    }
}

/// An object as JSON; what the server keeps for itself stays in.
pub fn value_of(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Whether a dry run would leave the live object as it is.
fn is_same(tried: &Value, live: &Value) -> bool {
    let stripped = |value: &Value| {
        let mut value = value.clone();
        if let Value::Object(map) = &mut value {
            map.shift_remove("status");
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                for field in [
                    "managedFields",
                    "resourceVersion",
                    "generation",
                    "creationTimestamp",
                    "uid",
                ] {
                    metadata.shift_remove(field);
                }
            }
        }
        value
    };
    stripped(tried) == stripped(live)
}

/// Whether fields of other managers are to become ours first.
fn is_transferred(resource: &Resource, live: &Value) -> bool {
    !policy::is_merged(resource.value()) && ownership::needs_transfer(live)
}
