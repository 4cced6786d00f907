//! Lists Canaries, or shows one with its workloads and last checks.

use anyhow::Result;
use fairlead_crds::canary::Canary;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::{Canaries, summary};
use crate::args::Output;
use crate::exit::Exit;
use crate::output::print;
use crate::terminal::{Cell, Style, one_line, table};

/// Lists them.
pub(super) async fn all(canaries: &Canaries, everywhere: bool, output: Output) -> Result<Exit> {
    let found = if everywhere {
        let api: Api<Canary> = Api::all(canaries.cluster.client.clone());
        let list = api.list(&ListParams::default()).await;
        let explain = |source| canaries.cluster.explain(source, "list Canaries everywhere");
        list.map_err(explain)?.items
    } else {
        canaries.list().await?
    };
    let object = json!({ "apiVersion": "v1", "kind": "List", "items": found });
    print(output, &object, |style| list(&found, style))?;
    Ok(Exit::Succeeded)
}

fn list(canaries: &[Canary], style: Style) -> String {
    if canaries.is_empty() {
        return "no Canaries; --all-namespaces looks everywhere\n".to_owned();
    }
    let rows = canaries.iter().map(|canary| {
        let status = summary::status(canary);
        [
            canary.namespace().unwrap_or_default().into(),
            canary.name_any().into(),
            summary::phase(&status),
            summary::number(status.canary_weight).into(),
            summary::number(status.failed_checks).into(),
            summary::message(&status).into(),
        ]
    });
    let header = ["NAMESPACE", "NAME", "PHASE", "WEIGHT", "FAILED", "MESSAGE"];
    table(header, rows.collect(), style)
}

/// Shows one.
pub(super) async fn one(canaries: &Canaries, name: &str, output: Output) -> Result<Exit> {
    let canary = canaries.read(name).await?;
    let deployments: Api<Deployment> =
        Api::namespaced(canaries.cluster.client.clone(), &canaries.cluster.namespace);
    let target = &canary.spec.target_ref.name;
    let primary = format!("{target}-primary");
    let explain = |source| canaries.cluster.explain(source, "read the workloads");
    let roles = [
        (
            "primary",
            deployments.get_opt(&primary).await.map_err(explain)?,
        ),
        (
            "canary",
            deployments.get_opt(target).await.map_err(explain)?,
        ),
    ];
    print(output, &canary, |style| detail(&canary, &roles, style))?;
    Ok(Exit::Succeeded)
}

fn detail(canary: &Canary, roles: &[(&str, Option<Deployment>); 2], style: Style) -> String {
    let status = summary::status(canary);
    let name = format!(
        "{}/{}",
        canary.namespace().unwrap_or_default(),
        canary.name_any()
    );
    let head = [[
        name.into(),
        summary::phase(&status),
        summary::number(status.canary_weight).into(),
        summary::number(status.failed_checks).into(),
    ]];
    let header = ["CANARY", "PHASE", "WEIGHT", "FAILED"];
    let rows = roles
        .iter()
        .map(|(role, found)| workload(role, found.as_ref()));
    let columns = ["ROLE", "WORKLOAD", "IMAGES", "READY"];
    let mut text = table(header, head.to_vec(), style);
    text += &one_line(summary::message(&status));
    text += "\n\n";
    text += &table(columns, rows.collect(), style);
    let checks = status.rollout.unwrap_or_default().checks;
    if !checks.is_empty() {
        let rows = checks.iter().map(summary::check).collect();
        text.push('\n');
        text += &table(summary::CHECK, rows, style);
    }
    text
}

fn workload(role: &str, found: Option<&Deployment>) -> [Cell; 4] {
    let Some(found) = found else {
        return [role.into(), "does not exist".into(), "".into(), "".into()];
    };
    let spec = found.spec.clone().unwrap_or_default();
    let containers = spec.template.spec.unwrap_or_default().containers;
    let images: Vec<String> = containers.into_iter().filter_map(|one| one.image).collect();
    let ready = found
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas);
    [
        role.into(),
        found.name_any().into(),
        images.join(", ").into(),
        format!("{}/{}", ready.unwrap_or(0), spec.replicas.unwrap_or(1)).into(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    fn deployment(name: &str, image: &str, ready: i32) -> Deployment {
        from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": 2,
                "selector": {},
                "template": { "spec": { "containers": [{ "name": "app", "image": image }] } },
            },
            "status": { "readyReplicas": ready },
        }))
        .unwrap()
    }

    #[test]
    fn a_list_tells_phase_weight_and_reason() {
        let canaries = [summary::tests::canary(), Canary::default()];
        insta::assert_snapshot!(list(&canaries, Style::Plain));
    }

    #[test]
    fn one_canary_shows_its_workloads_and_its_last_check() {
        let roles = [
            (
                "primary",
                Some(deployment("podinfo-primary", "podinfo:1", 2)),
            ),
            ("canary", None),
        ];
        insta::assert_snapshot!(detail(&summary::tests::canary(), &roles, Style::Plain));
    }
}
