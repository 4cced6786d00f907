//! Starts the operator.

use anyhow::Context as _;
use clap::Parser as _;
use fairlead_controller::client;
use fairlead_operator::args::{Args, flagger};
use fairlead_operator::fault;
use fairlead_runtime::{shutdown, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let told = flagger::translate(std::env::args_os());
    let args = Args::parse_from(told.arguments);
    telemetry::init(&args.log).context("failed to set up logging")?;
    for warning in told.warnings {
        tracing::warn!("{warning}");
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_already| anyhow::anyhow!("a TLS provider is installed already"))?;
    let shutdown = shutdown::token().context("failed to listen to signals")?;
    let client = match &args.kubeconfig {
        Some(path) => client::connect_by(path).await,
        None => client::connect().await,
    };
    let client = client.context("failed to connect to the cluster")?;
    let client = match args.fault {
        Some(fault) => fault::client(client, fault),
        None => client,
    };
    fairlead_operator::run(client, args, shutdown).await
}
