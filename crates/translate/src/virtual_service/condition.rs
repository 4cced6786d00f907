//! Conditions of HTTP rules.

use std::collections::BTreeMap;

use fairlead_crds::networking as crd;
use fairlead_routing::header::HeaderValueMatch;
use fairlead_routing::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, StringMatch};

use super::{Context, GatewayRef};
use crate::diagnostic::{Findings, is_given};

/// One of the alternatives of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) name: String,
    pub(crate) matches: RouteMatch,
    /// Only for requests to this port.
    pub(crate) port: Option<u16>,
    /// Only for clients with these labels.
    pub(crate) source_labels: BTreeMap<String, String>,
    /// Only for clients in this namespace.
    pub(crate) source_namespace: Option<String>,
    /// Only on these gateways; empty is those of the whole object.
    pub(crate) gateways: Vec<GatewayRef>,
}

impl Condition {
    /// Takes every request.
    pub(crate) fn any() -> Self {
        Self {
            name: String::new(),
            matches: RouteMatch::any(),
            port: None,
            source_labels: BTreeMap::new(),
            source_namespace: None,
            gateways: Vec::new(),
        }
    }
}

/// Reads a condition; `None` if it is wrong, so that it cannot take what it was not meant for.
pub(super) fn read(
    field: &str,
    request: &crd::HttpMatchRequest,
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Option<Condition> {
    findings.not_acted_on(
        field,
        &[("statPrefix", is_given(request.stat_prefix.as_ref()))],
    );
    let mut matches = RouteMatch::any();
    if let Some(uri) = &request.uri {
        matches.path = path(uri);
    }
    matches.ignore_case = request.ignore_uri_case.unwrap_or(false);
    let pseudo = [
        (":method", &request.method),
        (":authority", &request.authority),
        (":scheme", &request.scheme),
    ];
    for (name, value) in pseudo {
        if let Some(text) = value.as_ref().and_then(text) {
            matches.headers.push(HeaderMatch::text(name, text));
        }
    }
    matches.headers.extend(
        request
            .headers
            .iter()
            .map(|(name, value)| header(name, value)),
    );
    matches
        .headers
        .extend(request.without_headers.iter().map(|(name, value)| {
            let mut header = header(name, value);
            header.invert = true;
            // A header that is not there does not have the value.
            header.missing_as_empty = matches!(header.value, HeaderValueMatch::Text(_));
            header
        }));
    matches.query = request
        .query_params
        .iter()
        .map(|(name, value)| QueryMatch {
            name: name.clone(),
            value: text(value),
        })
        .collect();
    if let Err(error) = matches.compile() {
        findings.error(field, format!("{error}; the condition is left out"));
        return None;
    }
    let port = read_port(field, request.port, findings)?;
    Some(Condition {
        name: request.name.clone().unwrap_or_default(),
        matches,
        port,
        source_labels: request.source_labels.clone(),
        source_namespace: request
            .source_namespace
            .clone()
            .filter(|name| !name.is_empty()),
        gateways: GatewayRef::parse_all(&request.gateways, context.namespace, &[]),
    })
}

/// Reads the port of the condition `field`: `None` if it is wrong, `Some(None)` if any will do.
#[expect(
    clippy::option_option,
    reason = "the condition is left out, or is for any port"
)]
pub(super) fn read_port(
    field: &str,
    port: Option<u32>,
    findings: &mut Findings<'_>,
) -> Option<Option<u16>> {
    let Some(number) = port.filter(|number| *number > 0) else {
        return Some(None);
    };
    let Ok(port) = u16::try_from(number) else {
        let message = "is not a port; the condition is left out";
        findings.error(format!("{field}.port"), message);
        return None;
    };
    Some(Some(port))
}

fn path(uri: &crd::StringMatch) -> PathMatch {
    match (&uri.exact, &uri.prefix, &uri.regex) {
        (Some(path), _, _) => PathMatch::Exact(path.clone()),
        (None, Some(path), _) => PathMatch::Prefix(path.clone()),
        (None, None, Some(pattern)) => PathMatch::Regex(pattern.clone()),
        (None, None, None) => PathMatch::Prefix("/".to_owned()),
    }
}

/// The text that a value must look like; `None` if any will do.
pub(super) fn text(value: &crd::StringMatch) -> Option<StringMatch> {
    match (&value.exact, &value.prefix, &value.regex) {
        (Some(text), _, _) => Some(StringMatch::exact(text)),
        (None, Some(text), _) => Some(StringMatch::prefix(text)),
        // What every value has is asked of none, so that an empty value is enough.
        (None, None, Some(pattern)) if pattern == "*" => None,
        (None, None, Some(pattern)) => Some(StringMatch::regex(pattern)),
        (None, None, None) => None,
    }
}

fn header(name: &str, value: &crd::StringMatch) -> HeaderMatch {
    HeaderMatch {
        name: name.to_ascii_lowercase(),
        value: text(value).map_or(HeaderValueMatch::Present(true), HeaderValueMatch::Text),
        invert: false,
        missing_as_empty: false,
    }
}
