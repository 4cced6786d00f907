//! Someone else's VirtualService: only its routes to the apex become ours, and only while we hold
//! them. Pure.
//!
//! Istio's weights are relative, so the apex' share of a route is divided exactly: every other
//! destination's weight is multiplied by a hundred. What the routes were is kept in an annotation,
//! and put back from there.

use fairlead_rollout::{Split, Weight};
use json_patch::Patch;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::router::{Error, RoutePlan};

/// The routes as their author wrote them, by their place among the routes to the apex.
const ORIGINAL: &str = "fairlead.dev/adopted-routes";
/// The annotation's path in a JSON patch.
const ORIGINAL_PATH: &str = "/metadata/annotations/fairlead.dev~1adopted-routes";

/// The split that the routes to the apex hold, and whether all of them hold the same.
pub(super) fn read(plan: &RoutePlan, spec: &Value) -> (Option<Split>, bool) {
    let mut splits = Vec::new();
    let mut untouched = false;
    for route in spec["http"].as_array().into_iter().flatten() {
        match state(plan, route) {
            State::Foreign => {}
            State::Untouched => untouched = true,
            State::Ours(split) => splits.push(split),
        }
    }
    let Some(first) = splits.first().copied() else {
        return (None, false);
    };
    // Someone who added a route to the apex sends it past the split: that is put right.
    (
        Some(first),
        !untouched && splits.iter().all(|split| *split == first),
    )
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
    let mut changes = vec![guard(
        version.or(found.metadata.resource_version.as_deref()),
    )];
    let mut originals: Vec<Value> = saved(found);
    let mut place = 0;
    for (index, route) in found.data["spec"]["http"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let is_new = match state(plan, route) {
            State::Foreign => continue,
            State::Untouched => true,
            State::Ours(_) => false,
        };
        if is_new || place >= originals.len() {
            originals.insert(place.min(originals.len()), route["route"].clone());
        }
        let divided = divide(plan, &originals[place], split);
        place += 1;
        changes.push(json!({ "op": "replace", "path": format!("/spec/http/{index}/route"), "value": divided }));
        changes.extend(mirror(plan, route, index, split));
    }
    if place == 0 {
        return Err(Error::NoRoute {
            name: plan.apex.clone(),
            host: plan.apex.clone(),
        });
    }
    originals.truncate(place);
    changes.extend(annotate(found, &originals));
    Ok(to_patch(changes))
}

/// Puts the routes back; `None` when nothing of ours is in them.
pub(super) fn restore(plan: &RoutePlan, found: &DynamicObject) -> Option<Patch> {
    let originals = saved(found);
    let mut changes = vec![guard(found.metadata.resource_version.as_deref())];
    let mut place = 0;
    for (index, route) in found.data["spec"]["http"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let State::Ours(_) = state(plan, route) else {
            continue;
        };
        let whole = json!([{ "destination": { "host": plan.apex } }]);
        let original = originals.get(place).cloned().unwrap_or(whole);
        place += 1;
        changes.push(json!({ "op": "replace", "path": format!("/spec/http/{index}/route"), "value": original }));
        changes.extend(mirror(plan, route, index, Split::PRIMARY));
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

fn saved(found: &DynamicObject) -> Vec<Value> {
    found
        .annotations()
        .get(ORIGINAL)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn annotate(found: &DynamicObject, originals: &[Value]) -> Vec<Value> {
    let text = Value::from(originals.to_vec()).to_string();
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
        let mut with = |host: Option<&str>, weight: i64| {
            let mut part = destination.clone();
            if let Some(host) = host {
                part["destination"]["host"] = json!(host);
            }
            part["weight"] = json!(weight);
            divided.push(part);
        };
        if leads_to(plan, destination, &plan.apex) {
            let share = i64::from(split.canary.get());
            let unit = if alone { 1 } else { weight };
            with(Some(&plan.primary), unit * (100 - share));
            with(Some(&plan.canary), unit * share);
        } else {
            with(None, weight * scale);
        }
    }
    divided.into()
}

fn to_patch(changes: Vec<Value>) -> Patch {
    // Each change is built above from a fixed form.
    serde_json::from_value(Value::Array(changes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::virtual_service::resource;

    fn plan() -> RoutePlan {
        let canary = serde_json::from_value(json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": { "name": "podinfo", "namespace": "test", "uid": "1" },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
                "service": { "port": 80 },
                "analysis": {},
            },
        }));
        RoutePlan::new(&canary.unwrap()).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn object(http: Value) -> DynamicObject {
        let mut object = DynamicObject::new("podinfo", &resource()).within("test");
        object.metadata.resource_version = Some("7".to_owned());
        object.data =
            json!({ "spec": { "hosts": ["a.example"], "http": http, "unknown": { "x": 1 } } });
        object
    }

    fn apply(object: &DynamicObject, patch: &Patch) -> DynamicObject {
        let mut value = serde_json::to_value(object).unwrap();
        json_patch::patch(&mut value, patch).unwrap();
        serde_json::from_value(value).unwrap()
    }

    fn at(percent: i64) -> Split {
        Split::to_canary(Weight::clamped(percent))
    }

    fn original() -> Value {
        json!([
            { "match": [{ "uri": { "prefix": "/other" } }], "route": [{ "destination": { "host": "other" } }] },
            { "name": "main", "timeout": "3s", "custom": true,
              "route": [{ "destination": { "host": "podinfo.test.svc.cluster.local", "port": { "number": 80 } } }] },
            { "route": [
                { "destination": { "host": "podinfo" }, "weight": 33 },
                { "destination": { "host": "other" }, "weight": 67 },
            ] },
        ])
    }

    #[test]
    fn only_the_apexs_share_is_divided_and_unknown_fields_stay() {
        let before = object(original());
        let after = apply(&before, &patch(&plan(), &before, at(25), None).unwrap());
        let http = &after.data["spec"]["http"];
        assert_eq!(http[0], original()[0]);
        assert_eq!(http[1]["custom"], true);
        assert_eq!(http[1]["route"][1]["weight"], 25);
        assert_eq!(http[1]["route"][1]["destination"]["port"]["number"], 80);
        let weights: Vec<_> = (0..3)
            .map(|i| http[2]["route"][i]["weight"].as_i64())
            .collect();
        assert_eq!(weights, [Some(33 * 75), Some(33 * 25), Some(6700)]);
        assert_eq!(after.data["spec"]["unknown"]["x"], 1);
        assert_eq!(read(&plan(), &after.data["spec"]), (Some(at(25)), true));
    }

    #[test]
    fn giving_back_restores_the_original() {
        let before = object(original());
        let mut now = before.clone();
        for percent in [0, 10, 33, 100, 0] {
            now = apply(&now, &patch(&plan(), &now, at(percent), None).unwrap());
            assert_eq!(read(&plan(), &now.data["spec"]), (Some(at(percent)), true));
        }
        let restored = apply(&now, &restore(&plan(), &now).unwrap());
        assert_eq!(restored, before);
        assert!(restore(&plan(), &restored).is_none());
    }

    #[test]
    fn without_a_route_to_the_apex_there_is_nothing_to_adopt() {
        let foreign = object(json!([{ "route": [{ "destination": { "host": "other" } }] }]));
        patch(&plan(), &foreign, at(10), None).unwrap_err();
        assert_eq!(read(&plan(), &foreign.data["spec"]), (None, false));
    }

    #[test]
    fn a_route_that_its_author_adds_later_is_divided_too() {
        let before = object(original());
        let mut now = apply(&before, &patch(&plan(), &before, at(25), None).unwrap());
        let added = json!({ "route": [{ "destination": { "host": "podinfo" } }] });
        now.data["spec"]["http"].as_array_mut().unwrap().push(added);
        assert_eq!(read(&plan(), &now.data["spec"]), (Some(at(25)), false));
        let now = apply(&now, &patch(&plan(), &now, at(25), None).unwrap());
        assert_eq!(read(&plan(), &now.data["spec"]), (Some(at(25)), true));
    }
}
