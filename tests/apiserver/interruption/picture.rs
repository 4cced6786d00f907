//! Everything that a rollout has left in a namespace, so that two ends can be compared.

use anyhow::Result;
use fairlead_crds::canary::Canary;
use fairlead_tests::players::{gateway_routes_resource, routes_resource};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};

use crate::stage::Scene;

/// The specs of all objects that matter, and what the Canary says of itself.
pub(super) async fn draw(scene: &Scene) -> Result<Value> {
    let rule = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
    let (mut picture, mut cookies) = (Map::new(), Vec::new());
    for resource in [
        scene.target.resource(),
        ApiResource::erase::<Service>(&()),
        ApiResource::from_gvk(&rule),
        routes_resource(),
        gateway_routes_resource(),
        ApiResource::erase::<Canary>(&()),
    ] {
        let api: Api<DynamicObject> =
            Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
        for object in api.list(&ListParams::default()).await? {
            let name = format!("{} {}", resource.kind, object.name_any());
            if resource.kind == "Canary" {
                cookies.extend(self::cookies(&object.data["status"]));
            }
            let shown = match resource.kind.as_str() {
                "Canary" => status(&object.data["status"]),
                "Service" => without_addresses(object.data["spec"].clone()),
                _ => object.data["spec"].clone(),
            };
            picture.insert(name, shown);
        }
    }
    Ok(without_cookies(Value::Object(picture), &cookies))
}

/// The cookies that a Canary gives or gave out.
fn cookies(status: &Value) -> impl Iterator<Item = String> {
    let fields = [
        "sessionAffinityCookie",
        "primarySessionAffinityCookie",
        "previousSessionAffinityCookie",
    ];
    let pairs = fields
        .into_iter()
        .filter_map(|field| status[field].as_str());
    let values = pairs.filter_map(|pair| Some(pair.split_once('=')?.1.to_owned()));
    values.collect::<Vec<_>>().into_iter()
}

/// The same with one value for all of `cookies`: each run draws its own.
fn without_cookies(picture: Value, cookies: &[String]) -> Value {
    match picture {
        Value::String(text) => {
            let told = cookies
                .iter()
                .fold(text, |text, cookie| text.replace(cookie, "COOKIE"));
            Value::String(told)
        }
        Value::Array(all) => {
            let told = all.into_iter().map(|one| without_cookies(one, cookies));
            Value::Array(told.collect())
        }
        Value::Object(fields) => {
            let told = fields
                .into_iter()
                .map(|(name, one)| (name, without_cookies(one, cookies)));
            Value::Object(told.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => picture,
    }
}

/// What the API server chooses for each Service.
fn without_addresses(mut spec: Value) -> Value {
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|field, _| field != "clusterIP" && field != "clusterIPs");
    }
    spec
}

/// What stays the same however long it took, and whoever began it.
fn status(status: &Value) -> Value {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let conditions = conditions.map(|one| json!([one["type"], one["status"], one["reason"]]));
    let runs = status["history"].as_array().into_iter().flatten();
    let runs = runs.map(|run| run["outcome"].clone());
    json!({
        "phase": status["phase"],
        "canaryWeight": status["canaryWeight"],
        "failedChecks": status["failedChecks"],
        "iterations": status["iterations"],
        "conditions": conditions.collect::<Vec<_>>(),
        "runs": runs.collect::<Vec<_>>(),
    })
}

/// Where two pictures differ.
pub(super) fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let names = [wanted, found].into_iter().filter_map(Value::as_object);
    let mut names: Vec<&String> = names.flat_map(Map::keys).collect();
    names.sort_unstable();
    names.dedup();
    let differs = |name: &&String| wanted[name.as_str()] != found[name.as_str()];
    let tell = |name: &String| {
        let (wanted, found) = (&wanted[name.as_str()], &found[name.as_str()]);
        format!("{name} is {found}, not {wanted}")
    };
    names.into_iter().filter(differs).map(tell).collect()
}
