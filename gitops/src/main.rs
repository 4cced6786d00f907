//! The binary: the controllers, or the child process that talks to git servers.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use fairlead_gitops::args::{Cli, Command, Run};
use fairlead_runtime::{shutdown, telemetry};
use kube::Config;

fn main() -> ExitCode {
    let Cli { command, run } = Cli::parse();
    let outcome = match command {
        Some(Command::Fetch) => {
            fairlead_gitops::fetch::run_child(std::io::stdin(), std::io::stdout())
                .context("failed to talk to the parent process")
        }
        None => run_controllers(run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopping");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run_controllers(run: Run) -> anyhow::Result<()> {
    telemetry::init(&run.log).context("failed to set up logging")?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_already| anyhow::anyhow!("a TLS provider is installed already"))?;
    let shutdown = shutdown::token().context("failed to listen to signals")?;
    let config = Config::infer()
        .await
        .context("failed to find out how to reach the cluster")?;
    fairlead_gitops::run(config, run, shutdown).await
}
