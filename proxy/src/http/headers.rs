//! Headers that a proxy adds, consumes and must not pass on; no IO.
//!
//! RFC 9110, section 7.6.1, for what belongs to one connection only.

use fairlead_routing::InvalidRegex;
use fairlead_routing::text::TextMatcher;
use fairlead_xds::resource::route::CorsPolicy;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

/// gRPC's status.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// gRPC's message.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The request's id, the same through all proxies.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The client's address and those of the proxies after it.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The client's certificate.
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// The number of the attempt.
pub const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// The path before a rewrite.
pub const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// How long the upstream took, in milliseconds.
pub const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
/// An upstream that has this must not be tried again.
pub const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
/// Marks requests that came from inside.
pub const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
/// The client's address as the edge saw it.
pub const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

const HOP_BY_HOP: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what belongs to one connection only. `te: trailers` is kept: gRPC needs it.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            if name != header::TE {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
}

/// Adds `address` to the list of those that a request came through.
pub fn append_forwarded_for(headers: &mut HeaderMap, address: std::net::IpAddr) {
    let mut list = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.push(b',');
    }
    list.extend_from_slice(address.to_string().as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(FORWARDED_FOR, list);
    }
}

/// Normalises a path as RFC 3986, section 6.2.2, says: dot segments and needless escapes go,
/// `%2F` stays as it is.
pub fn normalize_path(path_and_query: &str, merge_slashes: bool) -> Option<String> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let decoded = decode_unreserved(path);
    let decoded = decoded.replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded
        .strip_prefix('/')
        .unwrap_or(&decoded)
        .split('/')
        .peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." if last => segments.push(""),
            "." => {}
            ".." => {
                segments.pop();
                if last {
                    segments.push("");
                }
            }
            "" if merge_slashes && !last => {}
            part => segments.push(part),
        }
    }
    let mut normal = format!("/{}", segments.join("/"));
    if let Some(query) = query {
        normal.push('?');
        normal.push_str(query);
    }
    (normal != path_and_query).then_some(normal)
}

fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~') => {
                decoded.push(c);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// Cross-origin rules, compiled.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Vec<TextMatcher>,
    spec: CorsPolicy,
}

impl Cors {
    /// Compiles the rules.
    pub fn compile(spec: &CorsPolicy) -> Result<Self, InvalidRegex> {
        let origins = spec
            .allow_origins
            .iter()
            .map(fairlead_routing::StringMatch::compile);
        Ok(Self {
            origins: origins.collect::<Result<_, _>>()?,
            spec: spec.clone(),
        })
    }

    /// The origin of a request, if the rules allow it.
    pub fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.origins
            .iter()
            .any(|allowed| allowed.is_match(origin.as_bytes()))
            .then(|| origin.clone())
    }

    /// The answer to a preflight, if this is one that we answer.
    pub fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<(StatusCode, HeaderMap)> {
        if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let Some(origin) = self.allowed_origin(headers) else {
            let answer_anyway = self.spec.forward_unmatched_preflights == Some(false);
            return answer_anyway.then(|| (StatusCode::OK, HeaderMap::new()));
        };
        let mut answer = HeaderMap::new();
        self.mark(origin, &mut answer);
        let CorsPolicy {
            allow_methods,
            allow_headers,
            max_age,
            ..
        } = &self.spec;
        set(
            &mut answer,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            allow_methods,
        );
        set(
            &mut answer,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            allow_headers,
        );
        set(&mut answer, header::ACCESS_CONTROL_MAX_AGE, max_age);
        Some((StatusCode::OK, answer))
    }

    /// Tells the browser on a response that `origin` may see it.
    pub fn mark(&self, origin: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.spec.allow_credentials == Some(true) {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        set(
            headers,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            &self.spec.expose_headers,
        );
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("x-other", "2"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["te", "x-other"]);
    }

    #[test]
    fn paths_are_normalised_as_envoy_does() {
        let check = |path: &str, merge, expected: Option<&str>| {
            assert_eq!(normalize_path(path, merge).as_deref(), expected, "{path}");
        };
        check(
            "/b/../b//c/./d%2Fe%2e%2e/%41?x=/../y",
            true,
            Some("/b/c/d%2Fe../A?x=/../y"),
        );
        check("/a/b?c", true, None);
        check("/a//b", false, None);
        check("/a/%2e%2e/b/", true, Some("/b/"));
        check("/../..", true, Some("/"));
        check("/a/..", true, Some("/"));
    }

    #[test]
    fn a_proxy_adds_itself_to_the_list() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, "1.1.1.1".parse().unwrap());
        headers.append(FORWARDED_FOR, "2.2.2.2".parse().unwrap());
        append_forwarded_for(&mut headers, "3.3.3.3".parse().unwrap());
        assert_eq!(headers[FORWARDED_FOR], "1.1.1.1,2.2.2.2,3.3.3.3");
    }
}
