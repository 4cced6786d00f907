//! The main job, told step by step on a real Kubernetes: install, push, canary, promotion,
//! rollback, notification.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use fairlead_runtime::clock;
use fairlead_tests::cluster::Cluster;
use fairlead_tests::console::say;
use fairlead_tests::figure::{self, Figure};
use fairlead_tests::images::Images;
use fairlead_tests::load::{Load, Plan};
use fairlead_tests::story::applications::{self, Repository};
use fairlead_tests::story::release::{self, Release};
use fairlead_tests::story::{COMES_UP, Stage, figures, install};
use fairlead_tests::tools::Tools;
use serde_json::Value;
use tokio::time::Instant;

/// The demo's own cluster, apart from those of the tests.
const CLUSTER: &str = "demo";
/// Requests a second of the load during releases.
const RATE: u32 = 50;

#[derive(Parser)]
#[command(about)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// `local` makes a cluster on this machine; `kubeconfig` uses the current context's.
    #[arg(long, env = "FAIRLEAD_CLUSTER", default_value = "local", global = true)]
    cluster: Kind,
    /// The program that measures what a request costs in the proxy.
    #[arg(long, env = "FAIRLEAD_BENCH", global = true)]
    bench: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Local,
    Kubeconfig,
}

#[derive(Subcommand)]
enum Verb {
    /// Tell the story.
    Up,
    /// Remove what it made.
    Down,
}

/// Says each step with the time since the start.
struct Teller {
    start: Instant,
    step: Instant,
}

impl Teller {
    fn begin() -> Self {
        Self {
            start: clock::instant(),
            step: clock::instant(),
        }
    }

    fn chapter(&mut self, title: &str) {
        self.step = clock::instant();
        say(format!("\n[{:6.1} s] {title}", self.since_start()));
    }

    fn done(&mut self, what: &str) {
        let took = clock::instant() - self.step;
        say(format!(
            "[{:6.1} s]   {what} ({:.1} s)",
            self.since_start(),
            took.as_secs_f64()
        ));
        self.step = clock::instant();
    }

    fn since_start(&self) -> f64 {
        (clock::instant() - self.start).as_secs_f64()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    // Fails only when a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::new("warn,kube_client=off");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match (args.verb, args.cluster) {
        (Verb::Up, kind) => up(kind, args.bench.as_deref()).await,
        (Verb::Down, Kind::Local) => Cluster::remove(CLUSTER),
        (Verb::Down, Kind::Kubeconfig) => {
            install::remove(&Stage::on_current_context().await?).await?;
            say("the CRDs stay, for what else has objects of their kinds: see docs/install.md");
            Ok(())
        }
    }
}

async fn up(kind: Kind, bench: Option<&Path>) -> Result<()> {
    let mut teller = Teller::begin();
    let stage = match kind {
        Kind::Local => {
            teller.chapter("1. A real Kubernetes on this machine");
            let cluster = Cluster::start(CLUSTER, &Images::read()?.pause()?).await?;
            teller.done("the node is ready");
            let stage = Stage::on(&cluster).await?;
            teller.done("the images are imported");
            cluster.keep()?;
            stage
        }
        Kind::Kubeconfig => Stage::on_current_context().await?,
    };
    install(&stage, &mut teller).await?;
    let repository = connect(&stage, &mut teller).await?;
    let polled = poll(&stage, &repository, &mut teller).await?;
    let releases = releases(&stage, &repository, &mut teller).await?;
    messages(&stage, &mut teller).await?;
    teller.chapter("7. Summary");
    let usage = figures::usage(&stage).await?;
    let mut measured = figures::of(polled, &releases, &usage);
    measured.extend(sidecar(bench).await);
    say(figure::table(&measured));
    let file = figure::file("demo");
    figure::write(&file, &measured)?;
    say(format!("  as JSON: {}", file.display()));
    farewell(&stage)
}

/// What a request costs in a sidecar; a machine that cannot tell is no reason to fail.
async fn sidecar(bench: Option<&Path>) -> Vec<Figure> {
    let measured = match bench {
        Some(bench) => figures::sidecar(bench).await,
        None => Err(anyhow::anyhow!("FAIRLEAD_BENCH names no program")),
    };
    measured.unwrap_or_else(|error| {
        say(format!("  CPU of a request is not measured: {error:#}"));
        Vec::new()
    })
}

async fn install(stage: &Stage, teller: &mut Teller) -> Result<()> {
    teller.chapter("2. helm install, and a MeshInstall");
    install::chart(stage, "1s").await?;
    teller.done("helm install fairlead charts/fairlead: operator and gitops are available");
    let conditions = install::mesh(stage).await?;
    for (kind, status, reason) in conditions {
        say(format!("             {kind}={status} ({reason})"));
    }
    teller.done("MeshInstall `mesh` is Ready");
    install::prometheus(stage).await?;
    teller.done("Prometheus scrapes the proxies");
    Ok(())
}

async fn connect(stage: &Stage, teller: &mut Teller) -> Result<Repository> {
    teller.chapter("3. git holds the applications");
    applications::serve(stage).await?;
    let repository = Repository::open(stage).await?;
    repository.set_image("podinfo", release::IMAGE, stage.image("podinfo")?)?;
    repository.set_image("bookinfo", "fairlead/bookinfo", stage.image("bookinfo")?)?;
    let commit = repository.push("the applications").await?;
    applications::connect(stage).await?;
    applications::applied(&stage.client, &commit, COMES_UP).await?;
    teller.done("the first commit is applied");
    for name in applications::BOOKINFO {
        applications::available(&stage.client, "bookinfo", name).await?;
    }
    release::initialized(stage).await?;
    teller.done("all pods are available, the Canary is Initialized");
    let sidecars = applications::sidecars(&stage.client, "podinfo").await?
        + applications::sidecars(&stage.client, "bookinfo").await?;
    teller.done(&format!("{sidecars} pods, each with its sidecar"));
    let identities = applications::identities(stage).await?;
    for (service, (principal, requests)) in &identities {
        say(format!(
            "             {service} <- {principal} over mutual TLS, {requests} requests"
        ));
    }
    teller.done("bookinfo answers through the gateway");
    Ok(repository)
}

/// A commit that nobody is told of: how long until polling has found and applied it, in seconds.
async fn poll(stage: &Stage, repository: &Repository, teller: &mut Teller) -> Result<f64> {
    repository.write(
        "bookinfo/details.yaml",
        &format!(
            "{}# found by polling\n",
            stage.read("examples/bookinfo/details.yaml")?
        ),
    )?;
    let pushed = clock::now();
    let commit = repository.push_quietly("a remark").await?;
    applications::applied(&stage.client, &commit, COMES_UP).await?;
    teller.done("a commit without a notice is found by polling");
    Ok(release::seconds(pushed, clock::now()))
}

async fn releases(
    stage: &Stage,
    repository: &Repository,
    teller: &mut Teller,
) -> Result<BTreeMap<&'static str, Release>> {
    let load = Load::start(
        &stage.client,
        &Plan::podinfo("demo-load", RATE),
        &stage.images,
    )
    .await?;
    let mut releases = BTreeMap::new();
    teller.chapter("4. A release: the image changes in git");
    let good = release::run(stage, repository, &load, "podinfo-next", "Succeeded").await?;
    tell(&good);
    teller.done("promoted");
    ensure!(
        good.load.errors == 0,
        "{} requests failed: {:?}",
        good.load.errors,
        good.load
    );
    releases.insert("good", good);
    for (key, image, title) in [
        (
            "errors",
            "podinfo-faulty",
            "5. A broken release: a third of its answers are errors",
        ),
        (
            "slow",
            "podinfo-slow",
            "   A slow release: 500 to 800 ms are added",
        ),
    ] {
        teller.chapter(title);
        let bad = release::run(stage, repository, &load, image, "Failed").await?;
        tell(&bad);
        teller.done("rolled back");
        releases.insert(key, bad);
    }
    load.stop().await?;
    Ok(releases)
}

fn tell(release: &Release) {
    say(format!(
        "             phases:  {}",
        release.phases.join(" → ")
    ));
    say(format!("             weights: {:?}", release.weights));
    let load = &release.load;
    let versions: Vec<_> = load
        .by_version
        .iter()
        .map(|(version, count)| {
            #[expect(clippy::cast_precision_loss, reason = "thousands of requests")]
            let share = 100.0 * *count as f64 / load.requests.max(1) as f64;
            format!("{version} {share:.1} %")
        })
        .collect();
    say(format!(
        "             {} requests: {}; {} failed",
        load.requests,
        versions.join(", "),
        load.errors
    ));
    if let Some(why) = &release.why {
        say(format!("             why: {why}"));
    }
}

async fn messages(stage: &Stage, teller: &mut Teller) -> Result<()> {
    teller.chapter("6. What Slack was told");
    let messages = applications::messages(stage).await?;
    ensure!(
        !messages.is_empty(),
        "no message reached the Slack receiver"
    );
    for message in &messages {
        let text = message
            .pointer("/message/attachments/0/fallback")
            .and_then(Value::as_str);
        say(format!(
            "             {}",
            text.context("a message without text")?
        ));
    }
    teller.done(&format!("{} messages", messages.len()));
    Ok(())
}

fn farewell(stage: &Stage) -> Result<()> {
    let kubeconfig = stage.kubeconfig.as_ref().map_or_else(String::new, |path| {
        format!("  export KUBECONFIG={}\n", path.display())
    });
    let kubectl = Tools::read()?.path("kubectl")?.display().to_string();
    let fairlead = stage.checkout.join("target/quick/fairlead");
    say(format!(
        "\npodinfo is left Failed, on purpose: the slow release was rolled back and is not tried \
         again.\n\
         Its primary serves everybody with the release of chapter 4; `explain` below says why, and \
         another\nimage in git starts the next rollout.\n\
         \nLook further:\n{kubeconfig}  alias kubectl={kubectl}\n  \
         alias fairlead={}\n  \
         kubectl get canaries -A\n  \
         fairlead canary explain podinfo -n podinfo\n  \
         kubectl get gitrepositories,kustomizations -A\n  \
         kubectl get meshinstalls\n\
         Remove all of it: make demo-down",
        fairlead.display()
    ));
    Ok(())
}
