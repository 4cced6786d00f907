//! Against a real API server; the test plays the operator.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fairlead_crds::annotation::COMMAND;
use fairlead_crds::canary::Canary;
use fairlead_tests::{ApiServer, manifest, wait};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::Condition as _;
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{fairlead, told};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the binary beside the test, which answers it.
pub(crate) async fn run(kubeconfig: &Path, arguments: &str) -> (Option<i32>, String) {
    let (kubeconfig, arguments) = (PathBuf::from(kubeconfig), arguments.to_owned());
    let run = move || told(&fairlead(&kubeconfig, &arguments));
    tokio::task::spawn_blocking(run).await.expect("it ran")
}

pub(crate) async fn install(client: &Client) -> Api<Canary> {
    let crd = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crds/canaries.flagger.app.yaml"
    );
    let crd = std::fs::read_to_string(crd).expect("the CRD");
    manifest::apply(client, &crd)
        .await
        .expect("the CRD applies");
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let served = |crd: &CustomResourceDefinition| is_crd_established().matches_object(Some(crd));
    wait::until(&crds, "canaries.flagger.app", "served", PATIENCE, served)
        .await
        .expect("the kind is served");
    let canaries: Api<Canary> = Api::namespaced(client.clone(), "default");
    let canary = json!({
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": { "name": "podinfo" },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "service": { "port": 80 },
            "analysis": { "interval": "10s", "threshold": 1, "stepWeight": 10, "maxWeight": 50 },
        },
    });
    let canary = serde_json::from_value(canary).expect("a Canary");
    canaries
        .create(&PostParams::default(), &canary)
        .await
        .expect("it is created");
    canaries
}

/// Answers the next command as an operator would.
async fn answer(canaries: &Api<Canary>, verb: &str, refused: Option<&str>) -> Canary {
    let asked = |canary: &Canary| {
        canary
            .annotations()
            .get(COMMAND)
            .is_some_and(|command| command.starts_with(verb))
    };
    let canary = wait::until(canaries, "podinfo", verb, PATIENCE, asked).await;
    let canary = canary.expect("the command is left");
    let command = &canary.annotations()[COMMAND];
    let handled = json!({
        "command": command, "at": "2026-01-01T00:00:00.000000Z", "refused": refused,
    });
    let status = json!({ "status": {
        "phase": "Progressing",
        "lastHandled": command,
        "rollout": { "commands": [handled] },
    } });
    canaries
        .patch_status("podinfo", &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("the status is written");
    canary
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn commands_end_with_the_answer_of_the_operator() {
    let server = ApiServer::start().await.expect("an API server");
    let client = server.client().await.expect("a client");
    let kubeconfig = server.kubeconfig();

    let (exit, text) = run(kubeconfig, "canary get").await;
    assert_eq!(exit, Some(4), "{text}");
    assert!(text.contains("helm install"), "{text}");

    let canaries = install(&client).await;
    let (exit, text) = run(kubeconfig, "canary get other").await;
    assert_eq!(exit, Some(4), "{text}");
    assert!(
        text.contains("`default/other`; its namespace has `podinfo`"),
        "{text}"
    );

    let (asked, seen) = tokio::join!(
        run(kubeconfig, "canary pause podinfo"),
        answer(&canaries, "pause@", None),
    );
    assert_eq!(asked, (Some(0), "podinfo: carried out: pause\n".to_owned()));
    let managers = seen.managed_fields().iter();
    let managers: Vec<&str> = managers
        .filter_map(|entry| entry.manager.as_deref())
        .collect();
    assert!(managers.contains(&"fairlead-cli:admin"), "{managers:?}");

    let (asked, _) = tokio::join!(
        run(kubeconfig, "canary set-weight podinfo 30"),
        answer(&canaries, "set-weight=30@", Some("it is late")),
    );
    let refused = "podinfo: refused: it is late\n".to_owned();
    assert_eq!(asked, (Some(6), refused));

    let (exit, text) = run(kubeconfig, "canary abort podinfo --timeout 1s").await;
    assert_eq!(exit, Some(3), "{text}");
    assert!(text.contains("is heard when the operator runs"), "{text}");

    let (exit, text) = run(kubeconfig, "canary wait podinfo --timeout 1s").await;
    assert_eq!(exit, Some(3), "{text}");
    assert!(text.contains("it is Progressing"), "{text}");

    let (exit, text) = run(kubeconfig, "canary get podinfo -o json").await;
    let canary: Canary = serde_json::from_str(&text).expect("JSON");
    assert_eq!((exit, canary.name_any().as_str()), (Some(0), "podinfo"));

    watching_ends_with_the_canary(kubeconfig, &canaries).await;
}

async fn watching_ends_with_the_canary(kubeconfig: &Path, canaries: &Api<Canary>) {
    let mut watching = tokio::process::Command::new(env!("CARGO_BIN_EXE_fairlead"))
        .env("KUBECONFIG", kubeconfig)
        .args(["canary", "watch", "podinfo"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary runs");
    let stdout = watching.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next_line().await.expect("it is text");
    let line = line.expect("a line for the Canary as it is");
    assert!(line.contains("podinfo  Progressing"), "{line}");
    canaries
        .delete("podinfo", &DeleteParams::default())
        .await
        .expect("it is deleted");
    let ended = tokio::time::timeout(PATIENCE, watching.wait()).await;
    let status = ended.expect("it ends by itself").expect("it ran");
    assert_eq!(status.code(), Some(0));
}
