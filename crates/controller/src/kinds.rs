//! Which kinds the API server serves, and waiting for those that somebody has yet to install.

use std::pin::pin;
use std::time::Duration;

use fairlead_runtime::readiness::Check;
use fairlead_runtime::report;
use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PartialObjectMeta};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, discovery};

use crate::ApiError;

/// How often kinds are looked for that must be there: somebody is installing them, or must be told.
const REQUIRED_INTERVAL: Duration = Duration::from_secs(5);
/// How often a kind is looked for whose definition has just changed, and how many times: the
/// server serves it a moment after its definition is stored.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
const SETTLE_TRIES: usize = 30;

/// The server refused, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("failed to look for the kind {kind} of {api_version}")]
pub struct Error {
    /// The kind.
    pub kind: String,
    /// Its group and version.
    pub api_version: String,
    /// The server's answer.
    #[source]
    pub source: ApiError,
}

/// Whether the server serves a kind.
pub async fn is_served(client: &Client, resource: &ApiResource) -> Result<bool, Error> {
    let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
    match discovery::pinned_kind(client, &kind).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Discovery(_)) => Ok(false),
        // A group that is not there has no reason, only a code.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(source) => Err(Error {
            kind: kind.kind.clone(),
            api_version: resource.api_version.clone(),
            source: source.into(),
        }),
    }
}

/// Returns when the server serves all of `kinds`; meanwhile `check` says which are missing.
///
/// # Cancel safety
/// Dropping it at any time harms nothing.
pub async fn wait_for_kinds(client: &Client, kinds: &[ApiResource], check: &Check) {
    for resource in kinds {
        loop {
            let waits_for = match is_served(client, resource).await {
                Ok(true) => break,
                Ok(false) => format!(
                    "CRD `{}` ({}) is not installed; install the chart with `crds.install=true`",
                    definition(resource),
                    resource.version
                ),
                Err(error) => report(&error).to_string(),
            };
            tracing::warn!(reason = waits_for, "waiting for the API server");
            check.waiting(waits_for);
            tokio::time::sleep(REQUIRED_INTERVAL).await;
        }
    }
    check.ready();
}

/// Returns when the server serves a kind that may be installed at any time, or never.
///
/// Its CustomResourceDefinition is watched by name, without its content: while nobody installs it,
/// nothing is asked. A server that refuses the watch is asked again with growing pauses.
///
/// # Cancel safety
/// Dropping it at any time harms nothing.
pub async fn until_served(client: &Client, resource: &ApiResource) {
    let name = definition(resource);
    let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = pin!(watcher(definitions, config).default_backoff());
    loop {
        // The list that starts the watch ends in an event too: what the server served before is
        // found without a change, and so is a kind without a definition.
        let tries = match changes.next().await {
            Some(Ok(Event::Apply(_) | Event::InitApply(_))) => SETTLE_TRIES,
            Some(Ok(Event::InitDone)) => 1,
            Some(Ok(Event::Init | Event::Delete(_))) => continue,
            Some(Err(error)) => {
                let reason = report(&error);
                tracing::debug!(%name, %reason, "the definition cannot be watched");
                1
            }
            None => return,
        };
        if is_served_within(client, resource, tries).await {
            return;
        }
    }
}

/// Whether the server serves a kind soon. One that does not answer is asked a while longer; what
/// it does then, the watch tells.
async fn is_served_within(client: &Client, resource: &ApiResource, tries: usize) -> bool {
    let (mut left, mut failures) = (tries, 0);
    loop {
        match is_served(client, resource).await {
            Ok(true) => return true,
            Ok(false) => left = left.saturating_sub(1),
            Err(error) => {
                let (kind, reason) = (&resource.kind, report(&error));
                tracing::debug!(kind, %reason, "asking again");
                failures += 1;
            }
        }
        if left == 0 || failures > SETTLE_TRIES {
            return false;
        }
        tokio::time::sleep(SETTLE_INTERVAL).await;
    }
}

/// The name of the definition of a kind.
fn definition(resource: &ApiResource) -> String {
    format!("{}.{}", resource.plural, resource.group)
}
