//! `fairlead`: see, explain and steer rollouts from a terminal or a pipeline.
//!
//! It only reads and writes the objects that `kubectl` could too, with the rights of whoever runs
//! it; what a command means is decided by the operator.

mod args;
mod canary;
mod cluster;
mod exit;
mod migrate;
mod output;
mod terminal;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser as _;
use fairlead_runtime::report;

use crate::args::{Args, Topic};
use crate::exit::Exit;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match rustls::crypto::aws_lc_rs::default_provider().install_default() {
        Ok(()) => match args.topic {
            Topic::Canary(about) => {
                Box::pin(canary::run(about, &args.connection, args.output)).await
            }
            Topic::Migrate(source) => {
                Box::pin(migrate::run(source, &args.connection, args.output)).await
            }
        },
        Err(_already) => Err(anyhow!("a TLS provider is installed already")),
    };
    let exit = outcome.unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        // Nobody is left to tell when even this cannot be written.
        let _ = writeln!(std::io::stderr(), "error: {}", report(&*error));
        exit
    });
    exit.into()
}
