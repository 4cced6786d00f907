//! A request as route matching sees it, and its few properties that others ask for; no IO.

use std::borrow::Cow;

use http::header::{self, HeaderMap};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri, Version};

/// Matching's view of a request.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    method: &'a str,
    path: &'a str,
    authority: &'a str,
    scheme: &'a str,
    headers: &'a HeaderMap,
}

impl<'a> View<'a> {
    /// The view of a request's parts.
    pub fn new(parts: &'a http::request::Parts, authority: &'a str, scheme: &'a str) -> Self {
        Self {
            method: parts.method.as_str(),
            path: path_of(&parts.uri),
            authority,
            scheme,
            headers: &parts.headers,
        }
    }
}

impl fairlead_routing::Request for View<'_> {
    fn path(&self) -> &str {
        self.path
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let pseudo = match name {
            ":method" => Some(self.method),
            ":path" => Some(self.path),
            ":authority" | "host" => Some(self.authority),
            ":scheme" => Some(self.scheme),
            _ => None,
        };
        if let Some(pseudo) = pseudo {
            return Some(Cow::Borrowed(pseudo.as_bytes()));
        }
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?.as_bytes();
        let Some(second) = values.next() else {
            return Some(Cow::Borrowed(first));
        };
        // Envoy joins the values of a repeated header before it matches; cookies, which HTTP/2 may
        // split over several headers, as HTTP/1.1 has them (RFC 9113, section 8.2.3).
        let separator: &[u8] = if name == header::COOKIE { b"; " } else { b"," };
        let mut joined = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value.as_bytes());
        }
        Some(Cow::Owned(joined))
    }
}

/// The authority that the client asked for: of the request line, else the `host` header.
pub fn authority<B>(request: &Request<B>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    let host = request.headers().get(header::HOST)?;
    host.to_str()
        .ok()
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
}

/// The path with its query.
pub fn path_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// Whether it is gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| rest.first().is_none_or(|next| matches!(next, b'+' | b';')))
    })
}

/// The protocol that an HTTP/1.1 request wants to be upgraded to.
pub fn upgrade<B>(request: &Request<B>) -> Option<&HeaderValue> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let wants = request
        .headers()
        .get_all(header::CONNECTION)
        .iter()
        .any(|value| {
            value.to_str().is_ok_and(|text| {
                text.split(',')
                    .any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
            })
        });
    wants
        .then(|| request.headers().get(header::UPGRADE))
        .flatten()
}

/// The version as the access log prints it.
pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The limit that a gRPC client gives with `grpc-timeout`, as gRPC's protocol document defines it.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<std::time::Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => std::time::Duration::from_secs(number * 3600),
        "M" => std::time::Duration::from_secs(number * 60),
        "S" => std::time::Duration::from_secs(number),
        "m" => std::time::Duration::from_millis(number),
        "u" => std::time::Duration::from_micros(number),
        "n" => std::time::Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_grpc_timeout_has_a_unit() {
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&headers)
        };
        assert_eq!(parse("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse("2"), None);
        assert_eq!(parse("S"), None);
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let check = |kind: &str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        };
        check("application/grpc", true);
        check("application/grpc+proto", true);
        check("application/grpc-web", false);
        check("application/json", false);
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let request = |connection: &str| {
            Request::builder()
                .header("connection", connection)
                .header("upgrade", "websocket")
                .body(())
                .unwrap()
        };
        assert!(upgrade(&request("keep-alive, Upgrade")).is_some());
        assert!(upgrade(&request("keep-alive")).is_none());
    }
}
