//! Entry point of `fairlead-proxy`: reads the arguments and hands over.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use fairlead_proxy::args::{Cli, Command, Init};
use fairlead_proxy::run::Role;
use fairlead_proxy::{init, run};

fn main() -> anyhow::Result<()> {
    let Cli { command, log } = Cli::parse();
    let levels = fairlead_runtime::telemetry::init(&log)?;
    match command {
        Command::Init(Init {
            clean: false,
            capture,
        }) => init::apply(&capture).context("failed to redirect the pod's traffic"),
        Command::Init(Init {
            clean: true,
            capture,
        }) => init::clean(&capture).context("failed to undo the redirection"),
        Command::Sidecar(args) => run::run(Role::Sidecar, *args, levels).map_err(Into::into),
        Command::Gateway(args) => run::run(Role::Gateway, *args, levels).map_err(Into::into),
        Command::Drain => drain().context("failed to ask the proxy to drain"),
    }
}

/// Asks the proxy in the same pod, over its agent port.
fn drain() -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", fairlead_proxy::admin::AGENT_PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(
        b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    anyhow::ensure!(
        answer.starts_with("HTTP/1.1 200"),
        "the proxy answered: {answer}"
    );
    Ok(())
}
