//! What people do while no operator looks, and how a rollout must end then.

use std::time::Duration;

use anyhow::{Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use fairlead_runtime::clock;
use fairlead_tests::players::routes_resource;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use super::play::Release;
use crate::history::{Fact, Role, Versions};
use crate::stage::{PATIENCE, Scene};

/// How long a suspended rollout is watched.
const SUSPENDED: Duration = Duration::from_millis(700);
/// What stands so long is the end.
const STILL: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(100);

/// An edit of the target or of the Canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edit {
    /// A third revision.
    NewRevision,
    /// The first revision again.
    Revert,
    /// Another pace, and a field that the routes follow.
    Spec,
    /// `spec.suspend`, for a while.
    Suspension,
    /// The Canary goes, and gives back.
    Deletion,
}

impl Edit {
    pub(super) const ALL: [Self; 5] = [
        Self::NewRevision,
        Self::Revert,
        Self::Spec,
        Self::Suspension,
        Self::Deletion,
    ];

    /// What has to stand in the Canary from the beginning.
    pub(super) fn foresee(self, spec: &mut Value) {
        if self == Self::Deletion {
            spec["revertOnDeletion"] = json!(true);
        }
    }

    /// Makes the edit; where there is no second revision yet, there is nothing to revert.
    pub(super) async fn make(self, scene: &Scene, release: Release) -> Result<()> {
        match self {
            Self::NewRevision => scene.apply_target("podinfo:3").await,
            Self::Revert if release == Release::Due => Ok(()),
            Self::Revert => scene.apply_target("podinfo:1").await,
            Self::Spec => {
                let spec = json!({
                    "analysis": { "interval": "130ms" }, "service": { "timeout": "9s" },
                });
                scene.patch_canary(json!({ "spec": spec })).await
            }
            Self::Suspension => suspend(scene, true).await,
            Self::Deletion => scene.delete_canary().await,
        }
    }

    /// Waits for what must follow once an operator looks again, until the rollout may go on.
    pub(super) async fn settle(self, scene: &Scene) -> Result<Onward> {
        match self {
            Self::NewRevision | Self::Revert | Self::Spec => Ok(Onward::Going),
            Self::Suspension => {
                scene.history.settled(&scene.client).await?;
                let before = made(&scene.history.versions());
                tokio::time::sleep(SUSPENDED).await;
                let after = made(&scene.history.versions());
                ensure!(
                    before == after,
                    "suspended, but {before:#?} became {after:#?}"
                );
                suspend(scene, false).await?;
                Ok(Onward::Going)
            }
            Self::Deletion => {
                scene.until_gone().await?;
                Ok(Onward::Over)
            }
        }
    }
}

/// Whether there is still a Canary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Onward {
    Going,
    Over,
}

async fn suspend(scene: &Scene, suspend: bool) -> Result<()> {
    let spec = json!({ "suspend": suspend });
    scene.patch_canary(json!({ "spec": spec })).await
}

/// What an operator makes: neither endpoints nor the word of proxies.
fn made(versions: &Versions) -> Vec<Fact> {
    let mut made: Vec<Fact> = Vec::new();
    for fact in versions.values() {
        let fact = match fact {
            Fact::Endpoints(..) => continue,
            Fact::Route(route) => Fact::Route(route.taken()),
            Fact::Workload(..) | Fact::Phase(_) | Fact::Copy(_) => fact.clone(),
        };
        let is_news = |last: &Fact| last.concerns() == fact.concerns();
        if made.iter().rev().find(|last| is_news(last)) != Some(&fact) {
            made.push(fact);
        }
    }
    made
}

/// Waits until the primary runs what the target asks for, and all else rests.
pub(super) async fn until_rest(scene: &Scene, edit: Edit) -> Result<()> {
    let begun = clock::instant();
    let mut since = begun;
    while since.elapsed() < STILL {
        let (wanted, phase) = (scene.image("podinfo").await?, scene.history.phase());
        let rests = scene.history.image(Role::Primary).as_ref() == Some(&wanted)
            && scene.history.size(Role::Canary) == Some(0)
            && scene
                .history
                .weights()
                .last()
                .is_none_or(|weight| *weight == 0)
            && matches!(phase, CanaryPhase::Succeeded | CanaryPhase::Initialized)
            && (edit != Edit::Spec || is_followed(scene).await?);
        if !rests {
            ensure!(
                begun.elapsed() < PATIENCE,
                "it does not rest with {wanted}: {phase:?}"
            );
            since = clock::instant();
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Whether the routes have the timeout that the spec was given.
async fn is_followed(scene: &Scene) -> Result<bool> {
    let routes = routes(scene).await?;
    Ok(routes["http"][0]["timeout"] == "9s")
}

/// What must be left of a Canary that is gone: a target of its full size, and no routes away.
pub(super) async fn check_given_back(scene: &Scene) -> Result<()> {
    let size = scene.size("podinfo").await?;
    ensure!(
        size == scene.target.full_size(),
        "the target is left with size {size}"
    );
    let routes = routes(scene).await?;
    ensure!(routes.is_null(), "routes are left: {routes}");
    Ok(())
}

/// The routes to the apex in the mesh.
async fn routes(scene: &Scene) -> Result<Value> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &routes_resource());
    let found = api.get_opt("podinfo").await?;
    Ok(found
        .map(|found| found.data["spec"].clone())
        .unwrap_or_default())
}
