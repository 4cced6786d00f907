//! The head of a request on its way to an upstream.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version as HttpVersion};

use super::connection::Version;
use super::headers;
use super::router::Context;
use crate::cluster::Host;
use crate::telemetry::peer::PEER_HEADER;

/// A request's head as it goes to an upstream, before an endpoint is chosen.
#[derive(Debug, Clone)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The authority.
    pub authority: String,
    /// The path with its query.
    pub path: PathAndQuery,
    /// The headers, without `host`.
    pub headers: HeaderMap,
    /// The upstream is told the attempt's number.
    pub count_attempts: bool,
}

impl Head {
    /// The request for attempt number `attempt` at `host`, still without its body.
    pub fn request(
        &self,
        context: &Context,
        host: &Host,
        version: Version,
        authority: &str,
        attempt: u32,
    ) -> Request<()> {
        let Self {
            method,
            authority: _,
            path,
            headers,
            count_attempts,
        } = self;
        let mut headers = headers.clone();
        if host.tls.as_ref().is_some_and(|tls| tls.mutual) && !context.downstream.is_inbound() {
            headers.insert(PEER_HEADER, context.worker.me.header.clone());
        }
        if *count_attempts {
            headers.insert(headers::ATTEMPT_COUNT, HeaderValue::from(attempt));
        }
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(path.clone());
        match version {
            Version::Http1 => {
                if let Ok(host) = HeaderValue::from_str(authority) {
                    headers.insert(header::HOST, host);
                }
                join_cookies(&mut headers);
            }
            Version::Http2 => {
                *request.version_mut() = HttpVersion::HTTP_2;
                let scheme = if host.tls.is_some() {
                    Scheme::HTTPS
                } else {
                    Scheme::HTTP
                };
                uri.scheme = Some(scheme);
                uri.authority = authority.parse().ok();
            }
        }
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }
}

/// HTTP/2 may split cookies over several headers; HTTP/1.1 has one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}
