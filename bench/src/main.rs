//! Measures what components cost; prints figures and judges none.
//!
//! `fairlead-bench proxy` compares the CPU time of a forwarded request through our proxy and
//! through Envoy. Method: each proxy has one worker pinned to a core of its own, load and upstream
//! share the other one, and rounds alternate, so that what else happens on the machine meets both
//! alike. CPU time comes from `/proc/<pid>/task/*/schedstat`, in nanoseconds.

use clap::{Parser, Subcommand};

mod canary;
mod load;
mod proxy;
mod sample;
mod serve;

#[derive(Debug, Parser)]
#[command(name = "fairlead-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// CPU time of a request through our proxy, beside Envoy where there is one.
    Proxy(proxy::Args),
    /// How soon rollouts act, and what they cost the API server.
    Canary(canary::Args),
    /// Runs an upstream for the others.
    #[command(hide = true)]
    Upstream {
        /// Where it listens.
        address: std::net::SocketAddr,
    },
    /// Runs our proxy with a fixed configuration for the others.
    #[command(hide = true)]
    Serve {
        /// Where it listens.
        address: std::net::SocketAddr,
        /// Where it forwards to.
        upstream: std::net::SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Proxy(args) => proxy::run(&args),
        Command::Canary(args) => canary::run(&args),
        Command::Upstream { address } => load::upstream(address),
        Command::Serve { address, upstream } => serve::run(address, upstream),
    }
}
