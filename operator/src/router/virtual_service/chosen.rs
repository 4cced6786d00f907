//! The route to the canary for chosen requests, before another one that is divided. Pure.

use fairlead_crds::canary::{CanaryHeaderMatch, CanaryMatch};
use fairlead_rollout::{Split, Weight};
use serde_json::{Map, Value, json};

use super::settings::without_nulls;
use crate::router::{RoutePlan, escape};

/// The name of these routes, so that they are told from everyone else's.
const NAME: &str = "fairlead-match";

/// Whether a route is one of these.
pub(super) fn is_chosen(route: &Value) -> bool {
    route["name"] == NAME
}

/// The route that stands before `route`; a canary without a weight gets nothing. `lead` gives the
/// destinations of a split.
pub(super) fn before(
    plan: &RoutePlan,
    route: &Value,
    split: Split,
    lead: &dyn Fn(Split) -> Value,
) -> Option<Value> {
    if plan.chosen.is_empty() || split.canary == Weight::ZERO {
        return None;
    }
    let mut chosen = route.clone();
    chosen["name"] = json!(NAME);
    let conditions = route["match"].as_array().map_or(&[][..], Vec::as_slice);
    chosen["match"] = each(&plan.chosen, conditions).into();
    chosen["route"] = used(lead(Split::to_canary(Weight::FULL)));
    Some(chosen)
}

/// Each match of a strategy together with each of a route; none of a route is everything.
pub(super) fn each(matches: &[CanaryMatch], conditions: &[Value]) -> Vec<Value> {
    let everything = [json!({})];
    let conditions = if conditions.is_empty() {
        &everything[..]
    } else {
        conditions
    };
    let pairs = matches
        .iter()
        .flat_map(|one| conditions.iter().map(move |of_route| (one, of_route)));
    pairs.map(|(one, of_route)| joined(one, of_route)).collect()
}

fn joined(one: &CanaryMatch, of_route: &Value) -> Value {
    let mut joined = of_route.clone();
    let mut add = |field: &str, entries: Map<String, Value>| {
        if entries.is_empty() {
            return;
        }
        let known = joined[field].as_object().cloned().unwrap_or_default();
        joined[field] = known.into_iter().chain(entries).collect();
    };
    let headers = one.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), header(value)));
    add("headers", headers.collect());
    let query = one.query_params.iter();
    let query = query.map(|(name, value)| (name.clone(), json!(value)));
    add("queryParams", query.collect());
    let labels = one.source_labels.iter();
    let labels = labels.map(|(name, value)| (name.clone(), json!(value)));
    add("sourceLabels", labels.collect());
    joined
}

/// Istio has no suffix; a regular expression says the same.
fn header(value: &CanaryHeaderMatch) -> Value {
    let CanaryHeaderMatch {
        exact,
        prefix,
        suffix,
        regex,
    } = value;
    if let Some(suffix) = suffix {
        let escaped = escape(suffix);
        return json!({ "regex": format!(".*{escaped}") });
    }
    without_nulls(json!({ "exact": exact, "prefix": prefix, "regex": regex }))
}

/// Without destinations that get nothing: what is not named gets nothing by mistake either.
pub(super) fn used(destinations: Value) -> Value {
    let Value::Array(all) = destinations else {
        return destinations;
    };
    let all = all.into_iter();
    all.filter(|one| one["weight"].as_i64() != Some(0))
        .collect()
}
