//! Each kind is deleted in the middle of its work: it goes soon, what it made goes with it, and
//! traffic is where it belongs.

mod canary;
mod gitops;
mod mesh;

use std::time::Duration;

use anyhow::Result;
use fairlead_tests::story::applications::Repository;
use fairlead_tests::story::{COMES_UP, Stage};
use fairlead_tests::{manifest, wait};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

use crate::neighbour::Neighbour;
use crate::suite::Suite;

pub(crate) use mesh::install_and_delete;

const NAMESPACE: &str = "deletion";
/// How soon what is deleted must be gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);

pub(crate) async fn tell(
    stage: &Stage,
    suite: &mut Suite,
    repository: &Repository,
    neighbour: &Neighbour,
) {
    let namespace = format!(
        "apiVersion: v1\nkind: Namespace\n\
         metadata: {{name: {NAMESPACE}, labels: {{istio-injection: enabled}}}}\n"
    );
    suite
        .needed(
            "a namespace for deletions",
            manifest::apply(&stage.client, &namespace),
        )
        .await;
    suite
        .story(
            "a GitRepository is deleted while its server does not answer",
            neighbour.unharmed(gitops::unanswered(stage)),
        )
        .await;
    suite
        .story(
            "a Kustomization is deleted while it waits for health, and takes its objects along",
            neighbour.unharmed(gitops::unhealthy(stage, repository)),
        )
        .await;
    suite
        .story(
            "a Canary is deleted in the middle of its rollout, and the target serves",
            neighbour.unharmed(canary::released(stage)),
        )
        .await;
    suite
        .story(
            "a VirtualService and a Gateway are deleted before the proxies have them",
            neighbour.unharmed(mesh::routes(stage)),
        )
        .await;
    suite
        .story(
            "the namespace of deletions goes with all that is in it",
            neighbour.unharmed(let_go(stage)),
        )
        .await;
}

async fn let_go(stage: &Stage) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces.delete(NAMESPACE, &Default::default()).await?;
    wait::until_gone(&namespaces, NAMESPACE, COMES_UP).await
}
