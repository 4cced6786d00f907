//! The user stories on one cluster, one after another: each is told through the API server, helm
//! and git, as a user would, and asserts on what an observer sees.
//!
//! Run by `cargo xtask test`; by hand: `cargo test -p fairlead-tests --test e2e -- [part of a name]`,
//! where what later stories build on is told in any case.

mod bad_input;
mod deletion;
mod neighbour;
mod outage;
mod suite;

use anyhow::{Result, ensure};
use fairlead_tests::cluster::Cluster;
use fairlead_tests::console::say;
use fairlead_tests::images::Images;
use fairlead_tests::load::{Load, Plan};
use fairlead_tests::story::applications::{self, Repository};
use fairlead_tests::story::release::{self, Release};
use fairlead_tests::story::{COMES_UP, Stage, install};

use crate::neighbour::Neighbour;
use crate::suite::Suite;

/// The suite's own cluster.
const CLUSTER: &str = "stories";
/// Requests a second during releases.
const RATE: u32 = 50;

fn main() -> Result<std::process::ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        // What test runners ask before they run; the stories only run together.
        return Ok(std::process::ExitCode::SUCCESS);
    }
    fairlead_tests::lifetime::end_with_cargo()?;
    // Fails only when a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::new("warn,kube_client=off");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Runtime::new()?.block_on(run(arguments))
}

async fn run(only: Vec<String>) -> Result<std::process::ExitCode> {
    let own = Place::from_environment()?;
    let (stage, cluster) = match own {
        Place::Local => {
            let cluster = Cluster::start(CLUSTER, &Images::read()?.pause()?).await?;
            (Stage::on(&cluster).await?, Some(cluster))
        }
        Place::CurrentContext => (Stage::on_current_context().await?, None),
        Place::None(why) => {
            say(format!("left out: the stories ({why})"));
            return Ok(std::process::ExitCode::SUCCESS);
        }
    };
    let mut suite = Suite::of(only);
    tell(&stage, &mut suite).await;
    if let Some(cluster) = cluster {
        if suite.failed() > 0 {
            say(format!("logs: {}", cluster.logs().display()));
        }
        cluster.stop()?;
    }
    Ok(suite.finish())
}

/// Where the stories are told.
enum Place {
    Local,
    CurrentContext,
    None(&'static str),
}

impl Place {
    fn from_environment() -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "this is the edge of the suite")]
        let cluster = std::env::var("FAIRLEAD_CLUSTER").unwrap_or_default();
        match cluster.as_str() {
            "kubeconfig" => Ok(Self::CurrentContext),
            "" | "local" if !nix::unistd::geteuid().is_root() => Ok(Self::None(
                "no root, and FAIRLEAD_CLUSTER=kubeconfig is not set",
            )),
            "" | "local" => Ok(Self::Local),
            other => anyhow::bail!("FAIRLEAD_CLUSTER is `{other}`: use `local` or `kubeconfig`"),
        }
    }
}

async fn tell(stage: &Stage, suite: &mut Suite) {
    suite
        .needed("the chart installs", install::chart(stage, "1s"))
        .await;
    bad_input::tell_of_profile(stage, suite).await;
    suite
        .story(
            "a MeshInstall is deleted while it installs",
            deletion::install_and_delete(stage),
        )
        .await;
    suite
        .needed(
            "a MeshInstall becomes Ready, each component with its condition",
            mesh(stage),
        )
        .await;
    suite
        .needed("Prometheus runs", install::prometheus(stage))
        .await;
    let repository = suite
        .needed(
            "git brings the applications, each pod with its sidecar",
            apps(stage),
        )
        .await;
    suite
        .story(
            "bookinfo is called over mutual TLS only",
            applications::identities(stage),
        )
        .await;
    if let Some(repository) = repository {
        suite
            .story(
                "a good release is promoted without an error",
                good(stage, &repository),
            )
            .await;
        for (name, image) in [
            (
                "a release that answers errors is rolled back",
                "podinfo-faulty",
            ),
            ("a release that is slow is rolled back", "podinfo-slow"),
        ] {
            suite.story(name, bad(stage, &repository, image)).await;
        }
        suite.story("Slack is told", slack(stage)).await;
        outage::tell(stage, suite, &repository).await;
        beside_a_neighbour(stage, suite, &repository).await;
    }
}

/// What goes wrong while another application has traffic.
async fn beside_a_neighbour(stage: &Stage, suite: &mut Suite, repository: &Repository) {
    let neighbour = Neighbour::start(stage);
    let Some(neighbour) = suite.needed("the neighbour has traffic", neighbour).await else {
        return;
    };
    bad_input::tell(stage, suite, repository, &neighbour).await;
    deletion::tell(stage, suite, repository, &neighbour).await;
    suite
        .needed("the neighbour had traffic all the while", neighbour.stop())
        .await;
}

async fn mesh(stage: &Stage) -> Result<()> {
    let conditions = install::mesh(stage).await?;
    for (kind, status, reason) in &conditions {
        let is_bad = matches!(kind.as_str(), "Stalled" | "Reconciling");
        ensure!(is_bad || status == "True", "{kind} is {status}: {reason}");
    }
    ensure!(
        conditions.len() >= 4,
        "not each component has its condition: {conditions:?}"
    );
    Ok(())
}

async fn apps(stage: &Stage) -> Result<Repository> {
    applications::serve(stage).await?;
    let repository = Repository::open(stage).await?;
    repository.set_image("podinfo", release::IMAGE, stage.image("podinfo")?)?;
    repository.set_image("bookinfo", "fairlead/bookinfo", stage.image("bookinfo")?)?;
    let commit = repository.push("the applications").await?;
    applications::connect(stage).await?;
    applications::applied(&stage.client, &commit, COMES_UP).await?;
    for name in applications::BOOKINFO {
        applications::available(&stage.client, "bookinfo", name).await?;
    }
    release::initialized(stage).await?;
    for namespace in ["podinfo", "bookinfo"] {
        applications::sidecars(&stage.client, namespace).await?;
    }
    Ok(repository)
}

async fn release(
    stage: &Stage,
    repository: &Repository,
    image: &str,
    end: &str,
) -> Result<Release> {
    let load = Load::start(
        &stage.client,
        &Plan::podinfo("release", RATE),
        &stage.images,
    )
    .await?;
    let release = release::run(stage, repository, &load, image, end).await;
    load.stop().await?;
    release
}

async fn good(stage: &Stage, repository: &Repository) -> Result<()> {
    let release = release(stage, repository, "podinfo-next", "Succeeded").await?;
    let phases: Vec<&str> = release.phases.iter().map(String::as_str).collect();
    let expected = [
        "Initialized",
        "Progressing",
        "Promoting",
        "Finalising",
        "Succeeded",
    ];
    ensure!(phases == expected, "phases were {phases:?}");
    ensure!(
        release.weights == [0, 25, 50, 0],
        "weights were {:?}",
        release.weights
    );
    ensure!(
        release.load.errors == 0,
        "requests failed: {:?}",
        release.load
    );
    ensure!(
        release.load.by_version.len() >= 2,
        "one version answered all: {:?}",
        release.load
    );
    Ok(())
}

async fn bad(stage: &Stage, repository: &Repository, image: &str) -> Result<()> {
    let release = release(stage, repository, image, "Failed").await?;
    ensure!(
        release.weights.last() == Some(&0),
        "weights were {:?}",
        release.weights
    );
    ensure!(
        release.exposed.is_some(),
        "the canary had no traffic: {:?}",
        release.phases
    );
    let why = release.why.unwrap_or_default();
    ensure!(
        why.contains("request-"),
        "the Canary does not say which check failed: {why}"
    );
    Ok(())
}

async fn slack(stage: &Stage) -> Result<()> {
    let messages = applications::messages(stage).await?;
    let text = serde_json::to_string(&messages)?;
    ensure!(messages.len() >= 3, "{} messages: {text}", messages.len());
    ensure!(
        text.contains("podinfo"),
        "no message names the canary: {text}"
    );
    Ok(())
}
