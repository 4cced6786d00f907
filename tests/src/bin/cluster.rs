//! Local clusters by hand: the same library that the demo and the tests use.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use fairlead_tests::cluster::{self, Cluster};
use fairlead_tests::console::say;
use fairlead_tests::{ApiServer, images::Images};
use tokio::time::Instant;

#[derive(Parser)]
#[command(about)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster (fresh, also when it exists) and leave it running.
    Up {
        name: String,
        /// Import every image of `target/images`, too.
        #[arg(long)]
        images: bool,
    },
    /// Stop a cluster and remove all that it has on this machine.
    Down { name: String },
    /// Print the path of a cluster's kubeconfig.
    Kubeconfig { name: String },
    /// List the clusters of this machine.
    List,
    /// Import image archives; without any, all of `target/images`.
    LoadImage {
        name: String,
        archives: Vec<PathBuf>,
    },
    /// Run a command inside a cluster's namespaces.
    Exec {
        name: String,
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Run etcd and an API server alone, on loopback, until Ctrl-C.
    Apiserver,
    /// Become a cluster's first process.
    #[command(hide = true)]
    Hold { folder: PathBuf },
}

fn main() -> Result<std::process::ExitCode> {
    let args = Args::parse();
    if let Verb::Hold { folder } = &args.verb {
        // Before any runtime exists: it waits for all of its children itself.
        cluster::hold(folder)?;
    }
    // Fails only when a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Answers of a server that still starts are no errors.
    let filter = tracing_subscriber::EnvFilter::new("warn,kube_client=off");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Runtime::new()?.block_on(run(args.verb))
}

async fn run(verb: Verb) -> Result<std::process::ExitCode> {
    match verb {
        Verb::Up { name, images } => up(&name, images).await?,
        Verb::Down { name } => Cluster::remove(&name)?,
        Verb::Kubeconfig { name } => say(Cluster::open(&name)?.kubeconfig().display().to_string()),
        Verb::List => {
            for layout in cluster::all()? {
                let state = if cluster::holders(&layout)?.is_empty() {
                    "stopped"
                } else {
                    "running"
                };
                say(format!(
                    "{} {state} {}",
                    layout.name(),
                    layout.kubeconfig().display()
                ));
            }
        }
        Verb::LoadImage { name, archives } => load(&Cluster::open(&name)?, archives)?,
        Verb::Exec { name, command } => {
            let (program, arguments) = command.split_first().context("no command")?;
            let status = Cluster::open(&name)?
                .inside(program)?
                .args(arguments)
                .status()?;
            let code = status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1);
            return Ok(code.into());
        }
        Verb::Apiserver => {
            let server = ApiServer::start().await?;
            say(format!(
                "export KUBECONFIG={}",
                server.kubeconfig().display()
            ));
            tokio::signal::ctrl_c().await?;
        }
        Verb::Hold { .. } => {}
    }
    Ok(std::process::ExitCode::SUCCESS)
}

async fn up(name: &str, images: bool) -> Result<()> {
    let started = Instant::now();
    let all = Images::read()?;
    let cluster = Cluster::start(name, &all.pause()?).await?;
    say(format!(
        "cluster `{name}` is ready after {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    if images {
        load(&cluster, Vec::new())?;
    }
    say(format!(
        "export KUBECONFIG={}",
        cluster.kubeconfig().display()
    ));
    cluster.keep()
}

fn load(cluster: &Cluster, archives: Vec<PathBuf>) -> Result<()> {
    let archives = if archives.is_empty() {
        Images::read()?.archives()
    } else {
        archives
    };
    for archive in archives {
        cluster.load_image(&archive)?;
        say(format!("loaded {}", archive.display()));
    }
    Ok(())
}
