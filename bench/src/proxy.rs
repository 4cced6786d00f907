//! CPU time of a forwarded HTTP/1.1 request: ours and Envoy's, round by round in turn.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_tests::figure::{self, Figure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::json;

use crate::load::{self, Round};
use crate::sample;

/// Arguments of the comparison.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Envoy's program; without it only ours is measured.
    #[arg(long, env = "FAIRLEAD_BENCH_ENVOY")]
    envoy: Option<PathBuf>,
    /// Connections of the load.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Rounds for each proxy.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Where the figures are written as JSON, `target/bench/proxy.json` unless given.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The core of load and upstream, and the core of the proxy.
const LOAD_CORE: usize = 0;
const PROXY_CORE: usize = 1;

const UPSTREAM: &str = "127.0.0.1:29180";
const OURS: &str = "127.0.0.1:29181";
const ENVOY: &str = "127.0.0.1:29182";

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Measures and prints a table.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    let _upstream = start(
        Command::new(&this).args(["upstream", UPSTREAM]),
        UPSTREAM,
        LOAD_CORE,
    )?;
    let ours = start(
        Command::new(&this).args(["serve", OURS, UPSTREAM]),
        OURS,
        PROXY_CORE,
    )?;
    let mut proxies = vec![("fairlead-proxy", OURS, ours)];
    let config = envoy_config()?;
    if let Some(program) = &args.envoy {
        proxies.push((
            "envoy",
            ENVOY,
            start(&mut envoy(program, &config), ENVOY, PROXY_CORE)?,
        ));
    }
    pin(Pid::from_raw(0), LOAD_CORE)?;
    let time = Duration::from_secs(args.seconds);
    let mut rounds: Vec<Vec<(f64, Round)>> = proxies.iter().map(|_| Vec::new()).collect();
    for round in 0..=args.rounds {
        for ((name, address, process), results) in proxies.iter().zip(&mut rounds) {
            let pid = process.0.id();
            let before = sample::cpu(pid)?;
            let seen = load::run(address.parse()?, args.connections, time);
            anyhow::ensure!(seen.requests > 0, "{name} answered nothing");
            let spent = sample::cpu(pid)?.saturating_sub(before);
            // The first round warms up.
            if round > 0 {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                results.push((spent as f64 / 1000.0 / seen.requests as f64, seen));
            }
        }
    }
    let costs: Vec<Cost> = proxies
        .iter()
        .zip(rounds)
        .map(|((name, _, process), rounds)| Cost::of(name, process, &rounds))
        .collect::<anyhow::Result<_>>()?;
    print(args, &costs)?;
    let output = args.output.clone();
    figure::write(
        &output.unwrap_or_else(|| figure::file("proxy")),
        &figures(&costs),
    )
}

/// What one proxy cost over all rounds.
struct Cost {
    name: &'static str,
    /// Middle, lowest and highest of the rounds, in microseconds of CPU for a request.
    cpu: (f64, f64, f64),
    median_us: f64,
    requests: u64,
    errors: u64,
    memory_kb: u64,
}

impl Cost {
    fn of(name: &'static str, process: &Process, rounds: &[(f64, Round)]) -> anyhow::Result<Self> {
        let medians = rounds.iter().map(|(_, round)| round.median_us).collect();
        Ok(Self {
            name,
            cpu: sample::median(rounds.iter().map(|(cost, _)| *cost).collect()),
            median_us: sample::median(medians).0,
            requests: rounds.iter().map(|(_, round)| round.requests).sum(),
            errors: rounds.iter().map(|(_, round)| round.errors).sum(),
            memory_kb: sample::memory(process.0.id())?,
        })
    }
}

/// Ours beside Envoy's, where there was one.
fn figures(costs: &[Cost]) -> Vec<Figure> {
    let (ours, envoy) = (costs.first(), costs.get(1));
    let figure = |figure, unit, value: fn(&Cost) -> f64| {
        Figure::new(figure, unit, ours.map(value)).beside(envoy.map(value))
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let memory = |cost: &Cost| cost.memory_kb as f64 / 1024.0;
    vec![
        figure("proxy beside Envoy 1.40: CPU of a request", "us", |cost| {
            cost.cpu.0
        }),
        figure("proxy beside Envoy 1.40: memory", "MiB", memory),
    ]
}

fn print(args: &Args, costs: &[Cost]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} connections, {} rounds of {} s each in turn\n\
         {:<16} {:>24} {:>12} {:>10} {:>8} {:>10}",
        args.connections,
        args.rounds,
        args.seconds,
        "proxy",
        "CPU us/request (range)",
        "requests/s",
        "p50 us",
        "errors",
        "memory kB"
    )?;
    for cost in costs {
        let (cpu, low, high) = cost.cpu;
        let seconds = (args.seconds * args.rounds as u64).max(1);
        writeln!(
            out,
            "{:<16} {:>24} {:>12} {:>10.0} {:>8} {:>10}",
            cost.name,
            format!("{cpu:.1} ({low:.1}-{high:.1})"),
            cost.requests / seconds,
            cost.median_us,
            cost.errors,
            cost.memory_kb,
        )?;
    }
    Ok(())
}

fn start(command: &mut Command, address: &str, core: usize) -> anyhow::Result<Process> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let process = Process(child.with_context(|| format!("failed to start {command:?}"))?);
    let address: SocketAddr = address.parse()?;
    for _ in 0..200 {
        if TcpStream::connect(address).is_ok() {
            let pid = i32::try_from(process.0.id())?;
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?.file_name().to_string_lossy().parse()?;
                pin(Pid::from_raw(task), core)?;
            }
            return Ok(process);
        }
        thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("{command:?} does not listen on {address}")
}

fn pin(thread: Pid, core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(thread, &cores)?)
}

fn envoy(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    command.args([
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "off",
    ]);
    command
}

/// Envoy as it would be fastest at the same task: no dynamic statistics, no access log.
fn envoy_config() -> anyhow::Result<PathBuf> {
    let address = |text: &str| -> anyhow::Result<_> {
        let address: SocketAddr = text.parse()?;
        Ok(json!({ "socket_address": {
            "address": address.ip().to_string(), "port_value": address.port()
        } }))
    };
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "dynamic_stats": false,
        },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "normalize_path": true,
        "http_filters": [router],
        "route_config": { "virtual_hosts": [{
            "name": "any", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": {
                "cluster": "upstream", "timeout": "0s",
                "retry_policy": { "retry_on": "connect-failure,refused-stream", "num_retries": 2 },
            } }],
        }] },
    });
    let cluster = json!({
        "name": "upstream", "type": "STATIC", "lb_policy": "LEAST_REQUEST", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": "upstream", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": address(UPSTREAM)? } }
        ] }] },
    });
    let config = json!({ "static_resources": {
        "listeners": [{
            "address": address(ENVOY)?,
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
            }] }],
        }],
        "clusters": [cluster],
    } });
    let path = std::env::temp_dir().join(format!("fairlead-bench-{}.json", std::process::id()));
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
