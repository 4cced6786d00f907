//! Waiting: a watch with a deadline that, when it expires, prints what a person would look at.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_runtime::clock;
use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::diagnosis;

/// Watches the object `name` until `is` holds, and returns it as it then is.
///
/// An object that is not there is waited for. When `deadline` expires, the error holds the object
/// as last seen, and the events, pods and logs of its namespace.
pub async fn until<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    mut is: impl FnMut(&K) -> bool,
) -> anyhow::Result<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    watch(api, name, what, deadline, |seen| {
        seen.filter(|object| is(object)).cloned()
    })
    .await
}

/// Waits until the object `name` is gone.
pub async fn until_gone<K>(api: &Api<K>, name: &str, deadline: Duration) -> anyhow::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    watch(api, name, "it is gone", deadline, |seen| {
        seen.is_none().then_some(())
    })
    .await
}

/// Watches the object `name` until `find` gives something; it sees `None` while there is no object.
async fn watch<K, T>(
    api: &Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    mut find: impl FnMut(Option<&K>) -> Option<T>,
) -> anyhow::Result<T>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let mut last: Option<K> = None;
    // Boxed, as all that is large here: stories hold many of these waits.
    let watch = Box::pin(async {
        let mut stream = Box::pin(watcher::watch_object(api.clone(), name));
        // The stream recovers by itself; an error is worth a line, not the end.
        while let Some(seen) = stream.next().await {
            match seen {
                Ok(object) => {
                    if let Some(found) = find(object.as_ref()) {
                        return Ok(found);
                    }
                    last = object;
                }
                Err(error) => {
                    tracing::debug!(%error, "the watch failed");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        anyhow::bail!("the watch ended")
    });
    let start = clock::instant();
    if let Ok(found) = tokio::time::timeout(deadline, watch).await {
        return found;
    }
    let path = api.resource_url();
    let seen = last.as_ref().map_or_else(
        || "it is not there".to_owned(),
        |object| serde_yaml_ng::to_string(object).unwrap_or_else(|error| error.to_string()),
    );
    let namespace = last
        .as_ref()
        .and_then(|object| object.meta().namespace.clone());
    let around = Box::pin(diagnosis::of(
        api.clone().into_client(),
        namespace.as_deref(),
    ))
    .await;
    let waited = clock::instant() - start;
    anyhow::bail!("waited {waited:.0?} in vain: {path}/{name}: {what}\n{seen}\n{around}")
}

/// Waits until the API server serves a kind that was defined a moment ago.
///
/// # Errors
/// When it does not within `deadline`.
pub async fn until_served(
    client: &Client,
    resource: &ApiResource,
    deadline: Duration,
) -> anyhow::Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let listed = async {
        while api.list(&ListParams::default().limit(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(deadline, listed).await;
    ended.with_context(|| format!("{} is not served", resource.plural))
}

/// Asks `probe` again and again, every 100 ms, for what no watch can tell.
pub async fn poll<T>(
    client: &Client,
    namespace: &str,
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = clock::instant();
    let mut last = None;
    while clock::instant() - start < deadline {
        match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let around = Box::pin(diagnosis::of(client.clone(), Some(namespace))).await;
    let last = last.map_or_else(String::new, |error| format!("last error: {error:#}\n"));
    anyhow::bail!("waited {deadline:.0?} in vain: {what}\n{last}{around}")
}
