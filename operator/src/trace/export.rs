//! Sends spans to a collector, some at a time (OTLP over HTTP).
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use std::convert::Infallible;
use std::time::Duration;

use fairlead_runtime::clock;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::settings::{Error, Settings};
use super::span::{Span, text};
use crate::outgoing;
use crate::outgoing::retry::{Backoff, retry_after};

/// The most spans of one request.
const MOST_AT_ONCE: usize = 512;
/// How long a request waits for more spans.
const GATHERING: Duration = Duration::from_secs(1);
/// Attempts after the first one.
const RETRIES: u32 = 3;
/// The longest pause that a collector can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the last spans may take at shutdown.
const FAREWELL: Duration = Duration::from_secs(2);

/// Sends spans.
pub(super) struct Exporter {
    client: reqwest::Client,
    settings: Settings,
    metrics: Metrics,
}

/// Why spans are dropped.
#[derive(Debug, thiserror::Error)]
enum Loss {
    #[error("the collector answered {0}")]
    Refused(StatusCode),
    #[error("the collector cannot be reached: {0}")]
    Unreachable(String),
}

impl Exporter {
    /// The collector is the operator's own affair, not a user's: its address is not judged.
    pub(super) fn new(settings: Settings, metrics: Metrics) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &settings.authority {
            let pem = std::fs::read(path).map_err(Error::Authority)?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(Error::Client)?;
            builder = builder.tls_certs_merge(authorities);
        }
        Ok(Self {
            client: builder.build().map_err(Error::Client)?,
            settings,
            metrics,
        })
    }

    /// Sends until `shutdown`, and then what is left, if that is quick.
    pub(super) async fn run(
        self,
        mut spans: mpsc::Receiver<Span>,
        shutdown: CancellationToken,
    ) -> Result<(), Infallible> {
        while let Some(batch) = next(&mut spans, &shutdown).await {
            tokio::select! {
                () = self.send(batch) => {}
                () = after(&shutdown, FAREWELL) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn send(&self, spans: Vec<Span>) {
        let count = spans.len();
        match self.deliver(spans).await {
            Ok(()) => self.metrics.sent(count),
            Err(loss) => {
                tracing::warn!("{count} spans are dropped: {loss}");
                self.metrics.lost(count);
            }
        }
    }

    async fn deliver(&self, spans: Vec<Span>) -> Result<(), Loss> {
        let body = self.request(spans).encode_to_vec();
        let mut backoff = Backoff::new(RETRIES, LONGEST_PAUSE);
        loop {
            let request = self
                .client
                .post(self.settings.endpoint.clone())
                .headers(self.settings.headers.clone())
                .header(CONTENT_TYPE, "application/x-protobuf")
                .body(body.clone());
            let (loss, asked) = match request.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if !is_passing(answer.status()) => {
                    return Err(Loss::Refused(answer.status()));
                }
                Ok(answer) => (Loss::Refused(answer.status()), pause(answer.headers())),
                Err(error) => (Loss::Unreachable(outgoing::describe(&error)), None),
            };
            match backoff.pause(asked) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(loss),
            }
        }
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let attributes = self.settings.resource.iter();
        let resource = Resource {
            attributes: attributes.map(|(key, value)| text(key, value)).collect(),
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }
}

/// The answers after which the same request may be sent again; the specification's list.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn pause(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers, clock::now())
}

/// The next spans; `None` when there are none left after the shutdown.
async fn next(spans: &mut mpsc::Receiver<Span>, shutdown: &CancellationToken) -> Option<Vec<Span>> {
    let mut batch = Vec::new();
    tokio::select! {
        biased;
        received = spans.recv_many(&mut batch, MOST_AT_ONCE) => {
            if received == 0 {
                return None;
            }
        }
        () = shutdown.cancelled() => return None,
    }
    // A check and the step that it ended come one after the other.
    let gathered = async {
        while batch.len() < MOST_AT_ONCE {
            let room = MOST_AT_ONCE - batch.len();
            if spans.recv_many(&mut batch, room).await == 0 {
                break;
            }
        }
    };
    tokio::select! {
        () = gathered => {}
        () = tokio::time::sleep(GATHERING) => {}
        () = shutdown.cancelled() => {}
    }
    Some(batch)
}

async fn after(shutdown: &CancellationToken, pause: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests;
