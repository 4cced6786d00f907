//! One API server for all stories, and the objects that each of them begins with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fairlead_crds::canary::{Canary, CanaryPhase, CommandStatus};
use fairlead_tests::{ApiServer, manifest, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use fairlead_tests::operator::Operator;
use fairlead_tests::players;
use fairlead_tests::world::{self, World};

use crate::history::{History, Recorder};
use crate::scalers::scaled_objects;
use crate::target::{self, Target};

/// How long a step of a story may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// The API server and the outside world.
pub(crate) struct Stage {
    server: ApiServer,
    client: Client,
    world: World,
    address: String,
    recorder: Recorder,
    recording: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.recording.abort();
    }
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
        for kind in [players::gateway_routes_resource(), scaled_objects()] {
            manifest::apply(&client, &serde_yaml_ng::to_string(&definition(&kind))?).await?;
            wait::until_served(&client, &kind, PATIENCE).await?;
        }
        for kind in [
            players::routes_resource(),
            ApiResource::erase::<Canary>(&()),
        ] {
            wait::until_served(&client, &kind, PATIENCE).await?;
        }
        let world = World::default();
        let address = world::serve(world.clone()).await?;
        let recorder = Recorder::default();
        #[expect(clippy::disallowed_methods, reason = "it lives as long as the stage")]
        let recording = tokio::spawn(recorder.clone().record(client.clone()));
        Ok(Self {
            server,
            client,
            world,
            address,
            recorder,
            recording,
        })
    }

    /// Applies objects as an administrator.
    pub(crate) async fn apply(&self, yaml: &str) -> Result<()> {
        manifest::apply(&self.client, yaml).await
    }

    /// Where a user finds the API server, with no right that nobody gives him.
    pub(crate) fn user(&self, name: &str) -> Result<PathBuf> {
        self.server.kubeconfig_of_user(name)
    }

    /// Sets a scene in a namespace of its own: a Deployment, and players around it.
    pub(crate) async fn scene(&self, namespace: &str) -> Result<Scene> {
        self.scene_of(namespace, Target::Deployment).await
    }

    /// The same with a target of this kind.
    pub(crate) async fn scene_of(&self, namespace: &str, target: Target) -> Result<Scene> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
        namespaces.create(&PostParams::default(), &object).await?;
        let curtain = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "they live as long as the scene")]
        let playing = tokio::spawn(players::play(
            self.client.clone(),
            namespace.to_owned(),
            self.world.clone(),
            curtain.clone(),
        ));
        let scene = Scene {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            target,
            world: self.world.clone(),
            history: self.recorder.of(namespace),
            address: format!("{}/{namespace}", self.address),
            operator: Operator {
                kubeconfig: self.server.kubeconfig().to_owned(),
                namespace: namespace.to_owned(),
                pod: "operator".to_owned(),
                collector: String::new(),
                trusts_stamps: false,
                metrics_server: format!("{}/{namespace}", self.address),
                log: self
                    .server
                    .folder()
                    .join(format!("operator-{namespace}.log")),
            },
            curtain,
            playing,
        };
        if target == Target::Service {
            for image in ["podinfo:1", "podinfo:2", "podinfo:3"] {
                let params = PatchParams::apply("git");
                let workload = target::behind_service(image);
                let name = workload["metadata"]["name"].as_str().unwrap_or_default();
                let api: Api<DynamicObject> = Api::namespaced_with(
                    scene.client.clone(),
                    namespace,
                    &Target::Deployment.resource(),
                );
                api.patch(name, &params, &Patch::Apply(&workload)).await?;
            }
        }
        scene.apply_target("podinfo:1").await?;
        Ok(scene)
    }
}

/// A kind that others install, without its schema.
fn definition(kind: &ApiResource) -> Value {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", kind.plural, kind.group),
            "annotations": { "api-approved.kubernetes.io": "unapproved, for tests" },
        },
        "spec": {
            "group": kind.group,
            "names": { "kind": kind.kind, "plural": kind.plural },
            "scope": "Namespaced",
            "versions": [{
                "name": kind.version, "served": true, "storage": true,
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
    pub(crate) target: Target,
    pub(crate) world: World,
    pub(crate) history: History,
    pub(crate) address: String,
    pub(crate) operator: Operator,
    curtain: CancellationToken,
    playing: JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.curtain.cancel();
        self.playing.abort();
    }
}

impl Scene {
    pub(crate) fn canaries(&self) -> Api<Canary> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The workloads of the target's kind.
    pub(crate) fn workloads(&self) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &self.target.resource(),
        )
    }

    /// Applies the target with an image, as git would: without replicas.
    pub(crate) async fn apply_target(&self, image: &str) -> Result<()> {
        let params = PatchParams::apply("git").force();
        let target = self.target.manifest(image);
        self.workloads()
            .patch("podinfo", &params, &Patch::Apply(target))
            .await?;
        Ok(())
    }

    /// A VirtualService of somebody else for the apex, with these rules, as it was made.
    pub(crate) async fn author_routes(
        &self,
        http: Value,
    ) -> Result<(Api<DynamicObject>, DynamicObject)> {
        let kind = players::routes_resource();
        let routes = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let theirs = json!({
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": { "name": "podinfo" },
            "spec": { "hosts": ["podinfo"], "http": http },
        });
        let params = PatchParams::apply("author");
        let made = routes
            .patch("podinfo", &params, &Patch::Apply(&theirs))
            .await?;
        Ok((routes, made))
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
            "targetRef": {
                "apiVersion": self.target.resource().api_version,
                "kind": self.target.resource().kind,
                "name": "podinfo",
            },
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

    /// Releases a second revision with a quick weighted Canary, which `change` edits, and holds it at
    /// its last weight: at a gate that stays closed until the world's hooks are cleared.
    pub(crate) async fn hold_at_gate(&self, change: impl FnOnce(&mut Value)) -> Result<Child> {
        let gate = format!("{}/hook/gate", self.address);
        self.apply_canary(|spec| {
            spec["analysis"]["webhooks"] =
                json!([{ "name": "gate", "type": "confirm-promotion", "url": gate }]);
            change(spec);
        })
        .await?;
        self.world.set(&self.namespace, |all| {
            all.hooks.insert("gate".to_owned(), 403);
        });
        let operator = self.operator.start(None)?;
        self.until_phase(CanaryPhase::Initialized).await?;
        self.apply_target("podinfo:2").await?;
        self.until_phase(CanaryPhase::WaitingPromotion).await?;
        Ok(operator)
    }

    pub(crate) async fn canary(&self) -> Result<Canary> {
        Ok(self.canaries().get("podinfo").await?)
    }

    /// Leaves a command on the Canary, as `fairlead` or `kubectl annotate` would.
    pub(crate) async fn command(&self, token: &str) -> Result<()> {
        let annotations = json!({ fairlead_crds::annotation::COMMAND: token });
        self.patch_canary(json!({ "metadata": { "annotations": annotations } }))
            .await
    }

    /// Edits the Canary, as `kubectl patch` would.
    pub(crate) async fn patch_canary(&self, patch: Value) -> Result<()> {
        let params = PatchParams {
            field_manager: Some("a-person".to_owned()),
            ..PatchParams::default()
        };
        self.canaries()
            .patch("podinfo", &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Gives workloads so many seconds to become ready from now on. Little makes a story quick that
    /// waits for the deadline, and would fail a good revision on a slow machine.
    pub(crate) async fn allow_progress(&self, seconds: u32) -> Result<()> {
        self.patch_canary(json!({ "spec": { "progressDeadlineSeconds": seconds } }))
            .await
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
        let ended = tokio::time::timeout(PATIENCE, Box::pin(waiting)).await;
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

    /// Waits until the Deployment `name` has ready pods as it is now.
    pub(crate) async fn until_ready(&self, name: &str) -> Result<()> {
        let ready = |found: &Deployment| {
            found.status.as_ref().is_some_and(|status| {
                let seen = status.observed_generation == found.metadata.generation;
                seen && status.ready_replicas > Some(0)
            })
        };
        self.until_deployment(name, ready).await?;
        Ok(())
    }

    /// The same, until requests to `service` reach them too: endpoints are published after that
    /// status.
    pub(crate) async fn until_reachable(&self, deployment: &str, service: &str) -> Result<()> {
        self.until_ready(deployment).await?;
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let leads =
            |slice: &EndpointSlice| !slice.endpoints.as_deref().unwrap_or_default().is_empty();
        let found = wait::until(&api, service, "with an endpoint", PATIENCE, leads).await;
        found.with_context(|| format!("waiting for endpoints of {service}: {}", self.log()))?;
        Ok(())
    }

    /// The image of a workload's first container.
    pub(crate) async fn image(&self, name: &str) -> Result<String> {
        let workload = self.workloads().get(name).await?;
        Ok(target::image(&workload.data["spec"]))
    }

    /// The pods that a workload asks for.
    pub(crate) async fn size(&self, name: &str) -> Result<i64> {
        let workload = self.workloads().get(name).await?;
        Ok(self.target.size(&workload.data["spec"]))
    }

    /// The end of the operator's log, without what all lines have in common.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.operator.log).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(told).collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// What the end of every story must be like.
    pub(crate) async fn check_rest(&self, image: &str) -> Result<()> {
        self.history.settled(&self.client).await?;
        let weights = self.history.weights();
        if weights.last() != Some(&0) {
            bail!("the weights ended as {weights:?}");
        }
        let (primary, size) = (
            self.image("podinfo-primary").await?,
            self.size("podinfo").await?,
        );
        if primary != image || size != 0 {
            bail!("the primary runs {primary}, the canary has size {size}");
        }
        self.history.judge()
    }
}

/// A line of a log: when, what, and on what.
fn told(line: &str) -> String {
    let Ok(read) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    let fields = [
        "timestamp",
        "level",
        "message",
        "number",
        "method",
        "path",
        "error",
    ];
    let told = fields.iter().filter_map(|field| read.get(field));
    let told: Vec<String> = told.map(ToString::to_string).collect();
    told.join(" ")
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

/// Whether a command is the one that was seen last.
pub(crate) fn has_heard(canary: &Canary, token: &str) -> bool {
    let status = canary.status.as_ref();
    status.and_then(|status| status.last_handled.as_deref()) == Some(token)
}

/// What became of the command that was seen last.
pub(crate) fn newest_command(canary: &Canary) -> Result<CommandStatus> {
    let rollout = canary.status.clone().unwrap_or_default().rollout;
    let commands = rollout.unwrap_or_default().commands;
    commands.into_iter().next().context("no command")
}
