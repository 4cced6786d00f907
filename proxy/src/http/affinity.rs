//! What a request's endpoint is bound to, where the route wants the same one each time; no IO.

use fairlead_xds::resource::route::HashKey;
use http::header::{self, HeaderMap, HeaderValue};

use crate::cluster::balance::hash;

/// What is known of a request that can bind it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its path with the query.
    pub path: &'a str,
    /// Its client.
    pub remote: std::net::IpAddr,
}

/// The binding of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Requests with the same number go to the same endpoint.
    pub key: Option<u64>,
    /// The cookie that binds the client's next requests.
    pub cookie: Option<HeaderValue>,
}

/// Binds a request by the first of `keys` that it has. A client without the cookie that is asked
/// for gets one, of the random number `roll`.
pub fn bind(keys: &[HashKey], request: Request<'_>, roll: u64) -> Affinity {
    for key in keys {
        let (value, cookie) = match key {
            HashKey::Header(name) => (
                request
                    .headers
                    .get(name)
                    .map(|value| hash(value.as_bytes())),
                None,
            ),
            HashKey::SourceIp => (Some(hash(request.remote.to_string().as_bytes())), None),
            HashKey::QueryParameter(name) => {
                (query(request.path, name).map(str::as_bytes).map(hash), None)
            }
            HashKey::Cookie { name, path, ttl } => match (cookie(request.headers, name), ttl) {
                (Some(value), _) => (Some(hash(value.as_bytes())), None),
                (None, None) => (None, None),
                (None, Some(ttl)) => {
                    let value = format!("{roll:016x}");
                    let age = match ttl.as_secs() {
                        0 => String::new(),
                        seconds => format!("; Max-Age={seconds}"),
                    };
                    let path = if path.is_empty() {
                        String::new()
                    } else {
                        format!("; Path={path}")
                    };
                    let text = format!("{name}=\"{value}\"{age}{path}; HttpOnly");
                    (
                        Some(hash(value.as_bytes())),
                        HeaderValue::from_str(&text).ok(),
                    )
                }
            },
        };
        if value.is_some() {
            return Affinity { key: value, cookie };
        }
    }
    Affinity::default()
}

fn query<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| match pair.split_once('=') {
            Some((key, value)) if key == name => Some(value),
            _ => None,
        })
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lists = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(';'))
        .find_map(|pair| match pair.trim().split_once('=') {
            Some((key, value)) if key == name => Some(value.trim_matches('"')),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bound(keys: &[HashKey], headers: &[(&'static str, &str)], path: &str) -> Affinity {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let headers = headers.collect();
        bind(
            keys,
            Request {
                headers: &headers,
                path,
                remote: [10, 0, 0, 1].into(),
            },
            7,
        )
    }

    #[test]
    fn the_first_key_that_a_request_has_binds_it() {
        let keys = [
            HashKey::Header("x-user".to_owned()),
            HashKey::QueryParameter("user".to_owned()),
        ];
        let by_header = bound(&keys, &[("x-user", "ann")], "/?user=bob");
        assert_eq!(by_header, bound(&keys, &[], "/a?b=c&user=ann"));
        assert_ne!(by_header, bound(&keys, &[], "/?user=bob"));
        assert_eq!(bound(&keys, &[], "/").key, None);
    }

    #[test]
    fn a_cookie_that_was_given_binds_the_next_request() {
        let keys = [HashKey::Cookie {
            name: "session".to_owned(),
            path: "/".to_owned(),
            ttl: Some(Duration::from_secs(60)),
        }];
        let first = bound(&keys, &[], "/");
        let given = first.cookie.clone().unwrap();
        assert_eq!(
            given,
            "session=\"0000000000000007\"; Max-Age=60; Path=/; HttpOnly"
        );
        let next = bound(&keys, &[("cookie", "a=b; session=0000000000000007")], "/");
        assert_eq!((next.key, next.cookie), (first.key, None));
    }
}
