//! Worked examples of the VirtualService that keeps clients on their version.

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
fn plan(affinity: Value, service: Value) -> RoutePlan {
    plan_of(
        service,
        json!({ "interval": "1m", "stepWeight": 10, "sessionAffinity": affinity }),
    )
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

fn both() -> Value {
    json!({ "cookieName": "new", "primaryCookieName": "old" })
}

fn at(percent: i64, sticky: bool) -> Split {
    Split {
        sticky,
        ..Split::to_canary(Weight::clamped(percent))
    }
}

fn object(built: &Value) -> DynamicObject {
    serde_json::from_value(built.clone()).unwrap()
}

fn held(plan: &RoutePlan, built: &Value) -> (Option<Split>, bool) {
    let routes = read(plan, &object(built));
    (routes.split, routes.current)
}

/// Each route: its name, and the hosts that it leads to with their weights.
fn shape(built: &Value) -> Vec<(String, Vec<(String, i64)>)> {
    let routes = built["spec"]["http"].as_array().unwrap().iter();
    let destination = |one: &Value| {
        let host = one["destination"]["host"].as_str().unwrap();
        (
            host.replace("podinfo-", ""),
            one["weight"].as_i64().unwrap(),
        )
    };
    routes
        .map(|route| {
            let leads = route["route"].as_array().unwrap().iter().map(destination);
            (
                route["name"].as_str().unwrap_or("-").to_owned(),
                leads.collect(),
            )
        })
        .collect()
}

fn lead(name: &str, to: &[(&str, i64)]) -> (String, Vec<(String, i64)>) {
    let to = to
        .iter()
        .map(|(host, weight)| ((*host).to_owned(), *weight));
    (name.to_owned(), to.collect())
}

#[test]
fn clients_with_a_cookie_are_led_to_their_version_before_all_others_are_divided() {
    let plan = plan(both(), json!({ "port": 80, "timeout": "3s" }));
    let built = build(&plan, at(30, true), None);
    assert_eq!(
        shape(&built),
        [
            lead("fairlead-affinity-canary", &[("canary", 100)]),
            lead("fairlead-affinity-primary", &[("primary", 100)]),
            lead("-", &[("primary", 70), ("canary", 30)]),
        ]
    );
    let http = &built["spec"]["http"];
    assert_eq!(http[0]["timeout"], "3s", "as the route that is divided");
    let given = |index: usize| {
        let added = &http[2]["route"][index]["headers"]["response"]["add"]["Set-Cookie"];
        added
            .as_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    };
    for (index, route) in [(1, &http[0]), (0, &http[1])] {
        let pattern = route["match"][0]["headers"]["cookie"]["regex"].as_str();
        assert!(pattern.unwrap().contains(&given(index)), "{pattern:?}");
    }
    assert_eq!(held(&plan, &built), (Some(at(30, true)), true));
}

#[test]
fn without_a_share_the_cookie_is_taken_back() {
    let plan = plan(both(), json!({ "port": 80 }));
    let built = build(&plan, at(0, false), None);
    assert_eq!(
        shape(&built),
        [
            lead("fairlead-affinity-expired", &[("primary", 100)]),
            lead("-", &[("primary", 100), ("canary", 0)]),
        ]
    );
    let added = &built["spec"]["http"][0]["route"][0]["headers"]["response"]["add"];
    assert_eq!(added["Set-Cookie"], "new=; Max-Age=-1");
    assert_eq!(held(&plan, &built), (Some(at(0, false)), true));
}

#[test]
fn each_match_of_the_service_is_bound() {
    let service = json!({
        "port": 80,
        "match": [{ "uri": { "prefix": "/a" } }, { "headers": { "x": { "exact": "y" } } }],
    });
    let plan = plan(json!({ "cookieName": "new" }), service);
    let built = build(&plan, at(10, true), None);
    let bound = &built["spec"]["http"][0]["match"];
    assert_eq!(bound[0]["uri"], json!({ "prefix": "/a" }));
    assert_eq!(bound[1]["headers"]["x"], json!({ "exact": "y" }));
    for one in [&bound[0], &bound[1]] {
        assert!(one["headers"]["cookie"]["regex"].is_string(), "{one}");
    }
    assert_eq!(built["spec"]["http"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_cookie_of_another_run_is_brought_up_to_date() {
    let mut plan = plan(both(), json!({ "port": 80 }));
    let built = build(&plan, at(10, true), None);
    let run = fairlead_rollout::Run::new(5, fairlead_rollout::Revision("r".to_owned()));
    plan.follow(&fairlead_rollout::State {
        run: Some(run),
        ..fairlead_rollout::State::default()
    });
    assert_eq!(held(&plan, &built), (Some(at(10, true)), false));
}

#[test]
fn routes_with_cookies_that_flagger_left_are_no_split() {
    let plan = plan(both(), json!({ "port": 80 }));
    let mut built = build(&plan, at(10, false), None);
    let all = json!([
        { "destination": { "host": "podinfo-primary" }, "weight": 0 },
        { "destination": { "host": "podinfo-canary" }, "weight": 100 },
    ]);
    let cookie = json!([{ "headers": { "Cookie": { "regex": ".*new.*abcdefghij.*" } } }]);
    let left = json!({ "match": cookie, "route": all });
    built["spec"]["http"]
        .as_array_mut()
        .unwrap()
        .insert(0, left);
    assert_eq!(held(&plan, &built), (Some(at(10, false)), false));
}

#[test]
fn routes_that_bind_clients_do_not_outlive_the_setting() {
    let with = plan(both(), json!({ "port": 80 }));
    let without = plan(Value::Null, json!({ "port": 80 }));
    let built = build(&with, at(10, true), None);
    assert_eq!(held(&without, &built), (Some(at(10, true)), false));
    let built = build(&with, at(0, false), None);
    assert_eq!(held(&without, &built), (Some(at(0, false)), false));
}

#[test]
fn chosen_requests_go_to_a_canary_with_a_weight_and_the_rest_is_divided() {
    let service = json!({ "port": 80, "timeout": "3s", "match": [{ "uri": { "prefix": "/a" } }] });
    let insiders = json!([
        { "headers": { "x-user": { "suffix": ".dev" } } },
        { "queryParams": { "beta": { "exact": "1" } } },
    ]);
    let plan = plan_of(
        service,
        json!({ "stepWeight": 10, "weightScope": "Rest", "match": insiders }),
    );
    let built = build(&plan, at(30, false), None);
    assert_eq!(
        shape(&built),
        [
            lead("fairlead-match", &[("canary", 100)]),
            lead("-", &[("primary", 70), ("canary", 30)]),
        ]
    );
    let http = &built["spec"]["http"];
    assert_eq!(http[0]["timeout"], "3s", "as the route that is divided");
    let expected = json!([
        { "uri": { "prefix": "/a" }, "headers": { "x-user": { "regex": ".*\\.dev" } } },
        { "uri": { "prefix": "/a" }, "queryParams": { "beta": { "exact": "1" } } },
    ]);
    assert_eq!(http[0]["match"], expected);
    assert_eq!(held(&plan, &built), (Some(at(30, false)), true));
    let mut edited = built.clone();
    edited["spec"]["http"].as_array_mut().unwrap().remove(0);
    assert_eq!(held(&plan, &edited), (Some(at(30, false)), false));

    let built = build(&plan, at(0, false), None);
    assert_eq!(
        shape(&built),
        [lead("-", &[("primary", 100), ("canary", 0)])]
    );
    assert_eq!(held(&plan, &built), (Some(at(0, false)), true));
}

#[test]
fn chosen_requests_come_before_clients_that_are_kept() {
    let plan = plan_of(
        json!({ "port": 80 }),
        json!({
            "stepWeight": 10, "weightScope": "Rest", "sessionAffinity": both(),
            "match": [{ "headers": { "x-user": { "exact": "me" } } }],
        }),
    );
    let built = build(&plan, at(30, true), None);
    let shape = shape(&built);
    let names: Vec<&str> = shape.iter().map(|(name, _)| name.as_str()).collect();
    let (canary, primary) = ("fairlead-affinity-canary", "fairlead-affinity-primary");
    assert_eq!(names, ["fairlead-match", canary, primary, "-"]);
    assert_eq!(held(&plan, &built), (Some(at(30, true)), true));
}
