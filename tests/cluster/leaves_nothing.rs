//! Whatever ends a cluster, and however far its start had come: the machine looks as before.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairlead_tests::cluster::{self, Cluster, Layout, find_control_groups};
use fairlead_tests::images::Images;
use nix::sys::signal::{Signal, kill};

/// What a cluster could leave on the machine.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    interfaces: BTreeSet<String>,
    rules: Vec<String>,
    mounts: BTreeSet<String>,
}

impl Machine {
    fn look() -> Self {
        let interfaces = std::fs::read_dir("/sys/class/net").unwrap();
        let rules = ["iptables-save", "ip6tables-save"].map(|program| {
            let output = Command::new(program).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .collect::<Vec<_>>()
                .join("\n")
        });
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        Self {
            interfaces: interfaces
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect(),
            rules: rules.to_vec(),
            mounts: mounts.lines().map(str::to_owned).collect(),
        }
    }
}

#[track_caller]
fn assert_nothing_is_left(layout: &Layout) {
    assert!(
        cluster::holders(layout).unwrap().is_empty(),
        "a holder is left"
    );
    assert_eq!(
        find_control_groups(&layout.control_group()).unwrap(),
        Vec::<&Path>::new()
    );
    assert!(
        !layout.folder().exists(),
        "{} is left",
        layout.folder().display()
    );
    let name = layout.folder().display().to_string();
    let mut left = cluster::command_lines().unwrap();
    left.retain(|line| line.contains(&name));
    assert!(left.is_empty(), "processes are left: {left:#?}");
}

/// A Deployment whose pods mount a volume, so that there is more to leave than empty folders.
const PODS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: some, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: some}}
  template:
    metadata: {labels: {app: some}}
    spec:
      containers: [{name: pause, image: IMAGE, volumeMounts: [{name: v, mountPath: /v}]}]
      volumes: [{name: v, emptyDir: {medium: Memory}}]
";

async fn run_pods(cluster: &Cluster, image: &str) {
    use k8s_openapi::api::apps::v1::Deployment;
    cluster.apply(&PODS.replace("IMAGE", image)).unwrap();
    let deployments: kube::Api<Deployment> =
        kube::Api::namespaced(cluster.client().await.unwrap(), "default");
    let is_ready = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.ready_replicas == Some(2))
    };
    let ready = kube::runtime::wait::await_condition(deployments, "some", is_ready);
    tokio::time::timeout(Duration::from_secs(60), ready)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
#[ignore = "needs root and Linux"]
async fn after_stop() {
    let before = Machine::look();
    let pause = Images::read().unwrap().pause().unwrap();
    let cluster = Cluster::start("leave-stop", &pause).await.unwrap();
    run_pods(&cluster, &pause.name).await;
    cluster.stop().unwrap();
    assert_nothing_is_left(&Layout::new("leave-stop").unwrap());
    assert_eq!(before, Machine::look());
}

#[tokio::test]
#[ignore = "needs root and Linux"]
async fn beside_another_cluster_which_goes_on() {
    let pause = Images::read().unwrap().pause().unwrap();
    let one = Cluster::start("leave-one", &pause).await.unwrap();
    let two = Cluster::start("leave-two", &pause).await.unwrap();
    run_pods(&one, &pause.name).await;
    one.stop().unwrap();
    run_pods(&two, &pause.name).await;
    two.stop().unwrap();
}

/// A killed process takes its whole namespace along, which the kernel needs a moment for.
fn until_dead(layout: &Layout) {
    for _ in 0..100 {
        if cluster::holders(layout).unwrap().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test]
#[ignore = "needs root and Linux"]
async fn after_its_first_process_was_killed() {
    let before = Machine::look();
    let pause = Images::read().unwrap().pause().unwrap();
    let layout = Layout::new("leave-holder").unwrap();
    let cluster = Cluster::start("leave-holder", &pause).await.unwrap();
    run_pods(&cluster, &pause.name).await;
    cluster.keep().unwrap();
    for pid in cluster::holders(&layout).unwrap() {
        // The second one may be gone with the first.
        let _ = kill(pid, Signal::SIGKILL);
    }
    until_dead(&layout);
    // What any next command does first.
    cluster::sweep().unwrap();
    assert_nothing_is_left(&layout);
    assert_eq!(before, Machine::look());
}

#[test]
#[ignore = "needs root and Linux"]
fn after_its_start_was_killed_at_any_moment() {
    let before = Machine::look();
    let layout = Layout::new("leave-start").unwrap();
    for milliseconds in [20, 100, 300, 600, 1000, 1500, 2000, 2500] {
        let mut start = Command::new(env!("CARGO_BIN_EXE_cluster"))
            .args(["up", "leave-start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        start.kill().unwrap();
        start.wait().unwrap();
        // A start that had come to its end is kept, as it was asked: then this is what removes it.
        cluster::sweep().unwrap();
        if layout.kept().exists() {
            cluster::remove(&layout).unwrap();
        }
        assert_nothing_is_left(&layout);
        assert_eq!(before, Machine::look(), "killed after {milliseconds} ms");
    }
}
