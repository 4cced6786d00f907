//! The binary from a push to objects in a cluster.

use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::source::GitRepository;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::git_server::{Access, GitServer};
use crate::world::{NAMESPACE, World, condition, config_map};

fn key(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("key").map(String::as_str)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_push_is_applied_changed_pruned_and_cleaned_up() {
    let world = World::start().await;
    let maps = world.api::<ConfigMap>();
    let commit = world.git.commit(
        &[
            ("apps/a.yaml", Some(&config_map("a", "one"))),
            ("apps/b.yaml", Some(&config_map("b", "two"))),
        ],
        "first",
    );
    world.deploy("./apps", json!({})).await;
    let object = world.applied("app", &format!("main@sha1:{commit}")).await;
    let status = object.status.unwrap();
    let entries: Vec<_> = status
        .inventory
        .unwrap()
        .entries
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(entries, ["team_a__ConfigMap", "team_b__ConfigMap"]);
    assert_eq!(
        condition(&status.conditions, "Ready").unwrap().message,
        format!("Applied revision: main@sha1:{commit}")
    );
    assert_eq!(status.observed_generation, object.metadata.generation);
    let a = maps.get("a").await.unwrap();
    assert_eq!(key(&a), Some("one"));
    assert_eq!(
        a.metadata.labels.unwrap()["kustomize.toolkit.fluxcd.io/name"],
        "app"
    );

    let revision = world
        .push(&[
            ("apps/a.yaml", Some(&config_map("a", "three"))),
            ("apps/b.yaml", None),
        ])
        .await;
    world.applied("app", &revision).await;
    assert_eq!(key(&maps.get("a").await.unwrap()), Some("three"));
    assert!(maps.get_opt("b").await.unwrap().is_none());
    let source = world
        .api::<GitRepository>()
        .get("repo")
        .await
        .unwrap()
        .status
        .unwrap();
    let token = source.last_handled_reconcile_at.unwrap();
    assert_eq!(format!("main@sha1:{token}"), revision);
    assert_eq!(source.artifact.unwrap().revision, revision);

    world
        .api::<Kustomization>()
        .delete("app", &DeleteParams::default())
        .await
        .unwrap();
    fairlead_tests::wait::until_gone(&world.api::<Kustomization>(), "app", crate::world::DEADLINE)
        .await
        .unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_broken_commit_leaves_the_last_good_state() {
    let world = World::start().await;
    let commit = world
        .git
        .commit(&[("a.yaml", Some(&config_map("a", "one")))], "first");
    world.deploy("", json!({})).await;
    let good = format!("main@sha1:{commit}");
    world.applied("app", &good).await;

    world
        .push(&[
            ("bad.yaml", Some("kind: [\n")),
            ("a.yaml", Some(&config_map("a", "two"))),
        ])
        .await;
    let message = world.failed("app", "BuildFailed").await;
    assert!(
        message.contains("failed to read `bad.yaml`: line "),
        "{message}"
    );
    assert_eq!(
        key(&world.api::<ConfigMap>().get("a").await.unwrap()),
        Some("one")
    );

    let refused = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name, namespace: team}\n";
    world.push(&[("bad.yaml", Some(refused))]).await;
    let message = world.failed("app", "ReconciliationFailed").await;
    assert!(
        message.contains("ConfigMap/team/Bad_Name in `bad.yaml` (document 1, line 1): "),
        "{message}"
    );
    assert_eq!(
        key(&world.api::<ConfigMap>().get("a").await.unwrap()),
        Some("one"),
        "nothing of the stage is written"
    );
    let status = world
        .api::<Kustomization>()
        .get("app")
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.last_applied_revision.as_deref(), Some(good.as_str()));

    let revision = world.push(&[("bad.yaml", None)]).await;
    world.applied("app", &revision).await;
    assert_eq!(
        key(&world.api::<ConfigMap>().get("a").await.unwrap()),
        Some("two")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn definitions_and_namespaces_come_before_what_needs_them() {
    let world = World::start().await;
    let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.org}\nspec:\n  group: example.org\n  scope: Namespaced\n  names: {kind: Thing, plural: things}\n  versions:\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n";
    let thing =
        "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: thing, namespace: fresh}\n";
    let commit = world.git.commit(
        &[
            ("a-thing.yaml", Some(thing)),
            ("z-crd.yaml", Some(crd)),
            (
                "z-ns.yaml",
                Some("apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n"),
            ),
        ],
        "first",
    );
    world.deploy("", json!({})).await;
    let object = world.applied("app", &format!("main@sha1:{commit}")).await;
    let entries: Vec<_> = object
        .status
        .unwrap()
        .inventory
        .unwrap()
        .entries
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(
        entries,
        [
            "_fresh__Namespace",
            "_things.example.org_apiextensions.k8s.io_CustomResourceDefinition",
            "fresh_thing_example.org_Thing"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn markers_on_live_objects_are_obeyed() {
    let world = World::start().await;
    let maps = world.api::<ConfigMap>();
    let commit = world.git.commit(
        &[
            ("a.yaml", Some(&config_map("a", "one"))),
            ("b.yaml", Some(&config_map("b", "one"))),
        ],
        "first",
    );
    world.deploy("", json!({})).await;
    world.applied("app", &format!("main@sha1:{commit}")).await;
    for (name, marker) in [
        ("a", "kustomize.toolkit.fluxcd.io/reconcile"),
        ("b", "kustomize.toolkit.fluxcd.io/prune"),
    ] {
        let patch =
            json!({"metadata": {"annotations": {marker: "disabled"}}, "data": {"extra": "mine"}});
        maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }
    let revision = world
        .push(&[("a.yaml", Some(&config_map("a", "two"))), ("b.yaml", None)])
        .await;
    world.applied("app", &revision).await;
    assert_eq!(key(&maps.get("a").await.unwrap()), Some("one"));
    assert_eq!(key(&maps.get("b").await.unwrap()), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn health_is_watched_and_a_newer_revision_ends_the_wait() {
    let world = World::start().await;
    let deployment = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {NAMESPACE}}}\nspec:\n  replicas: 1\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: web, image: '{image}'}}]}}\n"
        )
    };
    world
        .git
        .commit(&[("web.yaml", Some(&deployment("web:1")))], "first");
    world
        .deploy("", json!({"wait": true, "timeout": "10m"}))
        .await;
    let kustomizations = world.api::<Kustomization>();
    let is_waiting = |object: &Kustomization| {
        object
            .status
            .as_ref()
            .and_then(|status| condition(&status.conditions, "Reconciling"))
            .is_some_and(|condition| condition.message.starts_with("Running health checks"))
    };
    world
        .until(&kustomizations, "app", "it waits for health", is_waiting)
        .await;
    let revision = world
        .push(&[("web.yaml", Some(&deployment("web:2")))])
        .await;
    let deployments = world.api::<Deployment>();
    let web = world
        .until(&deployments, "web", "the newer image is applied", |web| {
            let pod = web
                .spec
                .as_ref()
                .and_then(|spec| spec.template.spec.as_ref());
            pod.is_some_and(|pod| pod.containers[0].image.as_deref() == Some("web:2"))
        })
        .await;
    let status = json!({"status": {"observedGeneration": web.metadata.generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}});
    deployments
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    let object = world.applied("app", &revision).await;
    assert_eq!(
        condition(&object.status.unwrap().conditions, "Healthy")
            .unwrap()
            .status,
        "True"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn dependants_follow_at_once_and_variables_are_filled_in() {
    let world = World::start().await;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '${NAME}'}\ndata: {key: '${VALUE:=default}'}\n";
    let commit = world.git.commit(
        &[
            ("base/a.yaml", Some(&config_map("a", "one"))),
            ("app/x.yaml", Some(map)),
        ],
        "first",
    );
    let revision = format!("main@sha1:{commit}");
    world.deploy("app", json!({"dependsOn": [{"name": "base"}], "targetNamespace": NAMESPACE, "namePrefix": "p-",
        "postBuild": {"substitute": {"NAME": "filled"}}})).await;
    assert_eq!(
        world.failed("app", "DependencyNotReady").await,
        "dependency 'team/base' is not ready"
    );
    world.kustomization("base", "base", json!({})).await;
    world.applied("base", &revision).await;
    world.applied("app", &revision).await;
    assert_eq!(
        key(&world.api::<ConfigMap>().get("p-filled").await.unwrap()),
        Some("default")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn what_cannot_work_is_said_and_can_be_deleted() {
    let world = World::start().await;
    world
        .git
        .commit(&[("a.yaml", Some(&config_map("a", "one")))], "first");
    world.deploy("nowhere", json!({})).await;
    assert_eq!(
        world.failed("app", "InvalidPath").await,
        "kustomization path not found: `nowhere`"
    );
    let repositories = world.api::<GitRepository>();
    world
        .apply::<GitRepository>(
            "repo",
            json!({"url": world.git.url(), "interval": "1h", "ref": {"branch": "gone"}}),
        )
        .await;
    let object = world
        .until(&repositories, "repo", "fetching fails", |object| {
            object
                .status
                .as_ref()
                .is_some_and(|status| condition(&status.conditions, "FetchFailed").is_some())
        })
        .await;
    let status = object.status.unwrap();
    let ready = condition(&status.conditions, "Ready").unwrap();
    assert!(
        ready
            .message
            .ends_with("branch `gone` is not in the repository, which has `main`"),
        "{}",
        ready.message
    );
    assert_eq!(
        condition(&status.conditions, "ArtifactInStorage")
            .unwrap()
            .status,
        "True",
        "the old artifact is kept"
    );
    assert!(status.artifact.is_some());

    world.apply::<GitRepository>("repo", json!({"url": world.git.url(), "interval": "1h", "verify": {"mode": "HEAD", "secretRef": {"name": "x"}}})).await;
    world
        .until(&repositories, "repo", "it is stalled", |object| {
            object
                .status
                .as_ref()
                .and_then(|status| condition(&status.conditions, "Stalled"))
                .is_some_and(|stalled| stalled.message.contains("`spec.verify` is not supported"))
        })
        .await;
    for name in ["app"] {
        world
            .api::<Kustomization>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        fairlead_tests::wait::until_gone(
            &world.api::<Kustomization>(),
            name,
            crate::world::DEADLINE,
        )
        .await
        .unwrap();
    }
    repositories
        .delete("repo", &DeleteParams::default())
        .await
        .unwrap();
    fairlead_tests::wait::until_gone(&repositories, "repo", crate::world::DEADLINE)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_killed_process_goes_on_where_it_was_and_drift_is_corrected() {
    let mut world = World::start().await;
    let maps: Api<ConfigMap> = world.api();
    let commit = world
        .git
        .commit(&[("a.yaml", Some(&config_map("a", "one")))], "first");
    world.deploy("", json!({})).await;
    world.applied("app", &format!("main@sha1:{commit}")).await;
    world.kill_gitops();
    let drift = json!({"data": {"key": "drifted"}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&drift))
        .await
        .unwrap();
    world.start_gitops();
    world
        .until(&maps, "a", "drift is corrected after a restart", |map| {
            key(map) == Some("one")
        })
        .await;
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&drift))
        .await
        .unwrap();
    world.request::<Kustomization>("app", "now").await;
    world
        .until(&maps, "a", "drift is corrected on request", |map| {
            key(map) == Some("one")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn immutable_objects_are_made_anew_only_by_force() {
    let world = World::start().await;
    let fixed = |value: &str| format!("{}immutable: true\n", config_map("a", value));
    let commit = world
        .git
        .commit(&[("a.yaml", Some(&fixed("one")))], "first");
    world.deploy("", json!({})).await;
    world.applied("app", &format!("main@sha1:{commit}")).await;
    let revision = world.push(&[("a.yaml", Some(&fixed("two")))]).await;
    let message = world.failed("app", "ReconciliationFailed").await;
    assert!(
        message.contains("`spec.force` lets the object be deleted and made anew"),
        "{message}"
    );
    world.kustomization("app", "", json!({"force": true})).await;
    world.applied("app", &revision).await;
    assert_eq!(
        key(&world.api::<ConfigMap>().get("a").await.unwrap()),
        Some("two")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_service_account_limits_what_is_applied() {
    let world = World::start().await;
    let client = world.client.clone();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: team}\nstringData: {key: hidden}\n";
    let commit = world.git.commit(
        &[
            ("a.yaml", Some(&config_map("a", "one"))),
            ("s.yaml", Some(secret)),
        ],
        "first",
    );
    let rules = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": NAMESPACE}]});
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let params = kube::api::PostParams::default();
    Api::<Role>::namespaced(client.clone(), NAMESPACE)
        .create(&params, &serde_json::from_value(rules).unwrap())
        .await
        .unwrap();
    Api::<RoleBinding>::namespaced(client.clone(), NAMESPACE)
        .create(&params, &serde_json::from_value(binding).unwrap())
        .await
        .unwrap();
    Api::<ServiceAccount>::namespaced(client, NAMESPACE)
        .create(&params, &serde_json::from_value(account).unwrap())
        .await
        .unwrap();
    world
        .deploy("", json!({"serviceAccountName": "robot"}))
        .await;
    let message = world.failed("app", "ReconciliationFailed").await;
    assert!(
        message.contains("Secret/team/s") && message.contains("forbidden"),
        "{message}"
    );
    assert!(
        !message.contains("hidden") && !message.contains("ConfigMap"),
        "{message}"
    );
    let revision = world.push(&[("s.yaml", None)]).await;
    assert_ne!(revision, format!("main@sha1:{commit}"));
    world.applied("app", &revision).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn fields_that_kubectl_set_leave_with_git() {
    let world = World::start().await;
    let maps = world.api::<ConfigMap>();
    let object = json!({"metadata": {"name": "a"}, "data": {"key": "old", "gone": "x"}});
    let params = kube::api::PostParams {
        field_manager: Some("kubectl-client-side-apply".into()),
        ..Default::default()
    };
    maps.create(&params, &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
    let commit = world
        .git
        .commit(&[("a.yaml", Some(&config_map("a", "new")))], "first");
    world.deploy("", json!({})).await;
    world.applied("app", &format!("main@sha1:{commit}")).await;
    let data = maps.get("a").await.unwrap().data.unwrap();
    assert_eq!(
        data.into_iter().collect::<Vec<_>>(),
        [("key".to_owned(), "new".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn killed_in_the_middle_of_its_work_it_forgets_no_object() {
    const OBJECTS: usize = 24;
    let mut world = World::start().await;
    let maps = world.api::<ConfigMap>();
    let files = |round: usize| -> Vec<(String, Option<String>)> {
        // Each round drops what the one before made, and makes as much anew.
        let made = (0..OBJECTS).map(|n| {
            (
                format!("r{round}-{n}.yaml"),
                Some(config_map(&format!("r{round}-{n}"), "x")),
            )
        });
        let dropped = (0..OBJECTS)
            .filter(|_| round > 0)
            .map(|n| (format!("r{}-{n}.yaml", round - 1), None));
        made.chain(dropped).collect()
    };
    world.git.commit(&as_refs(&files(0)), "round 0");
    world.deploy("", json!({})).await;
    for round in 0..4 {
        let seen = format!("r{round}-{}", OBJECTS / 2 + round);
        world
            .until(&maps, &seen, "the work has begun", |_| true)
            .await;
        world.kill_gitops();
        world
            .git
            .commit(&as_refs(&files(round + 1)), "the next round");
        world.start_gitops();
    }
    let commit = world.git.git(&["rev-parse", "HEAD"]);
    world.request::<GitRepository>("repo", &commit).await;
    world.applied("app", &format!("main@sha1:{commit}")).await;
    let selector = kube::api::ListParams::default().labels("kustomize.toolkit.fluxcd.io/name=app");
    let mut names: Vec<_> = maps
        .list(&selector)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|map| map.metadata.name)
        .collect();
    names.sort();
    let mut wanted: Vec<_> = (0..OBJECTS).map(|n| format!("r4-{n}")).collect();
    wanted.sort();
    assert_eq!(names, wanted);
}

fn as_refs(files: &[(String, Option<String>)]) -> Vec<(&str, Option<&str>)> {
    files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_deref()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_silent_server_delays_neither_a_new_spec_nor_a_deletion() {
    let world = World::start().await;
    world
        .git
        .commit(&[("a.yaml", Some(&config_map("a", "one")))], "first");
    let silent = GitServer::start(Access::Silence).await;
    let repositories = world.api::<GitRepository>();
    let spec = |url: String| json!({"url": url, "interval": "1h", "timeout": "60m", "ref": {"branch": "main"}});
    for name in ["corrected", "deleted"] {
        world.apply::<GitRepository>(name, spec(silent.url())).await;
        world
            .until(&repositories, name, "the server is asked", |object| {
                object.metadata.finalizers.is_some()
            })
            .await;
    }
    world
        .apply::<GitRepository>("corrected", spec(world.git.url()))
        .await;
    world
        .until(&repositories, "corrected", "it is fetched", |object| {
            let status = object.status.as_ref();
            status.is_some_and(|status| status.artifact.is_some())
        })
        .await;
    repositories
        .delete("deleted", &DeleteParams::default())
        .await
        .unwrap();
    fairlead_tests::wait::until_gone(&repositories, "deleted", crate::world::DEADLINE)
        .await
        .unwrap();
}
