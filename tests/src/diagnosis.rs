//! What a person looks at when something does not come: events, pods, and the logs of those that
//! are not ready.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt as _};

/// How many events to show, the newest last.
const EVENTS: usize = 30;
/// How many lines of each log to show.
const LOG_LINES: i64 = 40;
/// Where our own components run; their logs explain most failures.
const OWN: [&str; 2] = ["fairlead-system", "istio-system"];

/// Describes `namespace` and our own components. Never fails: what can't be read is said.
pub async fn of(client: Client, namespace: Option<&str>) -> String {
    let mut text = String::new();
    let mut namespaces: Vec<&str> = namespace.into_iter().collect();
    namespaces.extend(OWN.iter().filter(|own| namespace != Some(**own)));
    for namespace in namespaces {
        if let Err(error) = describe(&client, namespace, &mut text).await {
            // Writing to a String can't fail.
            let _ = writeln!(text, "namespace `{namespace}` could not be read: {error:#}");
        }
    }
    text
}

async fn describe(client: &Client, namespace: &str, text: &mut String) -> anyhow::Result<()> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut events = events.list(&ListParams::default()).await?.items;
    events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
    writeln!(text, "--- events in {namespace}")?;
    for event in events.iter().rev().take(EVENTS).rev() {
        writeln!(
            text,
            "{} {} {}/{}: {}",
            event.type_.as_deref().unwrap_or("-"),
            event.reason.as_deref().unwrap_or("-"),
            event.involved_object.kind.as_deref().unwrap_or("-"),
            event.involved_object.name.as_deref().unwrap_or("-"),
            event.message.as_deref().unwrap_or("-").trim(),
        )?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods.list(&ListParams::default()).await? {
        let status = pod.status.clone().unwrap_or_default();
        let containers: Vec<ContainerStatus> = [
            status.init_container_statuses.unwrap_or_default(),
            status.container_statuses.unwrap_or_default(),
        ]
        .concat();
        writeln!(
            text,
            "--- pod {namespace}/{} {:?}",
            pod.name_any(),
            status.phase
        )?;
        for container in containers {
            let state = serde_json::to_string(&container.state)?;
            writeln!(
                text,
                "container {} ready={} restarts={} {state}",
                container.name, container.ready, container.restart_count
            )?;
            if !container.ready || OWN.contains(&namespace) {
                log(&pods, &pod.name_any(), &container.name, text).await?;
            }
        }
    }
    Ok(())
}

async fn log(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    text: &mut String,
) -> Result<(), std::fmt::Error> {
    let params = LogParams {
        container: Some(container.to_owned()),
        tail_lines: Some(LOG_LINES),
        ..LogParams::default()
    };
    match pods.logs(pod, &params).await {
        Ok(lines) => lines
            .lines()
            .try_for_each(|line| writeln!(text, "    {line}")),
        Err(error) => writeln!(text, "    no log: {error}"),
    }
}
