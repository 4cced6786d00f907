//! One API server for all stories, and the objects that each of them begins with.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fairlead_crds::canary::{Canary, CanaryPhase};
use fairlead_tests::{ApiServer, manifest, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::history::History;
use fairlead_tests::operator::Operator;
use fairlead_tests::players::{self, World};

/// How long a step of a story may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The API server and the outside world.
pub(crate) struct Stage {
    server: ApiServer,
    client: Client,
    world: World,
    address: String,
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn open() -> Result<Self> {
        let server = ApiServer::start().await?;
        let client = server.client().await?;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                manifest::apply(&client, &std::fs::read_to_string(&path)?).await?;
            }
        }
        manifest::apply(&client, &serde_yaml_ng::to_string(&gateway_routes())?).await?;
        until_served(&client, &players::gateway_routes_resource()).await?;
        let world = World::default();
        let address = players::serve(world.clone()).await?;
        Ok(Self {
            server,
            client,
            world,
            address,
        })
    }

    /// Sets a scene in a namespace of its own: a target, and players around it.
    pub(crate) async fn scene(&self, namespace: &str) -> Result<Scene> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
        namespaces.create(&PostParams::default(), &object).await?;
        let history = History::default();
        let curtain = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "they live as long as the scene")]
        let tasks = vec![
            tokio::spawn(players::play(
                self.client.clone(),
                namespace.to_owned(),
                self.world.clone(),
                curtain.clone(),
            )),
            tokio::spawn(history.clone().record(
                self.client.clone(),
                namespace.to_owned(),
                "podinfo".to_owned(),
            )),
        ];
        let scene = Scene {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            world: self.world.clone(),
            history,
            address: format!("{}/{namespace}", self.address),
            operator: Operator {
                kubeconfig: self.server.kubeconfig().to_owned(),
                namespace: namespace.to_owned(),
                pod: "operator".to_owned(),
                metrics_server: format!("{}/{namespace}", self.address),
                log: self
                    .server
                    .folder()
                    .join(format!("operator-{namespace}.log")),
            },
            curtain,
            tasks,
        };
        scene.apply_target("podinfo:1").await?;
        Ok(scene)
    }
}

/// Waits until the objects of a new kind can be listed: nothing tells of it.
async fn until_served(client: &Client, resource: &ApiResource) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let listed = async {
        while api.list(&ListParams::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, listed).await;
    ended.with_context(|| format!("{} is not served", resource.plural))
}

/// The kind that clusters with a Gateway API have, without its schema.
fn gateway_routes() -> Value {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "httproutes.gateway.networking.k8s.io",
            "annotations": { "api-approved.kubernetes.io": "unapproved, for tests" },
        },
        "spec": {
            "group": "gateway.networking.k8s.io",
            "names": { "kind": "HTTPRoute", "plural": "httproutes" },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": { "spec": open, "status": open },
                } },
            }],
        },
    })
}

/// One story's namespace.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) world: World,
    pub(crate) history: History,
    pub(crate) address: String,
    pub(crate) operator: Operator,
    curtain: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.curtain.cancel();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Scene {
    fn canaries(&self) -> Api<Canary> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies the target with an image, as git would: without replicas.
    pub(crate) async fn apply_target(&self, image: &str) -> Result<()> {
        let labels = json!({ "app": "podinfo" });
        let target = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "podinfo", "labels": labels },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "podinfo", "image": image }] },
                },
            },
        });
        let params = PatchParams::apply("git").force();
        self.deployments()
            .patch("podinfo", &params, &Patch::Apply(target))
            .await?;
        Ok(())
    }

    /// A quick weighted Canary; `change` edits its spec.
    pub(crate) async fn apply_canary(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        self.apply_canary_named("podinfo", change).await
    }

    /// The same under another name.
    pub(crate) async fn apply_canary_named(
        &self,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<()> {
        let mut spec = json!({
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "progressDeadlineSeconds": 20,
            "service": { "port": 9898 },
            "analysis": {
                "interval": "100ms",
                "threshold": 2,
                "stepWeight": 50,
                "maxWeight": 50,
                "metrics": [{ "name": "request-success-rate", "thresholdRange": { "min": 99 } }],
            },
        });
        change(&mut spec);
        let canary = json!({
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": { "name": name },
            "spec": spec,
        });
        let params = PatchParams::apply("git").force();
        self.canaries()
            .patch(name, &params, &Patch::Apply(canary))
            .await?;
        Ok(())
    }

    pub(crate) async fn canary(&self) -> Result<Canary> {
        Ok(self.canaries().get("podinfo").await?)
    }

    /// Leaves a command on the Canary, as `fairlead` or `kubectl annotate` would.
    pub(crate) async fn command(&self, token: &str) -> Result<()> {
        let annotations = json!({ fairlead_crds::annotation::COMMAND: token });
        let patch = json!({ "metadata": { "annotations": annotations } });
        let params = PatchParams {
            field_manager: Some("a-person".to_owned()),
            ..PatchParams::default()
        };
        self.canaries()
            .patch("podinfo", &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    pub(crate) async fn delete_canary(&self) -> Result<()> {
        self.canaries()
            .delete("podinfo", &kube::api::DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until the Canary is gone.
    pub(crate) async fn until_gone(&self) -> Result<()> {
        let found = self.canaries().get_opt("podinfo").await?;
        let uid = found.and_then(|canary| canary.uid()).unwrap_or_default();
        let gone = kube::runtime::wait::conditions::is_deleted(&uid);
        let waiting = kube::runtime::wait::await_condition(self.canaries(), "podinfo", gone);
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        ended.with_context(|| format!("the Canary is still there: {}", self.log()))??;
        Ok(())
    }

    /// Waits for a phase.
    pub(crate) async fn until_phase(&self, phase: CanaryPhase) -> Result<Canary> {
        self.until(&format!("phase {phase}"), |canary| {
            canary.status.as_ref().and_then(|status| status.phase) == Some(phase)
        })
        .await
    }

    /// Waits until the Canary is as asked.
    pub(crate) async fn until(
        &self,
        what: &str,
        is: impl Fn(&Canary) -> bool + Send,
    ) -> Result<Canary> {
        let found = wait::until(&self.canaries(), "podinfo", what, PATIENCE, is).await;
        found.with_context(|| {
            format!(
                "waiting for {what} in {}; operator: {}",
                self.namespace,
                self.log()
            )
        })
    }

    /// Waits until a condition of the Canary `name` holds, and returns its message.
    pub(crate) async fn until_condition(&self, name: &str, type_: &str) -> Result<String> {
        let is = |canary: &Canary| message(canary, type_).is_some();
        let found = wait::until(&self.canaries(), name, type_, PATIENCE, is).await;
        let found = found.with_context(|| format!("waiting for {type_}: {}", self.log()))?;
        message(&found, type_).context("the condition was there")
    }

    /// Waits until a Deployment is as asked.
    pub(crate) async fn until_deployment(
        &self,
        name: &str,
        is: impl Fn(&Deployment) -> bool + Send,
    ) -> Result<Deployment> {
        let found = wait::until(&self.deployments(), name, "as asked", PATIENCE, is).await;
        found.with_context(|| format!("waiting for Deployment {name}: {}", self.log()))
    }

    /// The image of a Deployment's first container.
    pub(crate) async fn image(&self, name: &str) -> Result<String> {
        let deployment = self.deployments().get(name).await?;
        let pod = deployment.spec.and_then(|spec| spec.template.spec);
        let container = pod.and_then(|pod| pod.containers.into_iter().next());
        container
            .and_then(|container| container.image)
            .context("no image")
    }

    /// The replicas that a Deployment asks for.
    pub(crate) async fn replicas(&self, name: &str) -> Result<i32> {
        let deployment = self.deployments().get(name).await?;
        Ok(deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1))
    }

    /// The end of the operator's log.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.operator.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// What the end of every story must be like.
    pub(crate) async fn check_rest(&self, image: &str) -> Result<()> {
        let weights = self.history.weights();
        if weights.last() != Some(&0) {
            bail!("the weights ended as {weights:?}");
        }
        let (primary, replicas) = (
            self.image("podinfo-primary").await?,
            self.replicas("podinfo").await?,
        );
        if primary != image || replicas != 0 {
            bail!("the primary runs {primary}, the canary has {replicas} replicas");
        }
        self.history.judge()
    }
}

fn message(canary: &Canary, type_: &str) -> Option<String> {
    let conditions = &canary.status.as_ref()?.conditions;
    let condition = conditions
        .iter()
        .find(|one| one.type_ == type_ && one.status == "True")?;
    Some(condition.message.clone())
}

/// The reason of a Canary's Ready condition.
pub(crate) fn ready_reason(canary: &Canary) -> String {
    let status = canary.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .into_iter()
        .find(|one| one.type_ == "Ready");
    ready.map(|one| one.reason).unwrap_or_default()
}

/// The canary's weight, as people see it.
pub(crate) fn weight(canary: &Canary) -> Option<i64> {
    canary.status.as_ref()?.canary_weight?.whole()
}

/// The name of an object, for messages.
pub(crate) fn name(canary: &Canary) -> String {
    canary.name_any()
}
