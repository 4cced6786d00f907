//! Bodies on their way through the proxy: requests to an upstream, replies to the downstream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::connection::Received;
use super::exchange::Exchange;
use super::replay::ReplayBody;
use super::upstream::Lease;

/// Why a body could not be passed on; the peer sees an aborted stream.
#[derive(Debug, thiserror::Error)]
pub enum BodyFailed {
    /// The side that sends it failed.
    #[error("failed to receive a body")]
    Receive(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The exchange took longer than its route allows.
    #[error("the exchange took longer than its route allows")]
    Timeout,
    /// Another attempt took the request over.
    #[error("another attempt sends the request")]
    Superseded,
}

/// The body of a request to an upstream.
#[derive(Debug)]
pub enum Outgoing {
    /// None.
    Empty,
    /// All of it is here.
    Full(Option<Bytes>),
    /// It comes from the downstream, and can be sent again while it fits the buffer.
    Replay(ReplayBody),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Replay(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Replay(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Replay(body) => body.size_hint(),
        }
    }
}

/// The body of a reply to the downstream. When it ends, however it ends, the exchange is counted
/// and logged.
#[derive(Debug)]
pub struct Reply {
    source: Source,
    exchange: Option<Box<Exchange>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Source {
    Local(Option<Bytes>),
    Upstream {
        body: Received,
        lease: Option<Lease>,
    },
}

impl Reply {
    /// A reply of our own.
    pub fn local(bytes: Bytes, exchange: Option<Box<Exchange>>) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self {
            source: Source::Local(bytes),
            exchange,
            deadline: None,
        }
    }

    /// An upstream's reply; the connection in `lease` is free again when it has been read.
    pub fn upstream(
        body: Received,
        lease: Lease,
        exchange: Box<Exchange>,
        deadline: Option<Instant>,
    ) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let source = Source::Upstream {
            body,
            lease: Some(lease),
        };
        Self {
            source,
            exchange: Some(exchange),
            deadline,
        }
    }

    /// The exchange that this reply ends.
    pub fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.exchange.as_deref_mut()
    }

    fn finish(&mut self) {
        if let Source::Upstream { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
        if let Some(exchange) = self.exchange.take() {
            exchange.finish();
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Local(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Source::Upstream { body, .. } => {
                if let Some(deadline) = &mut this.deadline
                    && deadline.as_mut().poll(cx).is_ready()
                {
                    if let Some(mut exchange) = this.exchange.take() {
                        exchange.timed_out();
                        exchange.finish();
                    }
                    return Poll::Ready(Some(Err(BodyFailed::Timeout)));
                }
                ready!(Pin::new(body).poll_frame(cx))
                    .map(|frame| frame.map_err(|error| BodyFailed::Receive(Box::new(error))))
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(exchange) = &mut this.exchange {
                    if let Some(data) = frame.data_ref() {
                        exchange.sent(data.len());
                    }
                    if let Some(trailers) = frame.trailers_ref() {
                        exchange.see_trailers(trailers);
                    }
                }
            }
            Some(Err(_)) => {
                if let Some(mut exchange) = this.exchange.take() {
                    exchange.upstream_ended_early();
                    exchange.finish();
                }
            }
            None => this.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(bytes) => bytes.is_none(),
            Source::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Upstream { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // Codecs stop to ask once the announced length is there, so an end need not have been seen.
        if self.is_end_stream() {
            self.finish();
        } else if let Some(mut exchange) = self.exchange.take() {
            exchange.downstream_left();
            exchange.finish();
        }
    }
}

/// A limit that is there, as a moment.
pub fn deadline(now: Instant, timeout: Option<Duration>) -> Option<Instant> {
    timeout.map(|timeout| now + timeout)
}
