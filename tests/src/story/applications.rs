//! Git holds the applications; a GitRepository and a Kustomization bring them into the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fairlead_crds::kustomization::Kustomization;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};

use super::{COMES_UP, MESH, SYSTEM, Stage};
use crate::forward::Forward;
use crate::git::WorkingCopy;
use crate::load::{Load, Plan};
use crate::{manifest, wait};

/// The repository under test, reachable through a port-forward.
#[derive(Debug)]
pub struct Repository {
    copy: WorkingCopy,
    // The pushes go through it.
    _forward: Forward,
}

/// Starts the git server and the Slack receiver.
pub async fn serve(stage: &Stage) -> anyhow::Result<()> {
    let mut values = stage.images.clone();
    values.insert("notify".to_owned(), format!("{SYSTEM}/apps"));
    for template in [
        include_str!("../../manifests/git-server.yaml"),
        include_str!("../../manifests/slack-receiver.yaml"),
    ] {
        manifest::apply(&stage.client, &manifest::fill(template, &values)?).await?;
    }
    for name in ["git-server", "slack-receiver"] {
        available(&stage.client, SYSTEM, name).await?;
    }
    Ok(())
}

/// Waits until a Deployment has all its pods available.
pub async fn available(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Deployment> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    wait::until(
        &deployments,
        name,
        "all pods are available",
        COMES_UP,
        |deployment| {
            let wanted = deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(1);
            deployment.status.as_ref().is_some_and(|status| {
                status.observed_generation == deployment.metadata.generation
                    && status.updated_replicas.unwrap_or(0) == wanted
                    && status.available_replicas.unwrap_or(0) == wanted
            })
        },
    )
    .await
}

impl Repository {
    /// Opens the way to the git server, with the examples as first content, not yet pushed.
    pub async fn open(stage: &Stage) -> anyhow::Result<Self> {
        let forward = Forward::open(&stage.client, SYSTEM, "app=git-server", 8080).await?;
        let url = format!("http://{}/apps.git", forward.address());
        let copy = WorkingCopy::new(&url).await?;
        for application in ["podinfo", "bookinfo"] {
            copy.copy_from(
                &stage.checkout.join("examples").join(application),
                application,
            )?;
        }
        copy.write(
            "kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
             resources: [podinfo, bookinfo]\n",
        )?;
        Ok(Self {
            copy,
            _forward: forward,
        })
    }

    /// Points an application's `kustomization.yaml` at another image, as a release does.
    pub fn set_image(&self, application: &str, from: &str, image: &str) -> anyhow::Result<()> {
        let (name, tag) = image.rsplit_once(':').context("an image without a tag")?;
        let file = format!("{application}/kustomization.yaml");
        let path = self.copy.path().join(&file);
        let mut value: serde_yaml_ng::Value =
            serde_yaml_ng::from_str(&std::fs::read_to_string(path)?)?;
        value["images"] = serde_yaml_ng::to_value([BTreeMap::from([
            ("name", from),
            ("newName", name),
            ("newTag", tag),
        ])])?;
        self.copy.write(&file, &serde_yaml_ng::to_string(&value)?)
    }

    /// Writes one file of the working copy.
    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        self.copy.write(file, text)
    }

    /// Commits and pushes all changes; the server's hook tells the GitRepository. Returns the
    /// commit's id.
    pub async fn push(&self, message: &str) -> anyhow::Result<String> {
        self.copy.push(message, &[]).await
    }

    /// As [`Self::push`], but nobody is told: the commit is found by polling.
    pub async fn push_quietly(&self, message: &str) -> anyhow::Result<String> {
        self.copy.push(message, &["quiet"]).await
    }
}

/// Lets git into the cluster: the GitRepository, the Kustomization, and the Secret that git must
/// not hold.
pub async fn connect(stage: &Stage) -> anyhow::Result<()> {
    let client = &stage.client;
    manifest::apply(client, &stage.read("examples/podinfo/namespace.yaml")?).await?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("slack".to_owned()),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from([(
            "address".to_owned(),
            format!("http://slack-receiver.{SYSTEM}.svc/services/T0/B0/example"),
        )])),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "podinfo");
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => return Err(error).context("failed to create the Secret `slack`"),
    }
    manifest::apply(client, &stage.read("examples/gitops/source.yaml")?).await?;
    manifest::apply(client, &stage.read("examples/gitops/kustomization.yaml")?).await
}

/// Waits until `commit` is applied.
pub async fn applied(client: &Client, commit: &str, deadline: Duration) -> anyhow::Result<()> {
    let kustomizations: Api<Kustomization> = Api::namespaced(client.clone(), SYSTEM);
    let what = format!("commit {commit} is applied");
    wait::until(&kustomizations, "apps", &what, deadline, |kustomization| {
        let revision = kustomization
            .status
            .as_ref()
            .and_then(|s| s.last_applied_revision.as_deref());
        revision.is_some_and(|revision| revision.ends_with(commit))
    })
    .await
    .map(drop)
}

/// Checks that each running pod of a namespace has its sidecar, and returns how many there are.
pub async fn sidecars(client: &Client, namespace: &str) -> anyhow::Result<usize> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let labels = namespaces
        .get(namespace)
        .await?
        .metadata
        .labels
        .unwrap_or_default();
    ensure!(
        labels
            .get("istio-injection")
            .is_some_and(|value| value == "enabled"),
        "namespace `{namespace}` is not labelled for injection"
    );
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&ListParams::default()).await?.items;
    for pod in &pods {
        let spec = pod.spec.as_ref().context("a pod without spec")?;
        let mut containers = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten());
        ensure!(
            containers.any(|container| container.name == "istio-proxy"),
            "pod `{}` has no sidecar",
            pod.name_any()
        );
    }
    Ok(pods.len())
}

/// Sends requests through the gateway to bookinfo, and tells who called whom by which identity:
/// destination workload to source principal and number of requests.
///
/// # Errors
/// A request that failed, a hop that was not over mutual TLS, or a workload that was not called.
pub async fn identities(stage: &Stage) -> anyhow::Result<BTreeMap<String, (String, u64)>> {
    let load = Load::start(
        &stage.client,
        &Plan::bookinfo("bookinfo-load", 20),
        &stage.images,
    )
    .await?;
    let (client, what) = (
        &stage.client,
        "each of the six workloads was called over mutual TLS",
    );
    let found = wait::poll(client, MESH, what, Duration::from_secs(60), async || {
        let found = callers(stage).await?;
        Ok((found.len() >= BOOKINFO.len()).then_some(found))
    })
    .await?;
    let counts = load.stop().await?;
    ensure!(
        counts.errors == 0,
        "{} of {} requests failed",
        counts.errors,
        counts.requests
    );
    Ok(found)
}

async fn callers(stage: &Stage) -> anyhow::Result<BTreeMap<String, (String, u64)>> {
    let sum = "sum by (destination_workload, source_principal, connection_security_policy) \
               (istio_requests_total{reporter=\"destination\", \
               destination_workload_namespace=\"bookinfo\"})";
    let mut callers = BTreeMap::new();
    for series in query(stage, sum).await? {
        let label = |name: &str| {
            series["metric"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let (workload, principal) = (label("destination_workload"), label("source_principal"));
        ensure!(
            label("connection_security_policy") == "mutual_tls"
                && principal.starts_with("spiffe://"),
            "`{workload}` was called without mutual TLS: {series}"
        );
        let count = series["value"][1]
            .as_str()
            .and_then(|value| value.parse::<f64>().ok());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter of whole requests"
        )]
        callers.insert(workload, (principal, count.unwrap_or(0.0) as u64));
    }
    Ok(callers)
}

/// The workloads of the bookinfo example.
pub const BOOKINFO: [&str; 6] = [
    "productpage-v1",
    "details-v1",
    "reviews-v1",
    "reviews-v2",
    "reviews-v3",
    "ratings-v1",
];

/// The messages that reached the Slack receiver.
pub async fn messages(stage: &Stage) -> anyhow::Result<Vec<serde_json::Value>> {
    let forward = Forward::open(&stage.client, SYSTEM, "app=slack-receiver", 8080).await?;
    let url = format!("http://{}/messages", forward.address());
    Ok(reqwest::get(url).await?.error_for_status()?.json().await?)
}

/// Asks Prometheus for the instant value of `query`.
pub async fn query(stage: &Stage, query: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let forward = Forward::open(&stage.client, MESH, "app=prometheus", 9090).await?;
    let url = format!("http://{}/api/v1/query", forward.address());
    let http = reqwest::Client::new();
    let answer: serde_json::Value = http
        .get(url)
        .query(&[("query", query)])
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    let result = answer
        .pointer("/data/result")
        .and_then(|result| result.as_array());
    result
        .cloned()
        .with_context(|| format!("Prometheus answered {answer}"))
}
