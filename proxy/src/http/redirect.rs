//! Redirections; no IO.

use fairlead_routing::rewrite::Rewriter;
use fairlead_xds::resource::route::{Redirect, RedirectPath};
use http::Uri;

use super::request::path_of;

/// Where the client is sent.
pub fn location(
    rules: &Redirect,
    rewriter: Option<&Rewriter>,
    uri: &Uri,
    authority: &str,
    scheme: &str,
) -> String {
    let host = fairlead_routing::host::without_port(authority);
    let port = authority.strip_prefix(host).unwrap_or_default();
    let new_scheme = rules.scheme.as_deref().unwrap_or(scheme);
    let new_host = rules.host.as_deref().unwrap_or(host);
    let port = match rules.port {
        Some(80) if new_scheme == "http" => String::new(),
        Some(443) if new_scheme == "https" => String::new(),
        Some(port) => format!(":{port}"),
        None if rules.scheme.is_some() => String::new(),
        None => port.to_owned(),
    };
    let old = path_of(uri);
    let mut path = match (&rules.path, rewriter) {
        (Some(RedirectPath::Full(path)), _) => match old.split_once('?') {
            Some((_, query)) if !path.contains('?') => format!("{path}?{query}"),
            _ => path.clone(),
        },
        (Some(RedirectPath::Rewrite(_)), Some(rewriter)) => rewriter.rewrite(old),
        _ => old.to_owned(),
    };
    if rules.strip_query
        && let Some(end) = path.find('?')
    {
        path.truncate(end);
    }
    format!("{new_scheme}://{new_host}{port}{path}")
}
