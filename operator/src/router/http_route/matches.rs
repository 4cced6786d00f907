//! Matches of Istio's form as matches of the Gateway API. Pure.

use std::collections::BTreeMap;

use fairlead_crds::canary::{CanaryHeaderMatch, CanaryMatch};
use fairlead_crds::networking::{HttpMatchRequest, StringMatch};
use serde_json::{Map, Value, json};

use crate::canary::validate::Error;
use crate::router::{RoutePlan, escape};

/// Refuses matches that the Gateway API does not have.
pub(super) fn validate(plan: &RoutePlan) -> Result<(), Error> {
    for one in &plan.service.r#match {
        if let Some(name) = unknown(one) {
            return Err(refusal("spec.service.match", name));
        }
    }
    let mut of_analysis = plan.matches.iter().chain(&plan.chosen);
    if of_analysis.any(|one| !one.source_labels.is_empty()) {
        return Err(refusal("spec.analysis.match", "sourceLabels"));
    }
    Ok(())
}

fn refusal(field: &'static str, name: &str) -> Error {
    Error::Field {
        field,
        fix: format!(
            "`{name}` has no counterpart in an HTTPRoute; match by uri, an exact method, headers \
             or queryParams"
        ),
    }
}

/// The first condition that cannot be said.
fn unknown(asked: &HttpMatchRequest) -> Option<&'static str> {
    let HttpMatchRequest {
        name: _,
        uri: _,
        scheme,
        method,
        authority,
        headers: _,
        without_headers,
        query_params: _,
        ignore_uri_case,
        port,
        source_labels,
        gateways,
        source_namespace,
        stat_prefix,
    } = asked;
    let inexact = |method: &StringMatch| method.exact.is_none();
    [
        (scheme.is_some(), "scheme"),
        (method.as_ref().is_some_and(inexact), "method"),
        (authority.is_some(), "authority"),
        (!without_headers.is_empty(), "withoutHeaders"),
        (*ignore_uri_case == Some(true), "ignoreUriCase"),
        (port.is_some(), "port"),
        (!source_labels.is_empty(), "sourceLabels"),
        (!gateways.is_empty(), "gateways"),
        (source_namespace.is_some(), "sourceNamespace"),
        (stat_prefix.is_some(), "statPrefix"),
    ]
    .into_iter()
    .find_map(|(is_set, name)| is_set.then_some(name))
}

/// The matches of the service; none is everything.
pub(super) fn of_service(plan: &RoutePlan) -> Vec<Value> {
    let services = plan.service.r#match.iter();
    services
        .map(|service| joined(&CanaryMatch::default(), service))
        .collect()
}

/// Each match of the strategy together with each match of the service.
pub(super) fn each(plan: &RoutePlan, of_strategy: &[CanaryMatch]) -> Vec<Value> {
    let everything = [HttpMatchRequest::default()];
    let services = if plan.service.r#match.is_empty() {
        &everything[..]
    } else {
        &plan.service.r#match
    };
    let pairs = of_strategy
        .iter()
        .flat_map(|canary| services.iter().map(move |service| (canary, service)));
    pairs
        .map(|(canary, service)| joined(canary, service))
        .collect()
}

fn joined(canary: &CanaryMatch, service: &HttpMatchRequest) -> Value {
    let mut joined = Map::new();
    if let Some(uri) = &service.uri {
        joined.insert("path".to_owned(), path(uri));
    }
    let method = service.method.as_ref().and_then(|one| one.exact.as_ref());
    if let Some(method) = method {
        joined.insert("method".to_owned(), json!(method));
    }
    let mut headers = texts(&service.headers);
    let own = canary.headers.iter();
    headers.extend(own.map(|(name, value)| (name.as_str(), header(value))));
    let mut query = texts(&service.query_params);
    query.extend(texts(&canary.query_params));
    for (field, conditions) in [("headers", headers), ("queryParams", query)] {
        if conditions.is_empty() {
            continue;
        }
        let conditions = conditions.into_iter();
        let conditions = conditions
            .map(|(name, (kind, value))| json!({ "type": kind, "name": name, "value": value }));
        joined.insert(field.to_owned(), conditions.collect());
    }
    Value::Object(joined)
}

fn path(uri: &StringMatch) -> Value {
    let (kind, value) = match uri {
        StringMatch {
            exact: Some(text), ..
        } => ("Exact", text.as_str()),
        StringMatch {
            prefix: Some(text), ..
        } => ("PathPrefix", text.as_str()),
        StringMatch {
            regex: Some(text), ..
        } => ("RegularExpression", text.as_str()),
        StringMatch { .. } => ("PathPrefix", "/"),
    };
    json!({ "type": kind, "value": value })
}

type Condition = (&'static str, String);

fn texts(all: &BTreeMap<String, StringMatch>) -> BTreeMap<&str, Condition> {
    let texts = all.iter();
    texts
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect()
}

/// The API knows the whole text or a regular expression.
fn text(value: &StringMatch) -> Condition {
    match value {
        StringMatch {
            exact: Some(text), ..
        } => ("Exact", text.clone()),
        StringMatch {
            prefix: Some(text), ..
        } => regex(format!("{}.*", escape(text))),
        StringMatch {
            regex: Some(text), ..
        } => regex(text.clone()),
        StringMatch { .. } => regex(".*".to_owned()),
    }
}

fn header(value: &CanaryHeaderMatch) -> Condition {
    if let Some(suffix) = &value.suffix {
        return regex(format!(".*{}", escape(suffix)));
    }
    text(&StringMatch {
        exact: value.exact.clone(),
        prefix: value.prefix.clone(),
        regex: value.regex.clone(),
    })
}

fn regex(text: String) -> Condition {
    ("RegularExpression", text)
}
