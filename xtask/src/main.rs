//! Project tasks: what `make` calls. Each is one module; none knows the harness or Kubernetes.

mod bench;
mod cache;
mod codegen;
mod debian;
mod demo;
mod image;
mod lifetime;
mod process;
mod report;
mod seed;
mod suite;
mod test;
mod tidy;
mod tools;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Project tasks")]
struct Args {
    #[command(flatten)]
    environment: Environment,
    #[command(subcommand)]
    task: Task,
}

/// What the tasks take from the environment.
#[derive(clap::Args)]
struct Environment {
    /// Where built tools and unpacked packages are kept, outside the checkout.
    #[arg(long, env = "FAIRLEAD_CACHE", global = true)]
    cache: Option<PathBuf>,
    #[arg(long, env = "XDG_CACHE_HOME", global = true, hide = true)]
    xdg_cache_home: Option<PathBuf>,
    #[arg(long, env = "HOME", global = true, hide = true)]
    home: Option<PathBuf>,
    /// Where images are pushed, `host[/path]`; without it they stay on this machine.
    #[arg(long, env = "FAIRLEAD_REGISTRY", global = true)]
    registry: Option<String>,
    /// `local` makes a cluster on this machine; `kubeconfig` uses the current context's.
    #[arg(long, env = "FAIRLEAD_CLUSTER", global = true, default_value = "local")]
    cluster: Cluster,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Cluster {
    Local,
    Kubeconfig,
}

#[derive(Subcommand)]
enum Task {
    /// Install Debian packages and build the pinned Go tools; does nothing when all are there.
    Tools,
    /// Tell the main job on a real cluster; sets up all that it needs.
    Demo,
    /// Remove what the demo made.
    DemoDown,
    /// Run every check and suite that this machine can run.
    Test,
    /// Run one of the suites that take too long for `test`.
    Suite(suite::Args),
    /// Take crates that other clones have built, and keep for them what this one has.
    Seed,
    /// Write the files that are made from Rust types.
    Codegen(codegen::Args),
    /// Check the rules of the tree that no compiler checks.
    Tidy,
    /// Measure what components cost.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Build the container images, without Docker.
    Image {
        /// Only these; all without it.
        #[arg(long)]
        component: Vec<String>,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let environment = &args.environment;
    lifetime::end_with_make()?;
    match args.task {
        Task::Tools => tools::provide(environment).map(drop),
        Task::Demo => demo::run(environment),
        Task::DemoDown => demo::down(),
        Task::Seed => seed::restore(environment).and_then(|()| seed::store(environment)),
        Task::Test => test::run(environment),
        Task::Suite(args) => suite::run(environment, &args),
        Task::Codegen(args) => codegen::run(&args),
        Task::Tidy => tidy::run(),
        Task::Bench(bench) => bench::run(environment, &bench),
        Task::Image { component } => image::build(environment, &component),
    }
}
