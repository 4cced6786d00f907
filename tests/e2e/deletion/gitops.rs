//! Sources and Kustomizations that are deleted while they are busy.

use anyhow::Result;
use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::source::GitRepository;
use fairlead_tests::story::applications::{self, Repository};
use fairlead_tests::story::{COMES_UP, Stage};
use fairlead_tests::{manifest, wait};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use super::{GONE_WITHIN, NAMESPACE};

/// Far more patience with the server than a deletion may take.
const UNANSWERED: &str = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
                          metadata: {name: unanswered, namespace: deletion}\n\
                          spec:\n  interval: 1m\n  timeout: 10m\n  \
                          url: http://git-server.fairlead-system.svc:8080/silent.git\n";

/// Far more patience with the objects than a deletion may take.
const UNHEALTHY: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
                         metadata: {name: unhealthy, namespace: deletion}\n\
                         spec:\n  interval: 1m\n  prune: true\n  wait: true\n  timeout: 10m\n  \
                         path: ./unhealthy\n  \
                         sourceRef: {kind: GitRepository, name: apps, namespace: fairlead-system}\n";

/// Its image is on no machine.
const NEVER_READY: &str = "apiVersion: apps/v1\nkind: Deployment\n\
                           metadata: {name: never-ready, namespace: deletion}\n\
                           spec:\n  selector: {matchLabels: {app: never-ready}}\n  template:\n    \
                           metadata: {labels: {app: never-ready}}\n    spec:\n      containers:\n        \
                           - {name: none, image: 'localhost/none:0', imagePullPolicy: Never}\n";

pub(super) async fn unanswered(stage: &Stage) -> Result<()> {
    manifest::apply(&stage.client, UNANSWERED).await?;
    let sources: Api<GitRepository> = Api::namespaced(stage.client.clone(), NAMESPACE);
    // The last thing that is written before the server is asked.
    wait::until(
        &sources,
        "unanswered",
        "it has its finalizer",
        COMES_UP,
        |source| source.metadata.finalizers.is_some(),
    )
    .await?;
    manifest::delete(&stage.client, UNANSWERED).await?;
    wait::until_gone(&sources, "unanswered", GONE_WITHIN).await
}

pub(super) async fn unhealthy(stage: &Stage, repository: &Repository) -> Result<()> {
    repository.write("unhealthy/deployment.yaml", NEVER_READY)?;
    let commit = repository.push("a workload that does not start").await?;
    applications::applied(&stage.client, &commit, COMES_UP).await?;
    manifest::apply(&stage.client, UNHEALTHY).await?;
    let kustomizations: Api<Kustomization> = Api::namespaced(stage.client.clone(), NAMESPACE);
    wait::until(
        &kustomizations,
        "unhealthy",
        "it waits for health",
        COMES_UP,
        |kustomization| {
            let status = kustomization.status.as_ref();
            let mut conditions = status.iter().flat_map(|status| &status.conditions);
            conditions.any(|condition| condition.message.starts_with("Running health checks"))
        },
    )
    .await?;
    manifest::delete(&stage.client, UNHEALTHY).await?;
    wait::until_gone(&kustomizations, "unhealthy", GONE_WITHIN).await?;
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), NAMESPACE);
    wait::until_gone(&deployments, "never-ready", GONE_WITHIN).await
}
