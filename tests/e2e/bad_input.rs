//! Bad input: a clear error where the user looks, and neighbours that go on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fairlead_tests::story::Stage;
use fairlead_tests::story::applications;
use fairlead_tests::{manifest, wait};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use crate::suite::Suite;

/// How soon a user may expect to be told.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "bad-input";

/// One bad object: what it is, and the words that must stand in its condition.
struct Case {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    object: &'static str,
    yaml: &'static str,
    condition: &'static str,
    status: &'static str,
    words: &'static [&'static str],
}

/// Told before there is a mesh: of two MeshInstalls the later one is refused for that alone.
const PROFILE: Case = Case {
    name: "a MeshInstall with an unknown profile names the ones there are",
    group: "fairlead.dev",
    version: "v1alpha1",
    kind: "MeshInstall",
    object: "bad-profile",
    yaml: "apiVersion: fairlead.dev/v1alpha1\nkind: MeshInstall\nmetadata: {name: bad-profile}\n\
           spec: {profile: nonsense}\n",
    condition: "Stalled",
    status: "True",
    words: &["nonsense", "demo"],
};

const CASES: &[Case] = &[
    Case {
        name: "a Canary without its target says so",
        group: "flagger.app",
        version: "v1beta1",
        kind: "Canary",
        object: "no-target",
        yaml: "apiVersion: flagger.app/v1beta1\nkind: Canary\n\
               metadata: {name: no-target, namespace: bad-input}\n\
               spec:\n  targetRef: {apiVersion: apps/v1, kind: Deployment, name: nowhere}\n  \
               service: {port: 80}\n  analysis: {interval: 1s, threshold: 1, stepWeight: 10}\n",
        condition: "Reconciling",
        status: "True",
        words: &["nowhere", "does not exist"],
    },
    Case {
        name: "a GitRepository whose URL does not answer says so",
        group: "source.toolkit.fluxcd.io",
        version: "v1",
        kind: "GitRepository",
        object: "unreachable",
        yaml: "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
               metadata: {name: unreachable, namespace: bad-input}\n\
               spec: {interval: 1m, timeout: 5s, url: \"http://127.0.0.1:9/none.git\"}\n",
        condition: "Ready",
        status: "False",
        words: &["127.0.0.1"],
    },
    Case {
        name: "a GitRepository without that branch names the branch",
        group: "source.toolkit.fluxcd.io",
        version: "v1",
        kind: "GitRepository",
        object: "no-branch",
        yaml: "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
               metadata: {name: no-branch, namespace: bad-input}\n\
               spec:\n  interval: 1m\n  \
               url: http://git-server.fairlead-system.svc:8080/apps.git\n  \
               ref: {branch: nowhere}\n",
        condition: "Ready",
        status: "False",
        words: &["nowhere"],
    },
    Case {
        name: "a Kustomization without its source names it",
        group: "kustomize.toolkit.fluxcd.io",
        version: "v1",
        kind: "Kustomization",
        object: "no-source",
        yaml: "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
               metadata: {name: no-source, namespace: bad-input}\n\
               spec:\n  interval: 1m\n  prune: true\n  \
               sourceRef: {kind: GitRepository, name: nowhere}\n",
        condition: "Ready",
        status: "False",
        words: &["nowhere"],
    },
];

/// The bad MeshInstall.
pub(crate) async fn tell_of_profile(stage: &Stage, suite: &mut Suite) {
    suite.story(PROFILE.name, told(stage, &PROFILE)).await;
}

pub(crate) async fn tell(stage: &Stage, suite: &mut Suite) {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    suite
        .needed(
            "a namespace for bad input",
            manifest::apply(&stage.client, &namespace),
        )
        .await;
    for case in CASES {
        suite.story(case.name, told(stage, case)).await;
    }
    suite
        .story(
            "a malformed VirtualService leaves its neighbours working",
            neighbours(stage),
        )
        .await;
    suite
        .story(
            "the namespace of bad input is let go",
            manifest::delete(&stage.client, &namespace),
        )
        .await;
}

fn api(stage: &Stage, case: &Case) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(case.group, case.version, case.kind);
    let resource = ApiResource::from_gvk(&kind);
    if case.kind == "MeshInstall" {
        Api::all_with(stage.client.clone(), &resource)
    } else {
        Api::namespaced_with(stage.client.clone(), NAMESPACE, &resource)
    }
}

/// Applies the object, waits for its condition, reads its words, and deletes it.
async fn told(stage: &Stage, case: &Case) -> Result<()> {
    manifest::apply(&stage.client, case.yaml).await?;
    let api = api(stage, case);
    let message = wait::poll(
        &stage.client,
        NAMESPACE,
        case.name,
        TOLD_WITHIN,
        async || {
            let object = api.get(case.object).await?;
            let conditions = object
                .data
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let found = conditions.into_iter().flatten().find(|condition| {
                condition["type"] == case.condition && condition["status"] == case.status
            });
            let message = found.and_then(|condition| condition["message"].as_str());
            Ok(message
                .filter(|message| case.words.iter().all(|word| message.contains(word)))
                .map(str::to_owned))
        },
    )
    .await?;
    ensure!(!message.is_empty());
    manifest::delete(&stage.client, case.yaml).await?;
    wait::poll(
        &stage.client,
        NAMESPACE,
        "it is gone",
        TOLD_WITHIN,
        async || Ok(api.get_opt(case.object).await?.is_none().then_some(())),
    )
    .await
}

/// A VirtualService whose regular expression is none, beside the good ones of bookinfo.
async fn neighbours(stage: &Stage) -> Result<()> {
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                metadata: {name: malformed, namespace: bookinfo}\n\
                spec:\n  hosts: [details]\n  http:\n    - match: [{uri: {regex: \"(\"}}]\n      \
                route: [{destination: {host: details}}]\n";
    match manifest::apply(&stage.client, yaml).await {
        // Admission may refuse it; then that is where the user reads why.
        Err(refusal) => {
            let text = format!("{refusal:#}");
            ensure!(
                text.contains("regular expression"),
                "refused without the reason: {text}"
            );
        }
        Ok(()) => told_of_malformed(stage).await?,
    }
    applications::identities(stage).await?;
    manifest::delete(&stage.client, yaml).await
}

/// The status of the malformed VirtualService names what is wrong with it.
async fn told_of_malformed(stage: &Stage) -> Result<()> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    let api: Api<DynamicObject> = Api::namespaced_with(
        stage.client.clone(),
        "bookinfo",
        &ApiResource::from_gvk(&kind),
    );
    wait::poll(
        &stage.client,
        "bookinfo",
        "it is told",
        TOLD_WITHIN,
        async || {
            let status = api.get("malformed").await?.data["status"].to_string();
            Ok(status.contains("regular expression").then_some(()))
        },
    )
    .await
    .context("the malformed VirtualService says nothing of its error")
}
