//! Metrics as they were recorded: from a file, or from a Prometheus.
//!
//! The file is JSON: for each metric, by the name that the Canary gives it, samples of what its
//! query gave.
//!
//! ```json
//! { "metrics": { "latency": [
//!     { "at": "2026-01-01T12:00:00Z", "value": 120 },
//!     { "at": "2026-01-01T12:00:15Z", "value": "NaN", "series": "pod-a" }
//! ] } }
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fairlead_operator::analysis::prometheus::{Series, recorded};
use fairlead_operator::canary::question::question;
use fairlead_operator::canary::validate::Validated;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde::Deserialize;

/// A sample is what a query gives until there is a newer one, or so long; Prometheus' rule.
const LOOKBACK: SignedDuration = SignedDuration::from_mins(5);

/// What the metrics gave, over a time.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// When it begins.
    pub(super) start: Timestamp,
    /// When it ends.
    pub(super) end: Timestamp,
    metrics: BTreeMap<String, Vec<Series>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    metrics: BTreeMap<String, Vec<Sample>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    at: Timestamp,
    value: Value,
    /// Which of several series; one that has no name is one, too.
    #[serde(default)]
    series: String,
}

/// JSON has no `NaN` and no infinity.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Text(String),
}

impl Recording {
    /// What each metric gave at a time: a number for each series.
    pub(super) fn at(&self, metric: &str, now: Timestamp) -> Vec<f64> {
        let series = self.metrics.get(metric).into_iter().flatten();
        series.filter_map(|samples| newest(samples, now)).collect()
    }

    /// The part of it that is meant; all of it where nothing is said.
    pub(super) fn cut(mut self, start: Option<Timestamp>, end: Option<Timestamp>) -> Result<Self> {
        self.start = start.unwrap_or(self.start);
        self.end = end.unwrap_or(self.end);
        if self.start >= self.end {
            bail!(
                "the recording ends at {} and would begin at {}",
                self.end,
                self.start
            );
        }
        Ok(self)
    }

    /// Reads a file; it must hold every metric of the plan.
    pub(super) fn read(path: &Path, plan: &Validated) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("failed to read `{shown}`"))?;
        let recording = Self::parse(&text).with_context(|| format!("`{shown}` is no recording"))?;
        let recorded: Vec<&String> = recording.metrics.keys().collect();
        for metric in &plan.metrics {
            if !recording.metrics.contains_key(&metric.name) {
                let name = &metric.name;
                bail!("`{shown}` has no samples of metric `{name}`; it has {recorded:?}");
            }
        }
        Ok(recording)
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = serde_json::from_str(text)?;
        let mut metrics = BTreeMap::new();
        let (mut start, mut end) = (Timestamp::MAX, Timestamp::MIN);
        for (name, samples) in file.metrics {
            let mut named: BTreeMap<String, Series> = BTreeMap::new();
            for sample in samples {
                let value = match sample.value {
                    Value::Number(value) => value,
                    Value::Text(text) => {
                        let read = text.parse();
                        read.with_context(|| format!("metric `{name}`: `{text}` is no number"))?
                    }
                };
                (start, end) = (start.min(sample.at), end.max(sample.at));
                named
                    .entry(sample.series)
                    .or_default()
                    .push((sample.at, value));
            }
            let mut all: Vec<Series> = named.into_values().collect();
            for series in &mut all {
                series.sort_by_key(|sample| sample.0);
            }
            metrics.insert(name, all);
        }
        if start > end {
            bail!("it holds no samples");
        }
        Ok(Self {
            start,
            end,
            metrics,
        })
    }

    /// Asks a Prometheus what the queries of the plan gave.
    pub(super) async fn ask(
        server: &str,
        (start, end): (Timestamp, Timestamp),
        plan: &Validated,
        client: Option<&Client>,
    ) -> Result<Self> {
        let mut metrics: BTreeMap<String, Vec<Series>> = BTreeMap::new();
        let named = server.to_owned();
        for metric in &plan.metrics {
            let name = &metric.name;
            let question = question(
                client,
                plan,
                fairlead_rollout::Subject::Canary,
                metric,
                Some(&named),
            )
            .await;
            let query = match question {
                Ok(question) => question.query,
                Err(why) => bail!("metric {name}: {why}"),
            };
            let found = recorded(server, &query, start, end).await;
            let found = found.with_context(|| format!("metric {name}"))?;
            metrics.entry(name.clone()).or_default().extend(found);
        }
        Ok(Self {
            start,
            end,
            metrics,
        })
    }
}

/// The newest sample that is not too old.
fn newest(samples: &Series, now: Timestamp) -> Option<f64> {
    let until = samples.partition_point(|sample| sample.0 <= now);
    let (at, value) = samples.get(until.checked_sub(1)?)?;
    (now.duration_since(*at) < LOOKBACK).then_some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{ "metrics": { "latency": [
        { "at": "2026-01-01T12:00:15Z", "value": 120 },
        { "at": "2026-01-01T12:00:00Z", "value": 100 },
        { "at": "2026-01-01T12:00:00Z", "value": "NaN", "series": "b" }
    ] } }"#;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_sample_counts_until_there_is_a_newer_one_or_it_is_stale() {
        let recording = Recording::parse(TEXT).expect("a recording");
        let at = |text| {
            let values = recording.at("latency", time(text));
            values.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(at("2026-01-01T11:59:59Z"), [""; 0]);
        assert_eq!(at("2026-01-01T12:00:14Z"), ["100", "NaN"]);
        assert_eq!(at("2026-01-01T12:05:10Z"), ["120"]);
        assert_eq!(at("2026-01-01T12:05:15Z"), [""; 0]);
    }

    #[test]
    fn a_recording_without_samples_is_none() {
        for text in [r#"{ "metrics": {} }"#, r#"{ "samples": {} }"#, "[]"] {
            Recording::parse(text).expect_err(text);
        }
    }

    #[test]
    fn a_part_has_to_be_one() {
        let recording = Recording::parse(TEXT).expect("a recording");
        let end = Some(time("2026-01-01T11:00:00Z"));
        recording
            .cut(None, end)
            .expect_err("it ends before it begins");
    }
}
