//! What a request must not bring into the mesh, and what it must have in it.

use fairlead_xds::resource::listener::ForwardClientCert;
use http::Uri;
use http::header::{HeaderMap, HeaderValue};
use http::uri::PathAndQuery;

use super::exchange::Exchange;
use super::headers;
use super::request::path_of;
use super::router::Context;
use crate::telemetry::peer::{PEER_HEADER, PEER_ID_HEADER};
use crate::worker::Worker;

/// Takes from a request what it must not bring, and adds what it must have.
pub fn sanitize(context: &Context, exchange: &mut Exchange, parts: &mut http::request::Parts) {
    let Context {
        worker,
        downstream,
        filter,
        ..
    } = context;
    let headers = &mut parts.headers;
    let peer = headers.remove(PEER_HEADER);
    headers.remove(PEER_ID_HEADER);
    if downstream.is_inbound() {
        exchange.comes_from(downstream.source(worker, peer.as_ref()));
    }
    headers::remove_hop_by_hop(headers);
    if filter.spec.normalize_path
        && let Some(path) = headers::normalize_path(path_of(&parts.uri), filter.spec.merge_slashes)
        && let Ok(path) = path.parse::<PathAndQuery>()
    {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.path_and_query = Some(path);
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
    }
    let headers = &mut parts.headers;
    if filter.spec.use_remote_address {
        // Only the edge itself may say these of a request.
        headers.remove(headers::EXTERNAL_ADDRESS);
        headers.remove(headers::INTERNAL);
        headers::append_forwarded_for(headers, downstream.remote.ip());
    }
    if !headers.contains_key(headers::FORWARDED_PROTO) || filter.spec.use_remote_address {
        let scheme = if downstream.is_tls && !downstream.is_inbound() {
            "https"
        } else {
            "http"
        };
        headers.insert(headers::FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(headers::REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&new_request_id(worker))
    {
        headers.insert(headers::REQUEST_ID, id);
    }
    let own = worker.me.peer.principal.as_str();
    let element = || downstream.client_certificate((!own.is_empty()).then_some(own));
    match filter.spec.forward_client_cert {
        ForwardClientCert::AlwaysForwardOnly => {}
        ForwardClientCert::ForwardOnly if downstream.principal().is_some() => {}
        ForwardClientCert::ForwardOnly | ForwardClientCert::Sanitize => {
            headers.remove(headers::CLIENT_CERT);
        }
        ForwardClientCert::SanitizeSet => {
            headers.remove(headers::CLIENT_CERT);
            set_client_cert(headers, None, element());
        }
        ForwardClientCert::AppendForward => {
            let before = headers.remove(headers::CLIENT_CERT);
            set_client_cert(
                headers,
                before.as_ref().filter(|_| downstream.principal().is_some()),
                element(),
            );
        }
    }
}

fn set_client_cert(headers: &mut HeaderMap, before: Option<&HeaderValue>, element: Option<String>) {
    let Some(element) = element else { return };
    let value = match before.and_then(|before| before.to_str().ok()) {
        Some(before) => format!("{before},{element}"),
        None => element,
    };
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(headers::CLIENT_CERT, value);
    }
}

/// A random UUID (RFC 9562, version 4).
fn new_request_id(worker: &Worker) -> String {
    let (high, low) = (worker.roll(), worker.roll());
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
