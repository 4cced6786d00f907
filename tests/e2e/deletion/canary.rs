//! A Canary over a Service and a VirtualService of the user's own, deleted at half the traffic.

use std::time::Duration;

use anyhow::{Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use fairlead_tests::load::{Load, Plan};
use fairlead_tests::story::{COMES_UP, Stage, applications};
use fairlead_tests::{manifest, wait};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;

use super::NAMESPACE;

/// Target and primary are both started and stopped on the way.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);
const HOST: &str = "shop.example.com";

/// What the user has before there is a Canary.
const OWN: &str = "apiVersion: v1
kind: Service
metadata: {name: shop, namespace: deletion}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 9898}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop, namespace: deletion}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 80, name: http, protocol: HTTP}
      hosts: [shop.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: deletion}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http:
    - timeout: 7s
      route: [{destination: {host: shop}}]
";

/// Its interval is longer than the story.
const CANARY: &str = "apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: shop, namespace: deletion}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  revertOnDeletion: true
  service: {port: 9898, hosts: [shop.example.com], gateways: [shop]}
  analysis: {interval: 10m, threshold: 2, stepWeight: 50, maxWeight: 50}
";

pub(super) async fn released(stage: &Stage) -> Result<()> {
    let client = &stage.client;
    manifest::apply(
        client,
        &stage.application(NAMESPACE, "shop", "podinfo", "1")?,
    )
    .await?;
    manifest::apply(client, OWN).await?;
    applications::available(client, NAMESPACE, "shop").await?;
    let routes = routes(stage);
    let before = routes.get("shop").await?.data["spec"].clone();
    manifest::apply(client, CANARY).await?;
    let canaries: Api<Canary> = Api::namespaced(client.clone(), NAMESPACE);
    wait::until(&canaries, "shop", "Initialized", COMES_UP, |canary| {
        canary.status.as_ref().and_then(|status| status.phase) == Some(CanaryPhase::Initialized)
    })
    .await?;
    let plan = Plan {
        host: HOST.to_owned(),
        ..Plan::podinfo("shop", 20)
    };
    let load = Load::start(client, &plan, &stage.images).await?;
    let next = stage.application(NAMESPACE, "shop", "podinfo-next", "2")?;
    manifest::apply(client, &next).await?;
    let what = "both versions answer";
    wait::poll(client, NAMESPACE, what, COMES_UP, async || {
        Ok((load.second().await?.by_version.len() == 2).then_some(()))
    })
    .await?;
    manifest::delete(client, CANARY).await?;
    wait::until_gone(&canaries, "shop", GIVEN_BACK_WITHIN).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    wait::until_gone(&deployments, "shop-primary", GIVEN_BACK_WITHIN).await?;
    let after = routes.get("shop").await?.data["spec"].clone();
    ensure!(after == before, "the routes were {before} and are {after}");
    let second = load.second().await?;
    let versions: Vec<&String> = second.by_version.keys().collect();
    ensure!(
        versions == ["next"],
        "the target does not answer all requests: {second:?}"
    );
    let counts = load.stop().await?;
    ensure!(
        counts.errors == 0 && counts.by_status.keys().eq([&200]),
        "requests failed: {counts:?}"
    );
    Ok(())
}

fn routes(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(stage.client.clone(), NAMESPACE, &resource)
}
