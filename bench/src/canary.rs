//! What a rollout's controller costs and how soon it acts: a real API server, the controller's own
//! binary, and simulated pods; Flagger beside ours, where its program is given.
//!
//! Clocks start where the API server or Prometheus tells the news (the write of the EndpointSlice,
//! the answer to the query) and stop at an observer's watch event of the weight. Each rollout
//! starts at a random moment, so that no pace of a controller is met on purpose.

mod audit;
mod crash;
mod crowd;
mod latency;
mod observer;
mod restart;
mod size;
mod stage;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_tests::console::say;
use fairlead_tests::figure::{self, Figure};
use tokio::process::Child;

use crate::sample;
use latency::Latencies;
use stage::{Controller, Stage};

/// Arguments of the measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Flagger's program; without it only ours is measured.
    #[arg(long, env = "FAIRLEAD_BENCH_FLAGGER")]
    flagger: Option<PathBuf>,
    /// Canaries that release at the same time.
    #[arg(long, default_value_t = 20)]
    canaries: usize,
    /// Releases of each; together with the canaries at least 100 for a 99th percentile.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Minutes over which the requests of canaries at rest are counted.
    #[arg(long, default_value_t = 2.0)]
    idle_minutes: f64,
    /// Rollouts in flight while the operator is started again.
    #[arg(long, default_value_t = 500)]
    in_flight: usize,
    /// Numbers of canaries at which the cost is measured, a tenth of them rolling.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 5000])]
    sizes: Vec<usize>,
    /// Where the figures are written as JSON, `target/bench/canary.json` unless given.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The analysis interval of every canary.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was measured of one controller.
struct Measured {
    latencies: Latencies,
    requests: f64,
    /// The most that its process has held, in MiB.
    memory: f64,
}

/// Measures, prints a table and writes the figures: also those that were there when something
/// failed.
#[tokio::main]
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    // Fails only when a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut figures = Vec::new();
    let outcome = measure_all(args, &mut figures).await;
    say(figure::table(&figures));
    let output = args.output.clone();
    let output = output.unwrap_or_else(|| figure::file("canary"));
    figure::write(&output, &figures)?;
    say(format!("as JSON: {}", output.display()));
    outcome
}

async fn measure_all(args: &Args, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let (canaries, rounds, in_flight) = (args.canaries, args.rounds, args.in_flight);
    let peer = match &args.flagger {
        Some(program) => {
            let stage = Stage::open(Controller::Flagger(program.clone())).await?;
            let flagger = stage.start()?;
            Some(measure(args, &stage, &flagger).await?)
        }
        None => None,
    };
    let stage = Stage::open(Controller::Fairlead).await?;
    let mut operator = stage.start()?;
    let ours = measure(args, &stage, &operator).await?;
    figures.extend(compare(args, &ours, peer.as_ref()));
    say(format!(
        "{canaries} canaries whose pods crash, {rounds} times each"
    ));
    figures.extend(crash::measure(&stage, canaries, rounds).await?);
    say(format!(
        "{canaries} canaries that answer badly, {rounds} times each"
    ));
    figures.extend(verdict::measure(&stage, canaries, rounds).await?);
    say(format!("{in_flight} rollouts in flight, two restarts"));
    figures.extend(restart::measure(&stage, &mut operator, in_flight).await?);
    drop((operator, stage));
    for canaries in &args.sizes {
        let of_size = size::measure(*canaries).await;
        figures.extend(of_size.with_context(|| format!("{canaries} canaries are too many here"))?);
    }
    Ok(())
}

/// Releases, then leaves all canaries at rest.
async fn measure(args: &Args, stage: &Stage, controller: &Child) -> anyhow::Result<Measured> {
    let name = stage.controller.name();
    say(format!(
        "{name}: {} releases of {} canaries, interval {INTERVAL:?}, 4 pods each",
        args.rounds, args.canaries
    ));
    let latencies = latency::measure(stage, args.canaries, args.rounds).await?;
    let idle = Duration::from_secs_f64(60.0 * args.idle_minutes);
    say(format!(
        "{name}: {} canaries at rest for {idle:?}",
        args.canaries
    ));
    let requests = audit::while_idle(stage, idle).await?;
    let id = controller.id().context("the controller has ended")?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (requests, memory) = (requests as f64, sample::peak_memory(id)? as f64 / 1024.0);
    Ok(Measured {
        latencies,
        requests,
        memory,
    })
}

fn compare(args: &Args, ours: &Measured, peer: Option<&Measured>) -> Vec<Figure> {
    let mut figures = ours.latencies.beside(peer.map(|peer| &peer.latencies));
    let (canaries, minutes) = (args.canaries, args.idle_minutes);
    let requests = Figure::new(
        format!("API requests of {canaries} failed canaries at rest"),
        format!("in {minutes} min"),
        ours.requests,
    );
    figures.push(requests.beside(peer.map(|peer| peer.requests)).at_most(0.0));
    let memory = format!("peak memory of the controller, {canaries} canaries");
    let memory = Figure::new(memory, "MiB", ours.memory);
    figures.push(memory.beside(peer.map(|peer| peer.memory)));
    figures
}
