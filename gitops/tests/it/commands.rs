//! Commands to Canaries that come from git: by the account that applies them, with its rights.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_crds::annotation::{COMMAND, COMMANDED_BY};
use fairlead_crds::canary::Canary;
use fairlead_crds::kustomization::Kustomization;
use fairlead_tests::{chart, manifest};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use serde_json::json;

use crate::world::{DEADLINE, World, config_map};

/// An account that may apply Canaries, but not steer them.
const ROBOT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: robot, namespace: team}
rules:
  - {apiGroups: [''], resources: [configmaps], verbs: ['*']}
  - apiGroups: [flagger.app]
    resources: [canaries]
    verbs: [get, list, watch, create, patch, delete]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: robot, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: robot}
subjects: [{kind: ServiceAccount, name: robot, namespace: team}]
";

const MAY_STEER: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: robot-steers, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fairlead-steer}
subjects: [{kind: ServiceAccount, name: robot, namespace: team}]
";

/// A Canary in git, with a command or without.
fn canary(command: Option<&str>) -> String {
    let annotations: BTreeMap<_, _> = command.map(|token| (COMMAND, token)).into_iter().collect();
    json!({
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": { "name": "podinfo", "namespace": "team", "annotations": annotations },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "service": { "port": 80 },
            "analysis": { "interval": "10s", "threshold": 1, "stepWeight": 10, "maxWeight": 50 },
        },
    })
    .to_string()
}

/// Waits until the API server refuses and stamps; it tells nobody when it does.
async fn until_in_force(canaries: &Api<Canary>) {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let made = async |command| {
        let canary = serde_json::from_str(&canary(Some(command))).unwrap();
        canaries.create(&dry, &canary).await
    };
    let in_force = async {
        loop {
            let stamped = made("pause@probe").await.unwrap();
            if stamped.annotations().contains_key(COMMANDED_BY) && made("stop@probe").await.is_err()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, in_force)
        .await
        .expect("the policies are in force");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_command_from_git_needs_the_right_of_its_account_once() {
    let world = World::start().await;
    let canaries: Api<Canary> = world.api();
    let policies = chart::render(&[
        "--kube-version=1.36.0",
        "--show-only=templates/steering.yaml",
    ]);
    let policies = policies.unwrap();
    for yaml in [&policies, ROBOT] {
        manifest::apply(&world.client, yaml).await.unwrap();
    }
    until_in_force(&canaries).await;

    let commit = world
        .git
        .commit(&[("canary.yaml", Some(&canary(None)))], "first");
    world
        .deploy("", json!({ "serviceAccountName": "robot" }))
        .await;
    world.applied("app", &format!("main@sha1:{commit}")).await;

    world
        .push(&[("canary.yaml", Some(&canary(Some("pause@1"))))])
        .await;
    let message = world.failed("app", "ReconciliationFailed").await;
    let refused = "`system:serviceaccount:team:robot` may not give the command `pause` to Canary \
                   `team/podinfo`";
    assert!(message.contains(refused), "{message}");

    manifest::apply(&world.client, MAY_STEER).await.unwrap();
    let map = config_map("a", "one");
    let revision = world.push(&[("map.yaml", Some(&map))]).await;
    world.applied("app", &revision).await;
    let commanded = canaries.get("podinfo").await.unwrap();
    let stamp = "system:serviceaccount:team:robot pause@1";
    assert_eq!(commanded.annotations()[COMMANDED_BY], stamp);

    // The right goes, and git shows the command on and on: nobody asks for it, nothing is written.
    let bindings = &manifest::parse(MAY_STEER).unwrap()[0];
    let bindings: Api<DynamicObject> = manifest::api_of(&world.client, bindings).await.unwrap();
    bindings
        .delete("robot-steers", &DeleteParams::default())
        .await
        .unwrap();
    world.request::<Kustomization>("app", "again").await;
    let revision = world.push(&[("map.yaml", None)]).await;
    world.applied("app", &revision).await;
    let shown = canaries.get("podinfo").await.unwrap();
    assert_eq!(shown.resource_version(), commanded.resource_version());
}
