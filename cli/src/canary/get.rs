//! Lists Canaries, or shows one with its workloads and last checks.

use anyhow::Result;
use fairlead_crds::canary::{Canary, Number};
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::{Value, json};

use super::{Canaries, summary};
use crate::args::Output;
use crate::exit::Exit;
use crate::output::print;
use crate::terminal::{Cell, Style, Tone, one_line, table};

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
    // A Service as target is the apex: the canary's share goes to a copy of it.
    let of_canary = match canary.spec.target_ref.kind.as_str() {
        "Service" => "-canary",
        _ => "",
    };
    let roles = [
        ("primary", find(canaries, &canary, "-primary").await?),
        ("canary", find(canaries, &canary, of_canary).await?),
    ];
    print(output, &canary, |style| detail(&canary, &roles, style))?;
    Ok(Exit::Succeeded)
}

/// The target, or what is called like it with an ending.
async fn find(canaries: &Canaries, canary: &Canary, ending: &str) -> Result<Option<DynamicObject>> {
    let target = &canary.spec.target_ref;
    let (group, version) = target
        .api_version
        .split_once('/')
        .unwrap_or(("", &target.api_version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let Canaries { cluster, .. } = canaries;
    let api: Api<DynamicObject> = Api::namespaced_with(
        cluster.client.clone(),
        &cluster.namespace,
        &ApiResource::from_gvk(&kind),
    );
    let name = format!("{}{ending}", target.name);
    let what = format!("read {} `{}/{name}`", target.kind, cluster.namespace);
    match api.get_opt(&name).await {
        // A kind that the cluster does not know has no objects either.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        found => Ok(found.map_err(|source| cluster.explain(source, &what))?),
    }
}

fn detail(canary: &Canary, roles: &[(&str, Option<DynamicObject>); 2], style: Style) -> String {
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
    let mut text = table(header, head.to_vec(), style);
    text += &one_line(summary::message(&status));
    text += "\n\n";
    let weight = status.canary_weight.and_then(Number::whole);
    let [primary, target] = roles;
    let rows = vec![
        workload("├─ ", primary, weight.map(|weight| 100 - weight)),
        workload("└─ ", target, weight),
    ];
    text += &table(
        ["ROLE", "WORKLOAD", "IMAGES", "READY", "WEIGHT"],
        rows,
        style,
    );
    let rollout = status.rollout.unwrap_or_default();
    if let Some(share) = &rollout.observed_share {
        text += &summary::share(share);
        text.push('\n');
    }
    let checks = rollout.checks;
    if !checks.is_empty() {
        let rows = checks.iter().map(summary::check).collect();
        text.push('\n');
        text += &table(summary::CHECK, rows, style);
    }
    text
}

/// A role's row; a DaemonSet counts its pods under names of its own.
fn workload(
    branch: &str,
    (role, found): &(&str, Option<DynamicObject>),
    weight: Option<i64>,
) -> [Cell; 5] {
    let role = format!("{branch}{role}");
    let weight = weight
        .map(|weight| format!("{weight}%"))
        .unwrap_or_default();
    let Some(found) = found else {
        let absent = "does not exist";
        return [
            role.into(),
            absent.into(),
            "".into(),
            "".into(),
            weight.into(),
        ];
    };
    let (spec, status) = (&found.data["spec"], &found.data["status"]);
    if found
        .types
        .as_ref()
        .is_some_and(|types| types.kind == "Service")
    {
        let name = found.name_any();
        let nothing = "".into();
        return [
            role.into(),
            name.into(),
            led_to(spec).into(),
            nothing,
            weight.into(),
        ];
    }
    let containers = spec["template"]["spec"]["containers"].as_array();
    let images = containers.into_iter().flatten();
    let images: Vec<&str> = images.filter_map(|one| one["image"].as_str()).collect();
    let first = |all: [&Value; 2]| all.into_iter().find_map(Value::as_i64).unwrap_or(0);
    let ready = first([&status["readyReplicas"], &status["numberReady"]]);
    let wanted = first([&spec["replicas"], &status["desiredNumberScheduled"]]);
    let tone = if ready >= wanted {
        Tone::Good
    } else {
        Tone::Busy
    };
    [
        role.into(),
        found.name_any().into(),
        images.join(", ").into(),
        Cell::toned(format!("{ready}/{wanted}"), tone),
        weight.into(),
    ]
}

/// Where a Service leads: a host, or the pods with some labels.
fn led_to(spec: &Value) -> String {
    if let Some(host) = spec["externalName"].as_str() {
        return host.to_owned();
    }
    let labels = spec["selector"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    labels.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    fn deployment(name: &str, image: &str, ready: i32) -> DynamicObject {
        from_value(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
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

    #[test]
    fn a_service_shows_where_it_leads() {
        let row = |spec: Value| {
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": "web-canary" }, "spec": spec,
            });
            let role = ("canary", Some(from_value(service).unwrap()));
            let header = ["ROLE", "WORKLOAD", "IMAGES", "READY", "WEIGHT"];
            table(header, vec![workload("", &role, Some(20))], Style::Plain)
        };
        let selects = row(json!({ "selector": { "app": "web", "version": "2" } }));
        assert!(selects.contains("app=web,version=2"), "{selects}");
        let away = row(json!({ "type": "ExternalName", "externalName": "web.example" }));
        assert!(away.contains("web.example"), "{away}");
    }

    #[test]
    fn pods_of_a_daemon_set_are_counted_too() {
        let mut found = deployment("agent", "agent:1", 0);
        found.data["spec"]["replicas"] = Value::Null;
        found.data["status"] = json!({ "numberReady": 2, "desiredNumberScheduled": 3 });
        let [.., ready, weight] = workload("", &("canary", Some(found)), Some(25));
        let shown = format!("{ready:?} {weight:?}");
        assert!(shown.contains("2/3") && shown.contains("25%"), "{shown}");
    }
}
