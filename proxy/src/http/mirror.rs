//! Copies of requests to other clusters, whose responses nobody sees.

use std::rc::Rc;

use bytes::Bytes;
use fairlead_xds::resource::route::Mirror;
use http::header::HeaderValue;
use http_body_util::BodyExt as _;

use super::body::Outgoing;
use super::head::Head;
use super::router::Context;
use super::upstream::{Lease, Ticket};

/// Sends copies of a request whose body is `body` to those of `mirrors` that the dice choose.
///
/// The copy's host gets the suffix `-shadow`, as Envoy's does, so that its receiver can tell.
pub fn send(context: &Rc<Context>, mirrors: &[Mirror], head: &Head, body: &Bytes) {
    for mirror in mirrors {
        if !mirror.share.takes(context.worker.spread(1_000_000)) {
            continue;
        }
        let Some(cluster) = context.worker.cluster(&mirror.cluster) else {
            continue;
        };
        let (context, mut head, body) = (Rc::clone(context), head.clone(), body.clone());
        head.authority = shadow(&head.authority);
        head.headers
            .insert(super::headers::INTERNAL, HeaderValue::from_static("true"));
        tokio::task::spawn_local(async move {
            let downstream = &context.downstream;
            let now = fairlead_runtime::clock::instant();
            let roll = || context.worker.roll();
            let Ok(host) = cluster.choose(downstream.destination, &[], None, now, roll) else {
                return;
            };
            let version = cluster.config.version(downstream.version);
            let body = if body.is_empty() {
                Outgoing::Empty
            } else {
                Outgoing::Full(Some(body))
            };
            let request = head
                .request(&context, &host, version, &head.authority, 1)
                .map(|()| body);
            let ticket = Ticket::new(&cluster, host);
            // A copy that gets lost is lost: the client already has the original's answer.
            let Ok(mut lease) = Lease::acquire(ticket, &cluster, version, downstream).await else {
                return;
            };
            let Ok(response) = lease.send(request, None).await else {
                return;
            };
            if response.into_body().collect().await.is_ok() {
                lease.give_back();
            }
        });
    }
}

fn shadow(authority: &str) -> String {
    let host = fairlead_routing::host::without_port(authority);
    let port = authority.strip_prefix(host).unwrap_or_default();
    format!("{host}-shadow{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_goes_before_the_port() {
        assert_eq!(shadow("web.shop:8080"), "web.shop-shadow:8080");
        assert_eq!(shadow("web"), "web-shadow");
    }
}
