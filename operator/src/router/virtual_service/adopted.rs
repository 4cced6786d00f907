//! Someone else's VirtualService: only its routes to the apex become ours, and only while we hold
//! them. Pure.
//!
//! Istio's weights are relative, so the apex' share of a route is divided exactly: every other
//! destination's weight is multiplied by a hundred. A setting of `spec.service` is added to a
//! route that has none; where the author has another one, theirs stays and the Canary is refused.
//! What the routes were, and what was added, is kept in an annotation and taken back from there.

mod conflict;

use fairlead_rollout::{Split, Weight};
use json_patch::Patch;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::settings::settings;
use super::{bound, chosen};
use crate::router::{Error, RoutePlan, Routes};

/// The routes as their author wrote them, by their place among the routes to the apex.
const ORIGINAL: &str = "fairlead.dev/adopted-routes";
/// The annotation's path in a JSON patch.
const ORIGINAL_PATH: &str = "/metadata/annotations/fairlead.dev~1adopted-routes";

/// What a route was before we held it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Original {
    /// Its destinations.
    route: Value,
    /// What we added, as we wrote it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    added: Map<String, Value>,
}

/// The split that the routes to the apex hold, and whether all of them are as they should be.
pub(super) fn read(plan: &RoutePlan, found: &DynamicObject) -> Routes {
    let originals = saved(found);
    let plain = without_bound(found);
    let mut splits = Vec::new();
    let mut untouched = false;
    let mut settled = true;
    for (_, route) in routes(&plain) {
        match state(plan, route) {
            State::Foreign => {}
            State::Untouched => untouched = true,
            State::Ours(split) => {
                let original = originals.get(splits.len()).cloned().unwrap_or_default();
                settled &= set(plan, route, 0, original).0.is_empty();
                splits.push(split);
            }
        }
    }
    let sticky = routes(found).any(|(_, route)| bound::is_sticky(route));
    let first = splits.first().copied();
    let split = first.map(|split| Split { sticky, ..split });
    Routes {
        split,
        // Someone who added a route to the apex sends it past the split: that is put right.
        current: split.is_some_and(|split| binds(plan, found, &plain, split))
            && !untouched
            && settled
            && splits.iter().all(|one| Some(*one) == first),
        conflict: conflict::find(plan, &plain, &originals),
        ..Routes::default()
    }
}

/// Whether a route stands before one of ours, for some of its clients.
fn stands_before(route: &Value) -> bool {
    bound::is_bound(route) || chosen::is_chosen(route)
}

/// The VirtualService without the routes that stand before ours.
fn without_bound(found: &DynamicObject) -> DynamicObject {
    let mut plain = found.clone();
    if let Some(http) = plain.data["spec"]["http"].as_array_mut() {
        http.retain(|route| !stands_before(route));
    }
    plain
}

/// Whether there is something to stand before ours.
fn precedes(plan: &RoutePlan) -> bool {
    plan.affinity.is_some() || !plan.chosen.is_empty()
}

/// Whether clients are chosen, and kept on their version, as the split wants it.
fn binds(plan: &RoutePlan, found: &DynamicObject, plain: &DynamicObject, split: Split) -> bool {
    if !precedes(plan) {
        return !routes(found).any(|(_, route)| stands_before(route));
    }
    let wanted = edit(plan, plain, split)
        .map(|(edits, originals)| arrange(plan, plain, split, edits, &originals));
    wanted.is_ok_and(|wanted| found.data["spec"]["http"] == wanted)
}

/// The list of routes after `edits`, with those for chosen requests and for clients that are kept
/// on their version before each of ours.
fn arrange(
    plan: &RoutePlan,
    plain: &DynamicObject,
    split: Split,
    edits: Vec<Value>,
    originals: &[Original],
) -> Value {
    let edited = edited(plain, edits);
    let mut arranged = Vec::new();
    let mut originals = originals.iter();
    for (_, route) in routes(&edited) {
        if let State::Ours(_) = state(plan, route)
            && let Some(original) = originals.next()
        {
            let lead = |split| divide(plan, &original.route, split);
            arranged.extend(chosen::before(plan, route, split, &lead));
            arranged.extend(bound::before(plan, route, split, &lead));
        }
        arranged.push(route.clone());
    }
    arranged.into()
}

fn edited(plain: &DynamicObject, edits: Vec<Value>) -> DynamicObject {
    let mut edited = plain.clone();
    let patch = to_patch(edits);
    json_patch::patch(&mut edited.data, &patch).expect("the edits name what is in the list");
    edited
}

/// The routes of a VirtualService, by their place.
fn routes(found: &DynamicObject) -> impl Iterator<Item = (usize, &Value)> {
    let http = found.data["spec"]["http"].as_array();
    http.into_iter().flatten().enumerate()
}

enum State {
    Foreign,
    Untouched,
    Ours(Split),
}

fn state(plan: &RoutePlan, route: &Value) -> State {
    let destinations = || route["route"].as_array().into_iter().flatten();
    if destinations().any(|one| leads_to(plan, one, &plan.apex)) {
        return State::Untouched;
    }
    let weight = |name: &str| {
        destinations()
            .find(|one| leads_to(plan, one, name))
            .map(|one| one["weight"].as_i64().unwrap_or(0))
    };
    let (Some(primary), Some(canary)) = (weight(&plan.primary), weight(&plan.canary)) else {
        return State::Foreign;
    };
    let share = (primary + canary > 0).then(|| canary * 100 / (primary + canary));
    let mirrored = leads_to(
        plan,
        &json!({ "destination": route["mirror"] }),
        &plan.canary,
    );
    State::Ours(Split {
        canary: Weight::clamped(share.unwrap_or(0)),
        mirrored,
        sticky: false,
    })
}

/// Whether a destination is a Service of ours, by its short or full name.
fn leads_to(plan: &RoutePlan, destination: &Value, service: &str) -> bool {
    let Some(host) = destination["destination"]["host"].as_str() else {
        return false;
    };
    let namespace = &plan.namespace;
    host == service
        || host == format!("{service}.{namespace}")
        || host == format!("{service}.{namespace}.svc")
        || host == format!("{service}.{namespace}.svc.cluster.local")
}

/// Changes the routes to the apex, and nothing else.
pub(super) fn patch(
    plan: &RoutePlan,
    found: &DynamicObject,
    split: Split,
    version: Option<&str>,
) -> Result<Patch, Error> {
    let plain = without_bound(found);
    let (edits, originals) = edit(plan, &plain, split)?;
    let mut changes = vec![guard(
        version.or(found.metadata.resource_version.as_deref()),
    )];
    if precedes(plan) || plain.data != found.data {
        let http = arrange(plan, &plain, split, edits, &originals);
        changes.push(json!({ "op": "replace", "path": "/spec/http", "value": http }));
    } else {
        changes.extend(edits);
    }
    changes.extend(annotate(found, &originals));
    Ok(to_patch(changes))
}

/// The edits of each route to the apex, and what these routes were before we held them.
fn edit(
    plan: &RoutePlan,
    plain: &DynamicObject,
    split: Split,
) -> Result<(Vec<Value>, Vec<Original>), Error> {
    let mut edits = Vec::new();
    let mut originals = saved(plain);
    let mut place = 0;
    for (index, route) in routes(plain) {
        let is_new = match state(plan, route) {
            State::Foreign => continue,
            State::Untouched => true,
            State::Ours(_) => false,
        };
        if is_new || place >= originals.len() {
            let original = Original {
                route: route["route"].clone(),
                ..Original::default()
            };
            originals.insert(place.min(originals.len()), original);
        }
        let divided = divide(plan, &originals[place].route, split);
        edits.push(json!({ "op": "replace", "path": format!("/spec/http/{index}/route"), "value": divided }));
        let (settings, original) = set(plan, route, index, originals[place].clone());
        originals[place] = original;
        place += 1;
        edits.extend(settings);
        edits.extend(mirror(plan, route, index, split));
    }
    if place == 0 {
        return Err(Error::NoRoute {
            name: plan.apex.clone(),
            host: plan.apex.clone(),
        });
    }
    originals.truncate(place);
    Ok((edits, originals))
}

/// The edits that give a route the settings of the Canary, with what is then ours in it.
fn set(
    plan: &RoutePlan,
    route: &Value,
    index: usize,
    mut original: Original,
) -> (Vec<Value>, Original) {
    let path = |field: &str| format!("/spec/http/{index}/{field}");
    let wanted = settings(plan);
    let mut edits = Vec::new();
    let given_up: Vec<String> = original
        .added
        .keys()
        .filter(|field| !wanted.contains_key(*field))
        .cloned()
        .collect();
    for field in given_up {
        if original.added.remove(&field).as_ref() == Some(&route[&field]) {
            edits.push(json!({ "op": "remove", "path": path(&field) }));
        }
    }
    for (field, value) in wanted {
        let live = &route[&field];
        let is_ours = original.added.contains_key(&field);
        if *live == value || !(live.is_null() || is_ours) {
            continue;
        }
        edits.push(json!({ "op": "add", "path": path(&field), "value": value }));
        original.added.insert(field, value);
    }
    (edits, original)
}

/// Puts the routes back; `None` when nothing of ours is in them.
pub(super) fn restore(plan: &RoutePlan, found: &DynamicObject) -> Option<Patch> {
    let originals = saved(found);
    let plain = without_bound(found);
    let mut edits = Vec::new();
    let mut place = 0;
    for (index, route) in routes(&plain) {
        let State::Ours(_) = state(plan, route) else {
            continue;
        };
        let whole = || Original {
            route: json!([{ "destination": { "host": plan.apex } }]),
            ..Original::default()
        };
        let original = originals.get(place).cloned().unwrap_or_else(whole);
        place += 1;
        edits.push(json!({ "op": "replace", "path": format!("/spec/http/{index}/route"), "value": original.route }));
        let ours = original.added.iter();
        let ours = ours.filter(|(field, value)| route[field.as_str()] == **value);
        edits.extend(ours.map(
            |(field, _)| json!({ "op": "remove", "path": format!("/spec/http/{index}/{field}") }),
        ));
        edits.extend(mirror(plan, route, index, Split::PRIMARY));
    }
    let mut changes = vec![guard(found.metadata.resource_version.as_deref())];
    if plain.data == found.data {
        changes.extend(edits);
    } else {
        let http = edited(&plain, edits).data["spec"]["http"].clone();
        changes.push(json!({ "op": "replace", "path": "/spec/http", "value": http }));
    }
    if found.annotations().contains_key(ORIGINAL) {
        // An empty map would differ from none.
        let only = found.annotations().len() == 1;
        let path = if only {
            "/metadata/annotations"
        } else {
            ORIGINAL_PATH
        };
        changes.push(json!({ "op": "remove", "path": path }));
    }
    (changes.len() > 1).then(|| to_patch(changes))
}

/// Makes a write to another version than `version` a conflict.
fn guard(version: Option<&str>) -> Value {
    json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version })
}

fn saved(found: &DynamicObject) -> Vec<Original> {
    found
        .annotations()
        .get(ORIGINAL)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn annotate(found: &DynamicObject, originals: &[Original]) -> Vec<Value> {
    let text = json!(originals).to_string();
    if found.annotations().get(ORIGINAL) == Some(&text) {
        return Vec::new();
    }
    let mut changes = Vec::new();
    if found.metadata.annotations.is_none() {
        changes.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
    }
    changes.push(json!({ "op": "add", "path": ORIGINAL_PATH, "value": text }));
    changes
}

/// A mirror of someone else's stays.
fn mirror(plan: &RoutePlan, route: &Value, index: usize, split: Split) -> Option<Value> {
    let path = format!("/spec/http/{index}/mirror");
    let ours = leads_to(
        plan,
        &json!({ "destination": route["mirror"] }),
        &plan.canary,
    );
    match (split.mirrored, ours, route["mirror"].is_null()) {
        (true, _, true) => {
            Some(json!({ "op": "add", "path": path, "value": { "host": plan.canary } }))
        }
        (false, true, _) => Some(json!({ "op": "remove", "path": path })),
        (true, _, false) | (false, false, _) => None,
    }
}

/// The apex' share of a route, divided between the two.
fn divide(plan: &RoutePlan, original: &Value, split: Split) -> Value {
    let destinations = original.as_array().map_or(&[][..], Vec::as_slice);
    let alone = destinations.len() == 1;
    let mut divided = Vec::new();
    for destination in destinations {
        let weight = destination["weight"]
            .as_i64()
            .unwrap_or(if alone { 100 } else { 0 });
        let (scale, weight) = if alone { (1, 100) } else { (100, weight) };
        let part = |host: &str, weight: i64| {
            let mut part = destination.clone();
            part["destination"]["host"] = json!(host);
            part["weight"] = json!(weight);
            part
        };
        if leads_to(plan, destination, &plan.apex) {
            let share = i64::from(split.canary.get());
            let unit = if alone { 1 } else { weight };
            let mut primary = part(&plan.primary, unit * (100 - share));
            let mut canary = part(&plan.canary, unit * share);
            if let Some(affinity) = &plan.affinity {
                bound::mark(affinity, split, &mut primary, &mut canary);
            }
            divided.extend([primary, canary]);
        } else {
            let mut other = destination.clone();
            other["weight"] = json!(weight * scale);
            divided.push(other);
        }
    }
    divided.into()
}

fn to_patch(changes: Vec<Value>) -> Patch {
    // Each change is built above from a fixed form.
    serde_json::from_value(Value::Array(changes)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
