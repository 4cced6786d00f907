//! Routes that stand before another one and keep clients, by their cookies, on the version that
//! they got. Pure.

use fairlead_rollout::{Split, Weight};
use serde_json::{Value, json};

use super::chosen::used;
use crate::router::RoutePlan;
use crate::router::affinity::{Affinity, Cookie, answer};

/// How the names of these routes begin, so that they are told from everyone else's.
const NAME: &str = "fairlead-affinity-";
/// The header that cookies come in.
const HEADER: &str = "cookie";

/// Whether a route is one of these.
pub(super) fn is_bound(route: &Value) -> bool {
    let name = route["name"].as_str();
    name.is_some_and(|name| name.starts_with(NAME))
}

/// Whether a route keeps clients on the canary.
pub(super) fn is_sticky(route: &Value) -> bool {
    route["name"] == format!("{NAME}canary")
}

/// Whether a route is another controller's, with the same cookies.
pub(super) fn is_left_behind(plan: &RoutePlan, route: &Value) -> bool {
    let Some(affinity) = &plan.affinity else {
        return false;
    };
    let matches = route["match"].as_array().map_or(&[][..], Vec::as_slice);
    let concerns = |one: &Value| {
        let headers = one["headers"].as_object().into_iter().flatten();
        let mut cookies = headers.filter(|(name, _)| name.eq_ignore_ascii_case(HEADER));
        cookies.any(|(_, value)| affinity.concerns(&value["regex"]))
    };
    !matches.is_empty() && matches.iter().all(concerns)
}

/// The routes that stand before `route`; `lead` gives the destinations of a split.
pub(super) fn before(
    plan: &RoutePlan,
    route: &Value,
    split: Split,
    lead: &dyn Fn(Split) -> Value,
) -> Vec<Value> {
    let Some(affinity) = &plan.affinity else {
        return Vec::new();
    };
    let to = |weight: Weight| used(lead(Split::to_canary(weight)));
    if split.sticky {
        let canary = bind(route, "canary", &affinity.canary(), to(Weight::FULL));
        let primary = affinity.primary(split);
        let primary = primary.map(|cookie| bind(route, "primary", &cookie, to(Weight::ZERO)));
        return [canary].into_iter().chain(primary).collect();
    }
    if split.canary > Weight::ZERO {
        return Vec::new();
    }
    let cookie = affinity.expired();
    let mut destinations = to(Weight::ZERO);
    for destination in destinations.as_array_mut().into_iter().flatten() {
        give(destination, &cookie);
    }
    vec![bind(route, "expired", &cookie, destinations)]
}

/// Makes the destinations of a route give out the cookies of their version.
pub(super) fn mark(affinity: &Affinity, split: Split, primary: &mut Value, canary: &mut Value) {
    if !split.sticky {
        return;
    }
    give(canary, &affinity.canary());
    if let Some(cookie) = affinity.primary(split) {
        give(primary, &cookie);
    }
}

/// Whether a route asks for a cookie itself, so that no second one can be asked for.
pub(super) fn asks_for_cookies(conditions: &Value) -> bool {
    let conditions = conditions.as_array().into_iter().flatten();
    let mut headers = conditions.filter_map(|one| one["headers"].as_object());
    headers.any(|headers| headers.keys().any(|name| name.eq_ignore_ascii_case(HEADER)))
}

/// Adds the cookie to the answers of a destination, beside what its author adds.
fn give(destination: &mut Value, cookie: &Cookie) {
    let added = &mut destination["headers"]["response"]["add"];
    match (added.as_object_mut(), answer(cookie)) {
        (Some(added), Value::Object(cookie)) => added.extend(cookie),
        (_, cookie) => *added = cookie,
    }
}

/// The route for those of its clients that have the cookie.
fn bind(route: &Value, role: &str, cookie: &Cookie, destinations: Value) -> Value {
    let mut bound = route.clone();
    bound["name"] = json!(format!("{NAME}{role}"));
    let mut matches = route["match"].as_array().cloned().unwrap_or_default();
    if matches.is_empty() {
        matches.push(json!({}));
    }
    for one in &mut matches {
        one["headers"][HEADER] = json!({ "regex": cookie.pattern });
    }
    bound["match"] = matches.into();
    bound["route"] = destinations;
    bound
}
