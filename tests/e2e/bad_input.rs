//! Bad input: a clear error where the user looks, and neighbours that go on.

mod check;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fairlead_tests::story::applications::{self, Repository};
use fairlead_tests::story::{COMES_UP, Stage};
use fairlead_tests::{manifest, wait};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use serde_json::Value;

use crate::neighbour::Neighbour;
use crate::suite::Suite;

/// How soon a user may expect to be told.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "bad-input";

/// One bad object, and the words that must stand in its condition.
struct Case {
    name: &'static str,
    yaml: &'static str,
    condition: &'static str,
    status: &'static str,
    words: &'static [&'static str],
}

/// Told before there is a mesh: of two MeshInstalls the later one is refused for that alone.
const PROFILE: Case = Case {
    name: "a MeshInstall with an unknown profile names the ones there are",
    yaml: "apiVersion: fairlead.dev/v1alpha1\nkind: MeshInstall\nmetadata: {name: bad-profile}\n\
           spec: {profile: nonsense}\n",
    condition: "Stalled",
    status: "True",
    words: &["nonsense", "demo"],
};

const CASES: &[Case] = &[
    Case {
        name: "a second MeshInstall names the first and goes without it",
        yaml: "apiVersion: fairlead.dev/v1alpha1\nkind: MeshInstall\nmetadata: {name: second}\n\
               spec: {profile: demo}\n",
        condition: "Stalled",
        status: "True",
        words: &["`mesh`", "older"],
    },
    Case {
        name: "a Canary without its target says so",
        yaml: "apiVersion: flagger.app/v1beta1\nkind: Canary\n\
               metadata: {name: no-target, namespace: bad-input}\n\
               spec:\n  targetRef: {apiVersion: apps/v1, kind: Deployment, name: nowhere}\n  \
               service: {port: 80}\n  analysis: {interval: 1s, threshold: 1, stepWeight: 10}\n",
        condition: "Reconciling",
        status: "True",
        words: &["nowhere", "does not exist"],
    },
    Case {
        name: "a GitRepository whose server refuses says so",
        yaml: "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
               metadata: {name: refused, namespace: bad-input}\n\
               spec: {interval: 1m, timeout: 5s, url: \"http://127.0.0.1:9/none.git\"}\n",
        condition: "Ready",
        status: "False",
        words: &["127.0.0.1"],
    },
    Case {
        name: "a GitRepository whose server does not answer says how long it waited",
        yaml: "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
               metadata: {name: silent, namespace: bad-input}\n\
               spec:\n  interval: 1m\n  timeout: 3s\n  \
               url: http://git-server.fairlead-system.svc:8080/silent.git\n",
        condition: "Ready",
        status: "False",
        words: &["silent.git", "did not deliver within 3s"],
    },
    Case {
        name: "a GitRepository without that branch names the branch",
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
        yaml: "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
               metadata: {name: no-source, namespace: bad-input}\n\
               spec:\n  interval: 1m\n  prune: true\n  \
               sourceRef: {kind: GitRepository, name: nowhere}\n",
        condition: "Ready",
        status: "False",
        words: &["nowhere"],
    },
];

/// Canaries that the API server does not take: which strategy they follow.
const UNDECIDED: &[(&str, &str)] = &[
    (
        "a Canary with stepWeight and iterations is told to choose",
        "stepWeight: 10, iterations: 5",
    ),
    (
        "a Canary with neither stepWeight nor iterations is told to choose",
        "threshold: 1",
    ),
];

/// Its file is in the repository that the applications come from, in a folder of its own.
const NOT_YAML: Case = Case {
    name: "a manifest that is not YAML is named with its line",
    yaml: "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
           metadata: {name: not-yaml, namespace: fairlead-system}\n\
           spec:\n  interval: 1m\n  prune: true\n  path: ./broken\n  \
           sourceRef: {kind: GitRepository, name: apps}\n",
    condition: "Ready",
    status: "False",
    words: &["broken/settings.yaml", "line", "not YAML"],
};

/// The bad MeshInstall.
pub(crate) async fn tell_of_profile(stage: &Stage, suite: &mut Suite) {
    suite.story(PROFILE.name, told(stage, &PROFILE)).await;
}

pub(crate) async fn tell(
    stage: &Stage,
    suite: &mut Suite,
    repository: &Repository,
    neighbour: &Neighbour,
) {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    suite
        .needed(
            "a namespace for bad input",
            manifest::apply(&stage.client, &namespace),
        )
        .await;
    for case in CASES {
        let told = neighbour.unharmed(told(stage, case));
        suite.story(case.name, told).await;
    }
    for (name, strategy) in UNDECIDED {
        let refused = neighbour.unharmed(undecided(stage, strategy));
        suite.story(name, refused).await;
    }
    let not_yaml = neighbour.unharmed(not_yaml(stage, repository));
    suite.story(NOT_YAML.name, not_yaml).await;
    suite
        .story(
            "a malformed VirtualService leaves its neighbours working",
            neighbour.unharmed(malformed_route(stage)),
        )
        .await;
    check::tell(stage, suite, neighbour).await;
    suite
        .story(
            "the namespace of bad input goes with all that is in it",
            neighbour.unharmed(let_go(stage)),
        )
        .await;
}

/// Whether a condition of the object has that status and all those words in its message.
fn says(object: &DynamicObject, condition: &str, status: &str, words: &[&str]) -> bool {
    let conditions = object.data.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array);
    conditions.into_iter().flatten().any(|found| {
        let message = found["message"].as_str().unwrap_or_default();
        found["type"] == condition
            && found["status"] == status
            && words.iter().all(|word| message.contains(word))
    })
}

/// Applies the object, waits until its condition says what is wrong, deletes it, waits until it is
/// gone.
async fn told(stage: &Stage, case: &Case) -> Result<()> {
    manifest::apply(&stage.client, case.yaml).await?;
    let object = manifest::parse(case.yaml)?
        .pop()
        .context("the case has no object")?;
    let (api, name) = (
        manifest::api_of(&stage.client, &object).await?,
        object.name_any(),
    );
    let what = format!(
        "{} is {} with {:?}",
        case.condition, case.status, case.words
    );
    wait::until(&api, &name, &what, TOLD_WITHIN, |object: &DynamicObject| {
        says(object, case.condition, case.status, case.words)
    })
    .await?;
    manifest::delete(&stage.client, case.yaml).await?;
    wait::until_gone(&api, &name, TOLD_WITHIN).await
}

/// The answer to `kubectl apply` says what to choose from.
async fn undecided(stage: &Stage, strategy: &str) -> Result<()> {
    let canary = format!(
        "apiVersion: flagger.app/v1beta1\nkind: Canary\n\
         metadata: {{name: undecided, namespace: {NAMESPACE}}}\n\
         spec:\n  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: undecided}}\n  \
         service: {{port: 80}}\n  analysis: {{interval: 1s, {strategy}}}\n"
    );
    let applied = manifest::apply(&stage.client, &canary).await;
    let refusal = applied.err().context("it was taken")?;
    let text = format!("{refusal:#}");
    ensure!(
        text.contains("spec.analysis") && text.contains("set exactly one of stepWeight"),
        "refused without the reason: {text}"
    );
    Ok(())
}

/// Of two Kustomizations of one commit, the one with good files is applied.
async fn not_yaml(stage: &Stage, repository: &Repository) -> Result<()> {
    repository.write(
        "broken/settings.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: [\n",
    )?;
    let commit = repository.push("a manifest that is not YAML").await?;
    applications::applied(&stage.client, &commit, COMES_UP).await?;
    told(stage, &NOT_YAML).await
}

/// A VirtualService whose regular expression is none, beside the good ones of bookinfo.
async fn malformed_route(stage: &Stage) -> Result<()> {
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                metadata: {name: malformed, namespace: bookinfo}\n\
                spec:\n  hosts: [details]\n  http:\n    - match: [{uri: {regex: \"(\"}}]\n      \
                route: [{destination: {host: details}}]\n";
    // Admission may refuse it; then that is where the user reads why.
    if let Err(refusal) = manifest::apply(&stage.client, yaml).await {
        let text = format!("{refusal:#}");
        ensure!(
            text.contains("regular expression"),
            "refused without the reason: {text}"
        );
    } else {
        let object = manifest::parse(yaml)?.pop().context("no object")?;
        let api = manifest::api_of(&stage.client, &object).await?;
        let what = "its status names the regular expression";
        let says = |object: &DynamicObject| {
            let status = object.data["status"].to_string();
            status.contains("regular expression")
        };
        wait::until(&api, "malformed", what, TOLD_WITHIN, says).await?;
    }
    applications::identities(stage).await?;
    manifest::delete(&stage.client, yaml).await
}

async fn let_go(stage: &Stage) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces.delete(NAMESPACE, &Default::default()).await?;
    wait::until_gone(&namespaces, NAMESPACE, COMES_UP).await
}
