//! What a rollout's controller costs and how soon it acts: a real API server, the operator's own
//! binary, and simulated pods.
//!
//! Clocks start where the API server or Prometheus tells the news (the write of the EndpointSlice,
//! the answer to the query) and stop at an observer's watch event of the weight. Each rollout
//! starts at a random moment, so that no pace of a controller is met on purpose.

mod audit;
mod latency;
mod observer;
mod restart;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use fairlead_tests::console::say;
use fairlead_tests::figure::{self, Figure};

use crate::sample;
use stage::Stage;

/// Arguments of the measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Canaries that release at the same time.
    #[arg(long, default_value_t = 10)]
    canaries: usize,
    /// Releases of each; together with the canaries at least 100 for a 99th percentile.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Minutes over which the requests of idle canaries are counted.
    #[arg(long, default_value_t = 2.0)]
    idle_minutes: f64,
    /// Rollouts in flight while the operator is started again.
    #[arg(long, default_value_t = 50)]
    in_flight: usize,
    /// Where the figures are written as JSON, `target/bench/canary.json` unless given.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The analysis interval of every canary.
const INTERVAL: Duration = Duration::from_secs(10);

/// Measures, prints a table and writes the figures.
#[tokio::main]
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    // Fails only when a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let stage = Stage::open().await?;
    let mut operator = stage.operator.start(None)?;
    say(format!(
        "{} releases of {} canaries, interval {INTERVAL:?}, 4 pods each",
        args.rounds, args.canaries
    ));
    let latencies = latency::measure(&stage, args.canaries, args.rounds).await?;
    let idle = Duration::from_secs_f64(60.0 * args.idle_minutes);
    say(format!("{} canaries at rest for {idle:?}", args.canaries));
    let requests = audit::while_idle(&stage, idle).await?;
    say(format!(
        "{} rollouts in flight, two restarts",
        args.in_flight
    ));
    let restarts = restart::measure(&stage, &mut operator, args.in_flight).await?;
    let memory = operator.id().map(sample::peak_memory).transpose()?;

    let mut figures = latencies.figures();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let requests = requests as f64;
    figures.push(
        Figure::new(
            format!("API requests of {} failed canaries at rest", args.canaries),
            format!("in {} min", args.idle_minutes),
            requests,
        )
        .at_most(0.0),
    );
    figures.extend(restarts);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let memory = memory.map(|kilobytes| kilobytes as f64 / 1024.0);
    let canaries = args.canaries + args.in_flight;
    figures.push(Figure::new(
        format!("peak memory of the operator with {canaries} canaries"),
        "MiB",
        memory,
    ));
    say(figure::table(&figures));
    let output = args.output.clone();
    let output = output.unwrap_or_else(|| figure::file("canary"));
    figure::write(&output, &figures)?;
    say(format!("as JSON: {}", output.display()));
    Ok(())
}
