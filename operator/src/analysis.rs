//! Metrics: asks a provider and judges what came back against a range.
//!
//! A provider is one small file under `analysis/` that turns a query into numbers; what they mean
//! is decided here, the same for all of them.

use std::fmt;
use std::time::Duration;

use fairlead_rollout::Verdict;
use fairlead_runtime::report;
use futures::future::BoxFuture;

use crate::outgoing::{self, access};

pub mod builtin;
mod json_path;
pub mod mesh;
pub mod prometheus;
pub mod template;
pub mod web;
pub mod webhook;

/// Answers queries with numbers.
pub trait Provider: Send + Sync {
    /// Asks once; each series of the answer gives one number, none is "no data".
    fn query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Vec<f64>, QueryError>>;
}

/// Why a query brought no answer; its text names no address and no secret.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The provider's address or credentials cannot be used.
    #[error("the metrics provider is set up wrongly: {0}")]
    Setup(String),
    /// Nobody answered, or not in time.
    #[error("the metrics provider cannot be reached: {0}")]
    Unreachable(String),
    /// The provider refused the query.
    #[error("the metrics provider refused the query: {0}")]
    Refused(String),
    /// The answer is not a number.
    #[error("the query must give a number for each series, not {0}")]
    Shape(&'static str),
}

impl QueryError {
    fn late(patience: Duration) -> Self {
        Self::Unreachable(format!("it did not answer within {patience:?}"))
    }
}

impl From<access::Error> for QueryError {
    fn from(error: access::Error) -> Self {
        Self::Setup(error.to_string())
    }
}

impl From<outgoing::Error> for QueryError {
    fn from(error: outgoing::Error) -> Self {
        Self::Setup(report(&error).to_string())
    }
}

/// The limits of a metric, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// The least that passes.
    pub min: Option<f64>,
    /// The most that passes.
    pub max: Option<f64>,
}

impl Range {
    fn holds(self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (Some(min), None) => write!(f, "at least {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => f.write_str("anything"),
        }
    }
}

/// What became of one metric in one check, kept in the status as the explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The metric's name.
    pub metric: String,
    /// The query as it was sent.
    pub query: String,
    /// The numbers that came back.
    pub values: Vec<f64>,
    /// The limits.
    pub range: Range,
    /// What follows from them.
    pub verdict: Verdict,
}

/// Asks one metric.
pub async fn measure(
    provider: &dyn Provider,
    metric: &str,
    query: String,
    range: Range,
) -> Finding {
    let (values, verdict) = match provider.query(&query).await {
        Ok(values) => {
            let verdict = judge(metric, range, &values);
            (values, verdict)
        }
        Err(error) => (
            Vec::new(),
            Verdict::Error(format!("metric {metric}: {error}")),
        ),
    };
    Finding {
        metric: metric.to_owned(),
        query,
        values,
        range,
        verdict,
    }
}

/// Every series must keep the limits; a number that is none never does.
pub fn judge(metric: &str, range: Range, values: &[f64]) -> Verdict {
    if values.is_empty() {
        return Verdict::NoData(format!("metric {metric}: the query found no values"));
    }
    if values.iter().any(|value| value.is_nan()) {
        return Verdict::NoData(format!(
            "metric {metric}: the value is NaN, as with no requests in the window"
        ));
    }
    if let Some(value) = values.iter().find(|value| value.is_infinite()) {
        return Verdict::Error(format!("metric {metric}: the value is {value}"));
    }
    match values.iter().find(|value| !range.holds(**value)) {
        Some(value) => Verdict::Failed(format!("metric {metric}: {value} is not {range}")),
        None => Verdict::Passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_LEAST_99: Range = Range {
        min: Some(99.0),
        max: None,
    };

    fn check(values: &[f64], expected: &str) {
        let verdict = judge("m", AT_LEAST_99, values);
        assert_eq!(verdict.as_str(), expected, "{values:?}");
    }

    #[test]
    fn limits_are_inclusive_and_hold_for_each_series() {
        check(&[99.0], "Passed");
        check(&[100.0, 99.5], "Passed");
        check(&[100.0, 98.9], "Failed");
        check(&[98.9, 100.0], "Failed");
    }

    #[test]
    fn what_is_no_number_never_passes() {
        check(&[], "NoData");
        check(&[f64::NAN], "NoData");
        check(&[100.0, f64::NAN], "NoData");
        check(&[f64::INFINITY], "Error");
        check(&[f64::NEG_INFINITY], "Error");
    }

    #[test]
    fn a_failure_names_value_and_limit() {
        let verdict = judge("success", AT_LEAST_99, &[95.5]);
        assert_eq!(
            verdict.objection(),
            Some("metric success: 95.5 is not at least 99")
        );
    }
}
