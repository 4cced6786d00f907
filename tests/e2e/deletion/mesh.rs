//! A MeshInstall that is deleted while it installs; routes that are deleted while proxies get them.

use std::collections::BTreeMap;

use anyhow::Result;
use fairlead_crds::mesh_install::MeshInstall;
use fairlead_tests::load::{Load, Plan};
use fairlead_tests::story::{COMES_UP, MESH, Stage};
use fairlead_tests::{manifest, wait};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use super::{GONE_WITHIN, NAMESPACE};

/// Deletes the example's MeshInstall as soon as it has begun; the suite then installs it for good.
pub(crate) async fn install_and_delete(stage: &Stage) -> Result<()> {
    let client = &stage.client;
    let install = stage.read("examples/mesh-install.yaml")?;
    manifest::apply(client, &install).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), MESH);
    wait::until(&deployments, "istiod", "it is made", COMES_UP, |_| true).await?;
    manifest::delete(client, &install).await?;
    let installs: Api<MeshInstall> = Api::all(client.clone());
    wait::until_gone(&installs, "mesh", GONE_WITHIN).await?;
    // Kubernetes' garbage collector looks for new kinds every 30 s only.
    wait::until_gone(&deployments, "istiod", COMES_UP).await
}

const GATEWAY: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: late, namespace: deletion}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 80, name: http, protocol: HTTP}
      hosts: [late.example.com]
";
const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: late, namespace: deletion}
spec:
  hosts: [late.example.com]
  gateways: [late]
  http:
    - route: [{destination: {host: podinfo.podinfo.svc.cluster.local, port: {number: 9898}}}]
";

/// Both objects in turn: what is deleted stops to answer, and what is made again answers.
pub(super) async fn routes(stage: &Stage) -> Result<()> {
    let client = &stage.client;
    let plan = Plan {
        host: "late.example.com".to_owned(),
        ..Plan::podinfo("late", 20)
    };
    let load = Load::start(client, &plan, &stage.images).await?;
    manifest::apply(client, GATEWAY).await?;
    for object in [ROUTE, GATEWAY] {
        manifest::apply(client, ROUTE).await?;
        manifest::delete(client, object).await?;
        answers(stage, &load, 404).await?;
        manifest::apply(client, GATEWAY).await?;
        manifest::apply(client, ROUTE).await?;
        answers(stage, &load, 200).await?;
    }
    manifest::delete(client, ROUTE).await?;
    manifest::delete(client, GATEWAY).await?;
    answers(stage, &load, 404).await?;
    load.stop().await.map(drop)
}

/// Waits for a whole second in which all answers have this status.
async fn answers(stage: &Stage, load: &Load, status: u16) -> Result<()> {
    let what = format!("late.example.com answers {status}");
    wait::poll(&stage.client, NAMESPACE, &what, GONE_WITHIN, async || {
        let second = load.second().await?;
        let expected = BTreeMap::from([(status, second.requests)]);
        Ok((second.by_status == expected).then_some(()))
    })
    .await
}
