//! Worked examples of adopting and giving back.

use super::*;
use crate::router::virtual_service::resource;

fn plan() -> RoutePlan {
    plan_with(json!({ "port": 80 }))
}

fn plan_with(service: Value) -> RoutePlan {
    plan_of(service, json!({}))
}

#[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
fn plan_of(service: Value, analysis: Value) -> RoutePlan {
    let canary = serde_json::from_value(json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": { "name": "podinfo", "namespace": "test", "uid": "1" },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "service": service,
            "analysis": analysis,
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

fn held(plan: &RoutePlan, object: &DynamicObject) -> (Option<Split>, bool) {
    let routes = read(plan, object);
    (routes.split, routes.current)
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
    assert_eq!(held(&plan(), &after), (Some(at(25)), true));
}

#[test]
fn giving_back_restores_the_original() {
    let before = object(original());
    let mut now = before.clone();
    for percent in [0, 10, 33, 100, 0] {
        now = apply(&now, &patch(&plan(), &now, at(percent), None).unwrap());
        assert_eq!(held(&plan(), &now), (Some(at(percent)), true));
    }
    let restored = apply(&now, &restore(&plan(), &now).unwrap());
    assert_eq!(restored, before);
    assert!(restore(&plan(), &restored).is_none());
}

#[test]
fn without_a_route_to_the_apex_there_is_nothing_to_adopt() {
    let foreign = object(json!([{ "route": [{ "destination": { "host": "other" } }] }]));
    patch(&plan(), &foreign, at(10), None).unwrap_err();
    assert_eq!(held(&plan(), &foreign), (None, false));
}

#[test]
fn a_route_that_its_author_adds_later_is_divided_too() {
    let before = object(original());
    let mut now = apply(&before, &patch(&plan(), &before, at(25), None).unwrap());
    let added = json!({ "route": [{ "destination": { "host": "podinfo" } }] });
    now.data["spec"]["http"].as_array_mut().unwrap().push(added);
    assert_eq!(held(&plan(), &now), (Some(at(25)), false));
    let now = apply(&now, &patch(&plan(), &now, at(25), None).unwrap());
    assert_eq!(held(&plan(), &now), (Some(at(25)), true));
}

#[test]
fn settings_of_the_canary_are_added_followed_and_taken_back() {
    let before = object(original());
    let asked = json!({
        "port": 80, "retries": { "attempts": 2 },
        "headers": { "request": { "set": { "x": "y" } } },
    });
    let first = plan_with(asked);
    let now = apply(&before, &patch(&first, &before, at(10), None).unwrap());
    let http = &now.data["spec"]["http"];
    assert_eq!(http[0], original()[0], "no route of ours");
    for route in [&http[1], &http[2]] {
        assert_eq!(route["retries"]["attempts"], 2);
        assert_eq!(route["headers"]["request"]["set"]["x"], "y");
    }
    assert_eq!(http[1]["timeout"], "3s");
    assert_eq!(held(&first, &now), (Some(at(10)), true));

    let second = plan_with(json!({ "port": 80, "retries": { "attempts": 5 } }));
    assert_eq!(held(&second, &now), (Some(at(10)), false));
    let now = apply(&now, &patch(&second, &now, at(10), None).unwrap());
    let route = &now.data["spec"]["http"][1];
    assert_eq!(route["retries"]["attempts"], 5);
    assert!(route["headers"].is_null());
    assert_eq!(held(&second, &now), (Some(at(10)), true));

    let restored = apply(&now, &restore(&second, &now).unwrap());
    assert_eq!(restored, before);
}

#[test]
fn a_setting_that_its_author_edited_since_stays_when_we_give_back() {
    let before = object(original());
    let plan = plan_with(json!({ "port": 80, "retries": { "attempts": 2 } }));
    let mut now = apply(&before, &patch(&plan, &before, at(0), None).unwrap());
    now.data["spec"]["http"][1]["retries"]["attempts"] = json!(9);
    let restored = apply(&now, &restore(&plan, &now).unwrap());
    assert_eq!(restored.data["spec"]["http"][1]["retries"]["attempts"], 9);
    assert!(restored.data["spec"]["http"][2]["retries"].is_null());
}

#[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
fn check_conflict(service: Value, field: Option<&str>) {
    let plan = plan_with(service.clone());
    let before = object(original());
    let after = apply(&before, &patch(&plan, &before, at(10), None).unwrap());
    for object in [&before, &after] {
        let conflict = read(&plan, object).conflict;
        let named = conflict.as_ref().map(|why| why.split('`').nth(1).unwrap());
        assert_eq!(named, field, "{service}: {conflict:?}");
    }
    assert_eq!(
        after.data["spec"]["http"][1]["timeout"], "3s",
        "the author's"
    );
}

#[test]
fn what_its_author_decided_otherwise_is_refused_by_name() {
    check_conflict(json!({ "port": 80, "timeout": "3s" }), None);
    check_conflict(
        json!({ "port": 80, "timeout": "9s" }),
        Some("spec.service.timeout"),
    );
    check_conflict(json!({ "port": 80, "hosts": ["a.example"] }), None);
    check_conflict(
        json!({ "port": 80, "hosts": ["b.example"] }),
        Some("spec.service.hosts"),
    );
    check_conflict(json!({ "port": 80, "gateways": ["mesh"] }), None);
    check_conflict(
        json!({ "port": 80, "gateways": ["public"] }),
        Some("spec.service.gateways"),
    );
    check_conflict(
        json!({ "port": 80, "delegation": true }),
        Some("spec.service.delegation"),
    );
    check_conflict(
        json!({ "port": 80, "apex": { "labels": { "a": "b" } } }),
        Some("spec.service.apex"),
    );
}

#[test]
fn an_ab_test_on_a_route_of_someone_else_is_refused() {
    let match_ = json!([{ "headers": { "x": { "exact": "y" } } }]);
    let plan = RoutePlan {
        matches: serde_json::from_value(match_).unwrap(),
        ..plan()
    };
    let conflict = read(&plan, &object(original())).conflict.unwrap();
    assert!(conflict.contains("spec.analysis.match"), "{conflict}");
}

fn bound_plan() -> RoutePlan {
    let affinity = json!({ "cookieName": "new", "primaryCookieName": "old" });
    plan_of(
        json!({ "port": 80, "timeout": "3s" }),
        json!({ "sessionAffinity": affinity }),
    )
}

fn names(object: &DynamicObject) -> Vec<String> {
    let http = object.data["spec"]["http"].as_array().unwrap().iter();
    http.map(|route| route["name"].as_str().unwrap_or("-").to_owned())
        .collect()
}

#[test]
fn clients_are_bound_before_each_of_our_routes_and_all_is_given_back() {
    let plan = bound_plan();
    let before = object(original());
    let mut now = before.clone();
    let sticky = |percent| Split {
        sticky: true,
        ..at(percent)
    };
    for split in [at(0), sticky(10), sticky(40), sticky(100), at(0)] {
        now = apply(&now, &patch(&plan, &now, split, None).unwrap());
        assert_eq!(held(&plan, &now), (Some(split), true));
        assert_eq!(now.data["spec"]["http"][0], original()[0]);
    }
    let (expired, dash) = ("fairlead-affinity-expired", "-");
    assert_eq!(names(&now), [dash, expired, "main", expired, dash]);
    now = apply(&now, &patch(&plan, &now, sticky(40), None).unwrap());
    let (canary, primary) = ("fairlead-affinity-canary", "fairlead-affinity-primary");
    assert_eq!(
        names(&now),
        [dash, canary, primary, "main", canary, primary, dash]
    );
    let http = &now.data["spec"]["http"];
    assert_eq!(
        (&http[1]["custom"], &http[1]["timeout"]),
        (&json!(true), &json!("3s"))
    );
    assert_eq!(http[1]["route"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        http[4]["route"][1]["destination"]["host"], "other",
        "{http}"
    );
    let restored = apply(&now, &restore(&plan, &now).unwrap());
    assert_eq!(restored, before);
}

#[test]
fn routes_that_bind_clients_go_with_the_setting_and_come_back_when_a_hand_removes_them() {
    let plan = bound_plan();
    let split = Split {
        sticky: true,
        ..at(40)
    };
    let before = object(original());
    let bound = apply(&before, &patch(&plan, &before, split, None).unwrap());
    let mut edited = bound.clone();
    edited.data["spec"]["http"]
        .as_array_mut()
        .unwrap()
        .remove(2);
    assert_eq!(held(&plan, &edited), (Some(split), false));
    let mended = apply(&edited, &patch(&plan, &edited, split, None).unwrap());
    assert_eq!(mended, bound);
    let without = plan_with(json!({ "port": 80, "timeout": "3s" }));
    assert_eq!(held(&without, &bound), (Some(split), false));
    let freed = apply(&bound, &patch(&without, &bound, at(40), None).unwrap());
    assert_eq!(held(&without, &freed), (Some(at(40)), true));
    assert_eq!(names(&freed), ["-", "main", "-"]);
}

#[test]
fn an_author_who_matches_cookies_is_not_overruled() {
    let mut http = original();
    http[1]["match"] = json!([{ "headers": { "cookie": { "regex": ".*a=b.*" } } }]);
    let conflict = read(&bound_plan(), &object(http)).conflict.unwrap();
    assert!(
        conflict.contains("spec.analysis.sessionAffinity"),
        "{conflict}"
    );
    assert_eq!(read(&bound_plan(), &object(original())).conflict, None);
}

fn chosen_plan() -> RoutePlan {
    plan_of(
        json!({ "port": 80 }),
        json!({
            "stepWeight": 10, "weightScope": "Rest",
            "match": [{ "headers": { "x-user": { "exact": "me" } } }],
        }),
    )
}

#[test]
fn chosen_requests_are_led_before_each_of_our_routes_and_all_is_given_back() {
    let plan = chosen_plan();
    let mut http = original();
    http[1]["match"] = json!([{ "uri": { "prefix": "/a" } }]);
    let before = object(http);
    let mut now = before.clone();
    for percent in [0, 10, 40, 0, 25] {
        now = apply(&now, &patch(&plan, &now, at(percent), None).unwrap());
        assert_eq!(held(&plan, &now), (Some(at(percent)), true));
        let expected: &[&str] = if percent == 0 {
            &["-", "main", "-"]
        } else {
            &["-", "fairlead-match", "main", "fairlead-match", "-"]
        };
        assert_eq!(names(&now), expected);
    }
    let http = &now.data["spec"]["http"];
    let expected = json!([{
        "uri": { "prefix": "/a" }, "headers": { "x-user": { "exact": "me" } },
    }]);
    assert_eq!(
        (&http[1]["match"], &http[1]["custom"]),
        (&expected, &json!(true))
    );
    let hosts = |route: &Value| {
        let all = route["route"].as_array().unwrap().iter();
        let hosts = all.map(|one| one["destination"]["host"].as_str().unwrap().to_owned());
        hosts.collect::<Vec<_>>()
    };
    assert_eq!(hosts(&http[1]), ["podinfo-canary"]);
    assert_eq!(
        hosts(&http[3]),
        ["podinfo-canary", "other"],
        "its share stays"
    );
    let mut edited = now.clone();
    edited.data["spec"]["http"]
        .as_array_mut()
        .unwrap()
        .remove(1);
    assert_eq!(held(&plan, &edited), (Some(at(25)), false));
    let restored = apply(&now, &restore(&plan, &now).unwrap());
    assert_eq!(restored, before);
}

#[test]
fn a_condition_that_the_author_has_too_is_not_overruled() {
    let mut http = original();
    http[1]["match"] = json!([{ "headers": { "X-User": { "exact": "you" } } }]);
    let conflict = read(&chosen_plan(), &object(http)).conflict.unwrap();
    assert!(conflict.contains("`x-user`"), "{conflict}");
    assert_eq!(read(&chosen_plan(), &object(original())).conflict, None);
}
