//! Rules that keep clients, by their cookies, on the version that they got. Pure.
//!
//! They need no place before the others: of rules for the same path, the one with more conditions
//! on headers wins.

use fairlead_rollout::{Split, Weight};
use serde_json::{Value, json};

use crate::router::RoutePlan;
use crate::router::affinity::{Affinity, Cookie};

/// The header that cookies come in.
const HEADER: &str = "cookie";

/// Whether a rule leads those who have a cookie to the canary, and nobody else.
pub(super) fn is_sticky(plan: &RoutePlan, rule: &Value) -> bool {
    let backends = rule["backendRefs"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    matches!(backends, [only] if only["name"] == plan.canary.as_str())
}

/// Whether a rule is another controller's, with the same cookies.
pub(super) fn is_left_behind(plan: &RoutePlan, rule: &Value) -> bool {
    let Some(affinity) = &plan.affinity else {
        return false;
    };
    let matches = rule["matches"].as_array().map_or(&[][..], Vec::as_slice);
    let concerns = |one: &Value| {
        let mut headers = one["headers"].as_array().into_iter().flatten();
        headers.any(|header| {
            let name = header["name"].as_str().unwrap_or_default();
            name.eq_ignore_ascii_case(HEADER) && affinity.concerns(&header["value"])
        })
    };
    !matches.is_empty() && matches.iter().all(concerns)
}

/// The rules beside the one that divides; `rule` makes one from its matches and backends.
pub(super) fn rules(
    plan: &RoutePlan,
    split: Split,
    matches: &[Value],
    backend: &dyn Fn(&str) -> Value,
    rule: &dyn Fn(&[Value], &Value) -> Value,
) -> Vec<Value> {
    let Some(affinity) = &plan.affinity else {
        return Vec::new();
    };
    let bind = |cookie: &Cookie, backend: Value| rule(&bound(matches, cookie), &json!([backend]));
    if split.sticky {
        let canary = bind(&affinity.canary(), backend(&plan.canary));
        let primary = affinity.primary(split);
        let primary = primary.map(|cookie| bind(&cookie, backend(&plan.primary)));
        return [canary].into_iter().chain(primary).collect();
    }
    if split.canary > Weight::ZERO {
        return Vec::new();
    }
    let cookie = affinity.expired();
    let mut primary = backend(&plan.primary);
    give(&mut primary, &cookie);
    vec![bind(&cookie, primary)]
}

/// Makes the backends give out the cookies of their version.
pub(super) fn mark(affinity: &Affinity, split: Split, primary: &mut Value, canary: &mut Value) {
    if !split.sticky {
        return;
    }
    give(canary, &affinity.canary());
    if let Some(cookie) = affinity.primary(split) {
        give(primary, &cookie);
    }
}

fn give(backend: &mut Value, cookie: &Cookie) {
    let header = json!({ "name": "Set-Cookie", "value": cookie.header });
    backend["filters"] = json!([{
        "type": "ResponseHeaderModifier", "responseHeaderModifier": { "add": [header] },
    }]);
}

/// Each match, for those who have the cookie.
fn bound(matches: &[Value], cookie: &Cookie) -> Vec<Value> {
    let everything = [json!({})];
    let matches = if matches.is_empty() {
        &everything[..]
    } else {
        matches
    };
    let condition = json!({ "type": "RegularExpression", "name": HEADER, "value": cookie.pattern });
    let bind = |one: &Value| {
        let mut one = one.clone();
        let mut headers = one["headers"].as_array().cloned().unwrap_or_default();
        headers.push(condition.clone());
        one["headers"] = headers.into();
        one
    };
    matches.iter().map(bind).collect()
}
