//! An open-loop HTTP load: requests leave at a steady rate whether or not answers come back, so
//! that a slow answer is seen as one and does not hide those behind it.
//!
//! Prints one line of JSON every second and a summary at the end: answers by version and by
//! status, errors with their reasons, latency percentiles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use fairlead_runtime::{clock, shutdown};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// Sends HTTP requests at a steady rate and counts who answered.
#[derive(Debug, Parser)]
struct Args {
    /// URL to ask.
    #[arg(long)]
    url: reqwest::Url,
    /// `Host` header, where it differs from the URL's.
    #[arg(long)]
    host: Option<String>,
    /// Requests a second.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// How long to go on, in seconds; without it, until SIGTERM.
    #[arg(long)]
    seconds: Option<f64>,
    /// JSON pointer into the answer's body that tells the version.
    #[arg(long, default_value = "/version")]
    version: String,
    /// How long to wait for an answer, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
}

/// What came of one request.
struct Outcome {
    latency: Duration,
    result: Result<(u16, String), String>,
}

/// Counts since the start.
#[derive(Debug, Default, Clone, Serialize)]
struct Counts {
    requests: u64,
    /// Answers with a status of 500 or more, and requests without an answer.
    errors: u64,
    by_version: BTreeMap<String, u64>,
    by_status: BTreeMap<u16, u64>,
    /// Why requests got no answer.
    reasons: BTreeMap<String, u64>,
}

/// A line of output.
#[derive(Debug, Serialize)]
struct Line<'a> {
    at: String,
    /// `tick` for a second's line, `summary` for the last.
    kind: &'static str,
    #[serde(flatten)]
    counts: &'a Counts,
    /// Latency in milliseconds: of the last second for a tick, of all for the summary.
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a list of at most millions"
    )]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        self.requests += 1;
        match &outcome.result {
            Ok((status, version)) => {
                *self.by_status.entry(*status).or_default() += 1;
                *self.by_version.entry(version.clone()).or_default() += 1;
                if *status >= 500 {
                    self.errors += 1;
                }
            }
            Err(reason) => {
                self.errors += 1;
                *self.reasons.entry(reason.clone()).or_default() += 1;
            }
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "standard output is what this program is for"
)]
fn print(kind: &'static str, counts: &Counts, latencies: &mut [Duration]) -> anyhow::Result<()> {
    latencies.sort_unstable();
    let line = Line {
        at: clock::now().to_string(),
        kind,
        counts,
        p50_ms: percentile(latencies, 0.5),
        p99_ms: percentile(latencies, 0.99),
        max_ms: percentile(latencies, 1.0),
    };
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

async fn ask(http: &reqwest::Client, args: &Args) -> Outcome {
    let start = Instant::now();
    let mut request = http.get(args.url.clone());
    if let Some(host) = &args.host {
        request = request.header("host", host);
    }
    let result = async {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let version = body
            .pointer(&args.version)
            .and_then(Value::as_str)
            .unwrap_or("none");
        Ok((status, version.to_owned()))
    };
    let result = result.await.map_err(|error: reqwest::Error| {
        if error.is_timeout() {
            "timeout".to_owned()
        } else if error.is_connect() {
            "connection failed".to_owned()
        } else {
            "connection broken".to_owned()
        }
    });
    Outcome {
        latency: Instant::now() - start,
        result,
    }
}

/// Sends until the time is over; each request is a task of its own in `requests`.
async fn send(args: Arc<Args>, http: reqwest::Client, outcomes: mpsc::Sender<Outcome>) -> ! {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = tokio::task::JoinSet::new();
    loop {
        ticks.tick().await;
        while requests.try_join_next().is_some() {}
        let (args, http, outcomes) = (Arc::clone(&args), http.clone(), outcomes.clone());
        requests.spawn(async move {
            let outcome = ask(&http, &args).await;
            // The receiver is gone only when the program ends.
            let _ = outcomes.send(outcome).await;
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    anyhow::ensure!(args.rate > 0.0, "--rate must be above 0");
    let http = reqwest::Client::builder()
        .timeout(Duration::from_millis(args.timeout_ms))
        .no_proxy()
        .build()
        .context("failed to build the HTTP client")?;
    let (sender, mut outcomes) = mpsc::channel(10_000);
    let sending = send(Arc::clone(&args), http, sender);
    let shutdown = shutdown::token()?;
    let stop = async {
        match args.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => shutdown.cancelled().await,
        }
    };
    tokio::pin!(sending, stop);
    let mut counts = Counts::default();
    let (mut all, mut second) = (Vec::new(), Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = &mut sending => break,
            () = &mut stop => break,
            _ = ticks.tick() => {
                print("tick", &counts, &mut second)?;
                second.clear();
            }
            Some(outcome) = outcomes.recv() => {
                counts.add(&outcome);
                all.push(outcome.latency);
                second.push(outcome.latency);
            }
        }
    }
    print("summary", &counts, &mut all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_answer_counts_as_an_error_with_its_reason() {
        let mut counts = Counts::default();
        counts.add(&Outcome {
            latency: Duration::ZERO,
            result: Err("timeout".into()),
        });
        counts.add(&Outcome {
            latency: Duration::ZERO,
            result: Ok((503, "v1".into())),
        });
        counts.add(&Outcome {
            latency: Duration::ZERO,
            result: Ok((404, "none".into())),
        });
        assert_eq!((counts.requests, counts.errors), (3, 2));
        assert_eq!(counts.reasons["timeout"], 1);
    }

    #[test]
    fn percentiles_are_taken_from_the_sorted_list() {
        let list: Vec<_> = (0..=100).map(Duration::from_millis).collect();
        assert!((percentile(&list, 0.99) - 99.0).abs() < 1e-9);
        assert!((percentile(&[], 0.5) - 0.0).abs() < 1e-9);
    }
}
