//! Targets that are no Deployments.

use anyhow::{Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Resource as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::stage::{Scene, Stage};

pub(crate) async fn a_daemon_set_is_released_node_by_node(stage: &Stage) -> Result<()> {
    let scene = stage.scene("daemon-set").await?;
    let sets = Sets {
        scene: &scene,
        resource: ApiResource::erase::<DaemonSet>(&()),
    };
    sets.release().await?;
    let target = sets.fetch("podinfo").await?;
    let nodes = &target["spec"]["template"]["spec"]["nodeSelector"];
    ensure!(nodes["flagger.app/scale-to-zero"] == "true", "{nodes}");
    let primary = sets.fetch("podinfo-primary").await?;
    let nodes = &primary["spec"]["template"]["spec"]["nodeSelector"];
    ensure!(nodes.is_null(), "the primary runs everywhere: {nodes}");
    Ok(())
}

pub(crate) async fn a_stateful_set_is_released_with_claims_of_its_own(stage: &Stage) -> Result<()> {
    let scene = stage.scene("stateful-set").await?;
    let sets = Sets {
        scene: &scene,
        resource: ApiResource::erase::<StatefulSet>(&()),
    };
    sets.release().await?;
    let target = sets.fetch("podinfo").await?;
    ensure!(
        target["spec"]["replicas"] == 0,
        "{}",
        target["spec"]["replicas"]
    );
    let primary = sets.fetch("podinfo-primary").await?;
    let claims = &primary["spec"]["volumeClaimTemplates"];
    ensure!(claims[0]["metadata"]["name"] == "data", "{claims}");
    Ok(())
}

/// Workloads of one kind in a scene.
struct Sets<'a> {
    scene: &'a Scene,
    resource: ApiResource,
}

impl Sets<'_> {
    fn api(&self) -> Api<DynamicObject> {
        let Scene {
            client, namespace, ..
        } = self.scene;
        Api::namespaced_with(client.clone(), namespace, &self.resource)
    }

    async fn fetch(&self, name: &str) -> Result<Value> {
        Ok(self.api().get(name).await?.data)
    }

    /// The target, in the place of the scene's Deployment.
    async fn apply(&self, image: &str) -> Result<()> {
        let labels = json!({ "app": "podinfo" });
        let mut spec = json!({
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "podinfo", "image": image }] },
            },
        });
        if self.resource.kind == StatefulSet::kind(&()) {
            spec["serviceName"] = json!("podinfo");
            spec["volumeClaimTemplates"] = json!([{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }]);
        }
        let target = json!({
            "apiVersion": "apps/v1",
            "kind": self.resource.kind,
            "metadata": { "name": "podinfo" },
            "spec": spec,
        });
        let params = PatchParams::apply("git").force();
        self.api()
            .patch("podinfo", &params, &Patch::Apply(target))
            .await?;
        Ok(())
    }

    /// A release from the first revision to the end of the second one.
    async fn release(&self) -> Result<()> {
        let scene = self.scene;
        let deployments: Api<Deployment> = scene.deployments();
        deployments
            .delete("podinfo", &DeleteParams::default())
            .await?;
        self.apply("podinfo:1").await?;
        let kind = self.resource.kind.clone();
        scene
            .apply_canary(|spec| spec["targetRef"]["kind"] = json!(kind))
            .await?;
        let _operator = scene.operator.start(None)?;
        scene.until_phase(CanaryPhase::Initialized).await?;
        self.apply("podinfo:2").await?;
        scene.until_phase(CanaryPhase::Succeeded).await?;
        let weights = scene.history.weights();
        ensure!(weights == [0, 50, 0], "the weights were {weights:?}");
        let image = self.fetch("podinfo-primary").await?["spec"]["template"]["spec"]["containers"]
            [0]["image"]
            .clone();
        ensure!(image == "podinfo:2", "the primary runs {image}");
        scene.history.judge()
    }
}
