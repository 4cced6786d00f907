//! What a Canary asks of someone else's VirtualService that its author has decided otherwise. Pure.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Original, State, bound, routes, settings, state};
use crate::router::RoutePlan;
use crate::router::chosen::asked_twice;

/// The first conflict, by the name of the field, and how to end it.
pub(super) fn find(
    plan: &RoutePlan,
    found: &DynamicObject,
    originals: &[Original],
) -> Option<String> {
    let spec = &found.data["spec"];
    matches(plan)
        .or_else(|| delegation(plan, spec))
        .or_else(|| listed(plan, spec, "hosts", &plan.service.hosts))
        .or_else(|| listed(plan, spec, "gateways", &plan.service.gateways))
        .or_else(|| metadata(plan))
        .or_else(|| cookies(plan, found))
        .or_else(|| conditions(plan, found))
        .or_else(|| setting(plan, found, originals))
}

/// A request cannot be asked for two things of one header.
fn cookies(plan: &RoutePlan, found: &DynamicObject) -> Option<String> {
    plan.affinity.as_ref()?;
    let ours = routes(found).filter(|(_, route)| !matches!(state(plan, route), State::Foreign));
    let mut asking = ours.filter(|(_, route)| bound::asks_for_cookies(&route["match"]));
    asking.next().map(|_| {
        format!(
            "`spec.analysis.sessionAffinity`: VirtualService `{}`, which is not ours, matches the \
             header `cookie` on a route to `{}`, and the affinity would have to match it too; \
             remove one of the two",
            plan.apex, plan.apex
        )
    })
}

/// Chosen requests must meet what the route asks for as well.
fn conditions(plan: &RoutePlan, found: &DynamicObject) -> Option<String> {
    let ours = routes(found).filter(|(_, route)| !matches!(state(plan, route), State::Foreign));
    let mut asked = ours.filter_map(|(_, route)| {
        let of_route = route["match"].as_array().map_or(&[][..], Vec::as_slice);
        asked_twice(&plan.chosen, of_route)
    });
    asked.next().map(|name| {
        format!(
            "`spec.analysis.match`: `{name}` is asked for by a route to `{}` of VirtualService \
             `{}`, which is not ours, too, and both would have to hold; leave out one of the two",
            plan.apex, plan.apex
        )
    })
}

/// An A/B test needs a route of its own before the others, which would be no narrow change.
fn matches(plan: &RoutePlan) -> Option<String> {
    (!plan.matches.is_empty()).then(|| {
        format!(
            "`spec.analysis.match`: VirtualService `{}` is not ours, and only whole routes of it \
             can be divided; leave the match out, set `spec.analysis.weightScope: Rest`, or remove \
             the VirtualService and let the Canary make it",
            plan.apex
        )
    })
}

fn delegation(plan: &RoutePlan, spec: &Value) -> Option<String> {
    let is_root = !spec["hosts"].is_null() || !spec["gateways"].is_null();
    (plan.service.delegation == Some(true) && is_root).then(|| {
        format!(
            "`spec.service.delegation`: VirtualService `{}` is not ours and has hosts or gateways; \
             remove them there, or delegation here",
            plan.apex
        )
    })
}

/// Hosts and gateways hold for all routes of the object, of which only some are ours.
fn listed(plan: &RoutePlan, spec: &Value, field: &str, asked: &[String]) -> Option<String> {
    let mesh = json!(["mesh"]);
    let live = if field == "gateways" && spec[field].is_null() {
        &mesh
    } else {
        &spec[field]
    };
    let known = live.as_array().map_or(&[][..], Vec::as_slice);
    let missing = asked
        .iter()
        .find(|one| !known.iter().any(|known| known == one.as_str()))?;
    Some(format!(
        "`spec.service.{field}`: `{missing}` is not among the {field} of VirtualService `{}`, \
         which is not ours; add it there, or leave it out here",
        plan.apex
    ))
}

fn metadata(plan: &RoutePlan) -> Option<String> {
    let apex = plan.service.apex.as_ref()?;
    let is_set = !apex.labels.is_empty() || !apex.annotations.is_empty();
    is_set.then(|| {
        format!(
            "`spec.service.apex`: VirtualService `{}` is not ours, so that it keeps its own labels \
             and annotations; set them there, and leave them out here",
            plan.apex
        )
    })
}

/// A setting that a route to the apex has from its author, with another value.
fn setting(plan: &RoutePlan, found: &DynamicObject, originals: &[Original]) -> Option<String> {
    let wanted = settings(plan);
    let mut place = 0;
    for (_, route) in routes(found) {
        let original = match state(plan, route) {
            State::Foreign => continue,
            State::Untouched => None,
            State::Ours(_) => {
                place += 1;
                originals.get(place - 1)
            }
        };
        let theirs = |field: &str| {
            !route[field].is_null()
                && !original.is_some_and(|original| original.added.contains_key(field))
        };
        let conflict = wanted
            .iter()
            .find(|(field, value)| theirs(field) && route[field.as_str()] != **value);
        if let Some((field, value)) = conflict {
            return Some(format!(
                "`spec.service.{field}`: VirtualService `{}`, which is not ours, has {} on its \
                 route to `{}` where this Canary asks for {value}; remove one of the two",
                plan.apex,
                route[field.as_str()],
                plan.apex
            ));
        }
    }
    None
}
