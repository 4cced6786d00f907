//! Kinds that are installed while something waits for them.

use std::time::Duration;

use fairlead_controller::kinds::{is_served, until_served};
use fairlead_tests::ApiServer;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

/// How long the server may take to serve what is defined.
const LIMIT: Duration = Duration::from_secs(30);

fn kind(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

fn definition() -> CustomResourceDefinition {
    let schema = json!({ "openAPIV3Schema": { "type": "object" } });
    serde_json::from_value(json!({
        "metadata": { "name": "widgets.example.org" },
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": { "kind": "Widget", "plural": "widgets" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    }))
    .unwrap()
}

#[tokio::test]
#[ignore = "needs kube-apiserver"]
async fn a_kind_is_awaited_until_somebody_installs_it() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let widget = kind("example.org", "Widget");
    let mut waits = std::pin::pin!(until_served(&client, &widget));
    let early = tokio::time::timeout(Duration::from_secs(3), &mut waits).await;
    assert!(early.is_err(), "nobody has installed it");
    assert!(!is_served(&client, &widget).await.unwrap());

    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &definition())
        .await
        .unwrap();
    tokio::time::timeout(LIMIT, waits).await.unwrap();
    assert!(is_served(&client, &widget).await.unwrap());
}

#[tokio::test]
#[ignore = "needs kube-apiserver"]
async fn a_kind_of_the_server_itself_needs_no_definition() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let scaler = kind("autoscaling", "HorizontalPodAutoscaler");
    tokio::time::timeout(LIMIT, until_served(&client, &scaler))
        .await
        .unwrap();
}
