//! Upgrades such as WebSocket: once both ends agree, the connection is a pipe of bytes.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::body::Reply;
use super::connection::{Pending, Received};
use super::exchange::Exchange;
use super::upstream::Lease;
use crate::tcp;

/// A wish to upgrade, with the downstream's side of the pipe.
#[derive(Debug)]
pub struct Wish {
    protocol: HeaderValue,
    downstream: Pending,
}

impl Wish {
    /// The downstream wants `protocol`.
    pub fn new(protocol: HeaderValue, downstream: Pending) -> Self {
        Self {
            protocol,
            downstream,
        }
    }

    /// Passes the wish on to the upstream.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
    }

    /// Passes the upstream's consent on to the downstream, and the bytes both ways from then on.
    pub fn grant(
        self,
        mut response: Response<Received>,
        lease: Lease,
        mut exchange: Box<Exchange>,
        drain: crate::drain::Drain,
    ) -> Response<Reply> {
        let upstream = Pending::of_response(&mut response);
        let downstream = self.downstream;
        tokio::task::spawn_local(async move {
            // The connection counts as used for as long as the pipe is open.
            let _lease = lease;
            let (downstream, upstream) = match futures::try_join!(
                downstream.opened(),
                upstream.opened()
            ) {
                Ok(both) => both,
                Err(error) => {
                    tracing::debug!(error = %fairlead_runtime::report(&error), "an upgrade failed");
                    exchange.downstream_left();
                    return exchange.finish();
                }
            };
            let counts = Rc::new(tcp::copy::Counts::default());
            let copied = tcp::copy::both_ways(downstream, upstream, &counts);
            tokio::select! {
                // An end by either side is a normal end of a pipe.
                _ended = copied => {}
                () = drain.closing() => {}
            }
            exchange.upgraded(counts.to_downstream.get());
            exchange.finish();
        });
        let (mut parts, _) = response.into_parts();
        let protocol = parts.headers.remove(header::UPGRADE);
        super::headers::remove_hop_by_hop(&mut parts.headers);
        parts.headers.remove(header::CONTENT_LENGTH);
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            parts.headers.insert(header::UPGRADE, protocol);
        }
        Response::from_parts(parts, Reply::local(Bytes::new(), None))
    }
}

/// Whether the upstream agreed.
pub fn is_granted(status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
}

/// Whether `wanted` is one of the protocols that are allowed.
pub fn is_allowed(wanted: &HeaderValue, allowed: &[String]) -> bool {
    wanted.to_str().is_ok_and(|wanted| {
        let first = wanted.split(',').next().unwrap_or_default().trim();
        allowed
            .iter()
            .any(|protocol| protocol.eq_ignore_ascii_case(first))
    })
}
