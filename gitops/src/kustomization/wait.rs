//! Waiting until objects are healthy: a watch for each kind and namespace. Client required.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_kustomize::Id;
use futures::stream::{self, StreamExt as _};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::health::{self, Health};
use super::plan::value_of;
use crate::cluster::{self, Access};

/// Why the objects are not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kind to wait for cannot be found out.
    #[error("health cannot be judged")]
    Kind(#[source] cluster::Error),
    /// An object has failed for good.
    #[error("{}", list(.0))]
    Failed(Vec<(Id, String)>),
    /// Objects did not become healthy in time.
    #[error("after {limit:?} these are not healthy: {}", list(.waiting))]
    Timeout {
        /// The time that was given.
        limit: Duration,
        /// The objects, and what each waits for.
        waiting: Vec<(Id, String)>,
    },
}

fn list(objects: &[(Id, String)]) -> String {
    objects
        .iter()
        .map(|(id, message)| format!("{id}: {message}"))
        .collect::<Vec<_>>()
        .join("; ")
}

type State = BTreeMap<Id, Health>;

/// Returns when all objects are healthy, one has failed, or the time is over.
///
/// # Cancel safety
/// Dropping it ends its watches and harms nothing.
pub async fn until_healthy(access: Access<'_>, ids: &[Id], limit: Duration) -> Result<(), Error> {
    let mut groups: BTreeMap<(String, String, String, String), Vec<&Id>> = BTreeMap::new();
    for id in ids {
        let key = (
            id.group.clone(),
            id.version.clone(),
            id.kind.clone(),
            id.namespace.clone(),
        );
        groups.entry(key).or_default().push(id);
    }
    let mut state: State = ids
        .iter()
        .map(|id| (id.clone(), Health::InProgress("it is not there".to_owned())))
        .collect();
    let mut events = stream::SelectAll::new();
    for members in groups.into_values() {
        let Some(first) = members.first().map(|id| (*id).clone()) else {
            continue;
        };
        let kind = access.kind(&first).await.map_err(Error::Kind)?;
        let config = match members.as_slice() {
            [one] => watcher::Config::default().fields(&format!("metadata.name={}", one.name)),
            _ => watcher::Config::default(),
        };
        let watch = watcher(kind.api(access.client, &first.namespace), config).default_backoff();
        events.push(watch.map(move |event| (first.clone(), event)).boxed());
    }
    let watched = async {
        while !is_settled(&state) {
            let Some((like, event)) = events.next().await else {
                break;
            };
            match event {
                Ok(event) => note(&mut state, &like, event),
                Err(error) => {
                    tracing::warn!(%error, kind = like.kind, "a health watch broke; it is restarted");
                }
            }
        }
    };
    let in_time = tokio::time::timeout(limit, watched).await;
    let collect = |keep: fn(&Health) -> Option<&String>| -> Vec<(Id, String)> {
        state
            .iter()
            .filter_map(|(id, health)| Some((id.clone(), keep(health)?.clone())))
            .collect()
    };
    let failed = collect(|health| match health {
        Health::Failed(message) => Some(message),
        Health::Current | Health::InProgress(_) => None,
    });
    if !failed.is_empty() {
        return Err(Error::Failed(failed));
    }
    let waiting = collect(|health| match health {
        Health::InProgress(message) => Some(message),
        Health::Current | Health::Failed(_) => None,
    });
    if in_time.is_err() && !waiting.is_empty() {
        return Err(Error::Timeout { limit, waiting });
    }
    Ok(())
}

fn is_settled(state: &State) -> bool {
    state.values().all(|health| *health == Health::Current)
        || state
            .values()
            .any(|health| matches!(health, Health::Failed(_)))
}

/// Takes an event of a watch for objects like this one into account.
fn note(state: &mut State, like: &Id, event: watcher::Event<DynamicObject>) {
    let mut set = |object: &DynamicObject, health: Health| {
        if let Some(own) = state.get_mut(&Id {
            name: object.name_any(),
            ..like.clone()
        }) {
            *own = health;
        }
    };
    match event {
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
            set(&object, health::assess(&value_of(&object)));
        }
        // A Job that is deleted after its time to live has done its work.
        watcher::Event::Delete(object) if like.kind == "Job" => set(&object, Health::Current),
        watcher::Event::Delete(object) => {
            set(&object, Health::InProgress("it was deleted".to_owned()));
        }
        watcher::Event::Init | watcher::Event::InitDone => {}
    }
}
