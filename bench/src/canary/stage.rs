//! The API server, the crowd, and the canaries that release on it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fairlead_crds::canary::{AlertProvider, Canary, CanaryPhase, MetricTemplate};
use fairlead_runtime::clock;
use fairlead_tests::operator::Operator;
use fairlead_tests::tools::workspace;
use fairlead_tests::world::{self, World};
use fairlead_tests::{ApiServer, manifest, wait};
use kube::Client;
use kube::api::{Api, ApiResource};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::INTERVAL;
use super::crowd::Crowd;
use super::observer::Observer;

/// Canaries of a namespace, as teams have them: a list of a namespace's objects costs by their number.
const NEIGHBOURS: usize = 20;
/// The controller's name in the audit log.
pub(crate) const CONTROLLER: &str = "controller";
/// How long anything may take before the measurement is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Whose rollouts are measured.
#[derive(Debug, Clone)]
pub(crate) enum Controller {
    /// Ours.
    Fairlead,
    /// Flagger, by its program.
    Flagger(PathBuf),
}

impl Controller {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Fairlead => "fairlead",
            Self::Flagger(_) => "flagger",
        }
    }
}

/// Everything that is played on.
pub(crate) struct Stage {
    pub(crate) controller: Controller,
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
    pub(crate) world: World,
    pub(crate) crowd: Crowd,
    pub(crate) observer: Observer,
    /// The base address of every canary's Prometheus.
    address: String,
    _curtain: DropGuard,
}

impl Stage {
    /// Starts all but the controller.
    pub(crate) async fn open(controller: Controller) -> Result<Self> {
        let server = ApiServer::start_audited().await?;
        let client = server.client().await?;
        let definitions = workspace().join("crds");
        for entry in std::fs::read_dir(&definitions)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                manifest::apply(&client, &std::fs::read_to_string(&path)?).await?;
            }
        }
        // Flagger ends where one of them is not served yet.
        for kind in [
            ApiResource::erase::<Canary>(&()),
            ApiResource::erase::<MetricTemplate>(&()),
            ApiResource::erase::<AlertProvider>(&()),
        ] {
            wait::until_served(&client, &kind, PATIENCE).await?;
        }
        let world = World::default();
        let address = world::serve(world.clone()).await?;
        let curtain = CancellationToken::new();
        Ok(Self {
            crowd: Crowd::start(&client, &curtain),
            observer: Observer::watch(&client, curtain.clone()),
            controller,
            server,
            client,
            world,
            address,
            _curtain: curtain.drop_guard(),
        })
    }

    /// Starts the controller.
    pub(crate) fn start(&self) -> Result<Child> {
        let kubeconfig = self.server.kubeconfig_of(CONTROLLER)?;
        match &self.controller {
            Controller::Fairlead => Operator {
                collector: String::new(),
                trusts_stamps: false,
                kubeconfig,
                namespace: String::new(),
                // Each start is another pod's, as when a node is lost.
                pod: format!("operator-{:08x}", rand::random::<u32>()),
                metrics_server: self.address.clone(),
                log: self.log(),
            }
            .start(None),
            Controller::Flagger(program) => {
                let log = std::fs::File::create(self.log())?;
                Command::new(program)
                    .arg(format!("-kubeconfig={}", kubeconfig.display()))
                    .arg(format!("-metrics-server={}", self.address))
                    .args(["-mesh-provider=istio", "-log-level=info", "-port=0"])
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    .kill_on_drop(true)
                    .spawn()
                    .with_context(|| format!("failed to start `{}`", program.display()))
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.server.folder().join("controller.log")
    }

    /// The end of the controller's log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Makes a canary that climbs by steps while a metric is good, with its target, and waits until
    /// it is initialized.
    pub(crate) async fn initialize(&self, name: &str, step: u8, max: u8) -> Result<()> {
        let analysis = format!(
            "{{interval: {}s, threshold: 1, stepWeight: {step}, maxWeight: {max}, \
             metrics: [{{name: request-success-rate, interval: 1m, thresholdRange: {{min: 99}}}}]}}",
            INTERVAL.as_secs()
        );
        self.initialize_by(name, &analysis).await
    }

    /// The same, with an analysis of one's own, in YAML's flow style.
    pub(crate) async fn initialize_by(&self, name: &str, analysis: &str) -> Result<()> {
        let namespace = home(name);
        make_namespace(&self.client, &namespace).await?;
        self.release(name, 1).await?;
        let address = &self.address;
        let canary = format!(
            "apiVersion: flagger.app/v1beta1\nkind: Canary\n\
             metadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}\n  \
             progressDeadlineSeconds: 120\n  service: {{port: 9898}}\n  \
             metricsServer: {address}/{name}\n  analysis: {analysis}\n"
        );
        manifest::apply(&self.client, &canary).await?;
        self.until_phase(name, CanaryPhase::Initialized).await
    }

    /// Applies the target with another image, as git would: four pods for each role.
    pub(crate) async fn release(&self, name: &str, version: usize) -> Result<()> {
        let namespace = home(name);
        let replicas = if version == 1 { "  replicas: 4\n" } else { "" };
        let target = format!(
            "apiVersion: apps/v1\nkind: Deployment\n\
             metadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n{replicas}  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
             metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers:\n        \
             - {{name: app, image: 'app:{version}'}}\n"
        );
        manifest::apply(&self.client, &target).await
    }

    /// Releases, and waits for the first weight above zero.
    pub(crate) async fn first_weight(&self, name: &str, version: usize) -> Result<Instant> {
        let released = clock::instant();
        self.release(name, version).await?;
        let weighted = self.observer.first(name, released, |weight| weight > 0);
        weighted.await
    }

    /// Waits for a phase.
    pub(crate) async fn until_phase(&self, name: &str, phase: CanaryPhase) -> Result<()> {
        let api: Api<Canary> = Api::namespaced(self.client.clone(), &home(name));
        let what = format!("phase {phase}");
        wait::until(&api, name, &what, PATIENCE, |canary| {
            canary.status.as_ref().and_then(|status| status.phase) == Some(phase)
        })
        .await
        .map(drop)
        .with_context(|| format!("the controller's log ends: {}", self.last_words()))
    }
}

/// The namespace of a canary: the number in its name tells.
pub(crate) fn home(canary: &str) -> String {
    let number = canary.rsplit('-').next();
    let number: usize = number.and_then(|number| number.parse().ok()).unwrap_or(0);
    format!("bench-{}", number / NEIGHBOURS)
}

async fn make_namespace(client: &Client, name: &str) -> Result<()> {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    manifest::apply(client, &namespace).await
}
