//! What a Prometheus recorded: range queries, for those who replay a policy. Never called by the
//! operator: it goes where its caller's own rights lead.

use std::time::Duration;

use jiff::Timestamp;
use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, Sample};

use super::explain;
use crate::analysis::QueryError;

/// How long one query may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Prometheus gives at most 11,000 samples of a series.
const MOST_SAMPLES: i64 = 10_000;
/// The usual pace of a scrape, in seconds: finer steps show nothing new.
const FINEST_STEP: i64 = 15;

/// The samples of one series, oldest first.
pub type Series = Vec<(Timestamp, f64)>;

/// Asks the Prometheus at `server` what `query` gave from `start` to `end`.
pub async fn recorded(
    server: &str,
    query: &str,
    start: Timestamp,
    end: Timestamp,
) -> Result<Vec<Series>, QueryError> {
    let http = reqwest::Client::builder().timeout(TIMEOUT).build();
    let http = http.map_err(|_no_client| QueryError::Setup("no TLS can be set up".to_owned()))?;
    let client = Client::from(http, server)
        .map_err(|_no_url| QueryError::Setup("its address is not a URL".to_owned()))?;
    let (start, end) = (start.as_second(), end.as_second());
    let step = (end.saturating_sub(start) / MOST_SAMPLES).max(FINEST_STEP);
    // Whole seconds of a few days: nothing is lost.
    let step = Duration::from_secs(step.unsigned_abs()).as_secs_f64();
    let asked = client.query_range(query, start, end, step);
    let answer = asked.post().await.map_err(explain)?;
    match answer.data() {
        Data::Matrix(found) => Ok(found.iter().map(|one| series(one.samples())).collect()),
        Data::Scalar(_) | Data::Vector(_) => Err(QueryError::Shape("one sample")),
    }
}

fn series(samples: &[Sample]) -> Series {
    let samples = samples.iter().filter_map(|sample| {
        let at = jiff::SignedDuration::try_from_secs_f64(sample.timestamp()).ok()?;
        Some((Timestamp::UNIX_EPOCH.checked_add(at).ok()?, sample.value()))
    });
    samples.collect()
}
