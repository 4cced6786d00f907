//! One request and its response, from the first byte to the last: what is counted and logged.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Uri, Version};
use jiff::Timestamp;
use tokio::time::Instant;

use super::connection::Received;
use super::replay::Replay;
use super::{headers, request};
use crate::downstream::Downstream;
use crate::telemetry::access_log::Line;
use crate::telemetry::metrics::{Ends, Id, Outcome, Protocol, Reporter, Security};
use crate::telemetry::{Flag, Flags};
use crate::worker::Worker;

/// What is known about one exchange so far.
#[derive(Debug)]
pub struct Exchange {
    worker: Rc<Worker>,
    downstream: Rc<Downstream>,
    started: Instant,
    wall: Timestamp,
    method: Method,
    uri: Uri,
    version: Version,
    is_grpc: bool,
    authority: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    body: Option<Replay>,
    source: Option<Id>,
    sent: u64,
    grpc_status: Option<u16>,
    recorded: bool,
    /// The status of the response; 0 until there is one.
    pub code: u16,
    /// Why it is so.
    pub flags: Flags,
    /// Why it is so, in Envoy's longer words.
    pub details: Cow<'static, str>,
    /// Why the connection to the upstream failed.
    pub transport_failure: String,
    /// The route's name.
    pub route: Arc<str>,
    /// Where the request went.
    pub upstream: Option<Upstream>,
    /// When the head of the response arrived.
    pub answered: Option<Instant>,
}

/// Where a request went.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The cluster.
    pub cluster: Rc<crate::cluster::Cluster>,
    /// The endpoint, once there is a connection to one.
    pub host: Option<Rc<crate::cluster::Host>>,
    /// Our end of the connection.
    pub local: Option<SocketAddr>,
}

impl Exchange {
    /// Takes note of a request as it arrived.
    pub fn begin(
        worker: &Rc<Worker>,
        downstream: &Rc<Downstream>,
        message: &Request<Received>,
    ) -> Self {
        let headers = message.headers();
        Self {
            worker: Rc::clone(worker),
            downstream: Rc::clone(downstream),
            started: fairlead_runtime::clock::instant(),
            wall: fairlead_runtime::clock::now(),
            method: message.method().clone(),
            uri: message.uri().clone(),
            version: message.version(),
            is_grpc: request::is_grpc(headers),
            authority: headers
                .get(header::HOST)
                .cloned()
                .or_else(|| HeaderValue::from_str(message.uri().authority()?.as_str()).ok()),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            forwarded_for: None,
            request_id: None,
            body: None,
            source: None,
            sent: 0,
            grpc_status: None,
            recorded: false,
            code: 0,
            flags: Flags::default(),
            details: Cow::Borrowed(""),
            transport_failure: String::new(),
            route: Arc::from(""),
            upstream: None,
            answered: None,
        }
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Whether it is gRPC.
    pub fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// Takes note of headers as they go to the upstream.
    pub fn see_request(&mut self, headers: &HeaderMap) {
        self.request_id = headers.get(headers::REQUEST_ID).cloned();
        self.forwarded_for = headers.get(headers::FORWARDED_FOR).cloned();
    }

    /// Takes note of where the request's body is counted.
    pub fn count_body(&mut self, body: Replay) {
        self.body = Some(body);
    }

    /// Takes note of who asks, where the connection alone does not tell.
    pub fn comes_from(&mut self, source: Id) {
        self.source = Some(source);
    }

    /// The gRPC status in the headers of a response, if it is gRPC.
    pub fn grpc_status_of(&self, headers: &HeaderMap) -> Option<u16> {
        parse_grpc_status(headers).filter(|_| self.is_grpc)
    }

    /// Takes note of the head of a response.
    pub fn see_response(&mut self, status: http::StatusCode, headers: &HeaderMap) {
        self.code = status.as_u16();
        self.grpc_status = parse_grpc_status(headers);
    }

    /// Takes note of bytes sent to the downstream.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Takes note of bytes that went both ways after an upgrade.
    pub fn upgraded(&mut self, sent: u64) {
        self.sent = sent;
    }

    /// Takes note of the end of a response.
    pub fn see_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = parse_grpc_status(trailers) {
            self.grpc_status = Some(status);
        }
    }

    /// The route's limit was reached in the middle of the response.
    pub fn timed_out(&mut self) {
        self.flags.set(Flag::UpstreamRequestTimeout);
        self.details = Cow::Borrowed("response_timeout");
    }

    /// The upstream broke off in the middle of the response.
    pub fn upstream_ended_early(&mut self) {
        self.flags.set(Flag::UpstreamConnectionTermination);
        self.details =
            Cow::Borrowed("upstream_reset_after_response_started{connection_termination}");
    }

    /// The downstream did not wait for the end of the response.
    pub fn downstream_left(&mut self) {
        self.flags.set(Flag::DownstreamConnectionTermination);
        self.details = Cow::Borrowed("downstream_remote_disconnect");
    }

    /// Counts and logs it.
    pub fn finish(mut self: Box<Self>) {
        self.record();
    }

    fn record(&mut self) {
        let now = fairlead_runtime::clock::instant();
        let duration = now.saturating_duration_since(self.started);
        let received = self.body.as_ref().map_or(0, Replay::received);
        self.count(duration.as_secs_f64() * 1000.0, received);
        if self.worker.log.is_on() {
            self.log(duration.as_millis(), received);
        }
        self.recorded = true;
    }

    fn count(&self, milliseconds: f64, received: u64) {
        let mut metrics = self.worker.metrics.borrow_mut();
        let (host, service) = match &self.upstream {
            Some(upstream) => (upstream.host.as_ref(), upstream.cluster.service),
            None => (None, Id::UNKNOWN),
        };
        let inbound = self.downstream.is_inbound();
        let ends = Ends {
            reporter: if inbound {
                Reporter::Destination
            } else {
                Reporter::Source
            },
            source: if inbound {
                self.source.unwrap_or(Id::UNKNOWN)
            } else {
                self.worker.me_id
            },
            destination: if inbound {
                self.worker.me_id
            } else {
                host.map_or(Id::UNKNOWN, |host| host.peer_id)
            },
            service,
            protocol: if self.is_grpc {
                Protocol::Grpc
            } else {
                Protocol::Http
            },
            security: if inbound {
                self.downstream.security()
            } else {
                Security::Unknown
            },
        };
        let outcome = Outcome {
            code: self.code,
            grpc: self.grpc_status.filter(|_| self.is_grpc),
            flags: self.flags,
        };
        let values = metrics.requests(ends, outcome);
        values.total += 1;
        values.duration.observe(milliseconds);
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        {
            values.request_bytes.observe(received as f64);
            values.response_bytes.observe(self.sent as f64);
        }
    }

    fn log(&self, duration_ms: u128, received: u64) {
        let text = |value: &'_ Option<HeaderValue>| {
            value
                .as_ref()
                .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
        };
        let (forwarded_for, user_agent) = (text(&self.forwarded_for), text(&self.user_agent));
        let (request_id, authority) = (text(&self.request_id), text(&self.authority));
        let upstream = self.upstream.as_ref();
        self.worker.log.write(&Line {
            start: self.wall,
            request: Some((
                self.method.as_str(),
                self.uri
                    .path_and_query()
                    .map_or("/", http::uri::PathAndQuery::as_str),
                request::protocol(self.version),
            )),
            code: self.code,
            flags: self.flags,
            details: &self.details,
            transport_failure: &self.transport_failure,
            received,
            sent: self.sent,
            duration_ms,
            service_time: self
                .answered
                .map(|at| at.saturating_duration_since(self.started).as_millis()),
            forwarded_for: forwarded_for.as_deref(),
            user_agent: user_agent.as_deref(),
            request_id: request_id.as_deref(),
            authority: authority.as_deref(),
            upstream_host: upstream
                .and_then(|u| u.host.as_ref())
                .map(|host| host.address),
            upstream_cluster: upstream.map_or("", |u| u.cluster.config.spec.name.as_str()),
            upstream_local: upstream.and_then(|u| u.local),
            downstream_local: self.downstream.destination,
            downstream_remote: self.downstream.remote,
            server_name: self.downstream.server_name.as_deref(),
            route: &self.route,
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The downstream reset the stream or closed the connection while we waited.
        if !self.recorded {
            self.downstream_left();
            self.record();
        }
    }
}

fn parse_grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers
        .get(headers::GRPC_STATUS)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
