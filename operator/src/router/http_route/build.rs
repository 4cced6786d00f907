//! The HTTPRoute of a Canary, from its plan. Pure.

use fairlead_crds::canary::BackendReference;
use fairlead_crds::networking::HeaderOperations;
use fairlead_rollout::{Split, Weight};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{bound, matches};
use crate::canary::validate::Error;
use crate::router::{RoutePlan, Routes, includes, metadata};

/// Refuses what an HTTPRoute cannot say.
pub(in crate::router) fn validate(plan: &RoutePlan) -> Result<(), Error> {
    if plan.service.gateway_refs.is_empty() {
        return Err(Error::Field {
            field: "spec.service.gatewayRefs",
            fix: "is needed: name at least one Gateway that the route is for".to_owned(),
        });
    }
    matches::validate(plan)
}

/// The split that it holds, and whether all else is as planned.
pub(super) fn read(plan: &RoutePlan, found: &DynamicObject) -> Routes {
    let spec = &found.data["spec"];
    let Some(split) = split(plan, spec) else {
        return Routes::default();
    };
    let wanted = build(plan, "v1", split, None);
    let live = json!(found.annotations());
    Routes {
        split: Some(split),
        current: includes(&live, &wanted["metadata"]["annotations"])
            && includes(spec, &wanted["spec"]),
        ..Routes::default()
    }
}

/// The split of the first rule that leads to both.
fn split(plan: &RoutePlan, spec: &Value) -> Option<Split> {
    let rules = spec["rules"].as_array()?;
    let binds = |rule: &Value| bound::is_sticky(plan, rule) && !is_chosen(plan, rule);
    let sticky = rules.iter().any(binds);
    let others = |rule: &&Value| !bound::is_left_behind(plan, rule);
    rules.iter().filter(others).find_map(|rule| {
        let backends = rule["backendRefs"].as_array()?;
        let weight_of = |name: &str| {
            let found = backends.iter().find(|one| one["name"] == name)?;
            Some(found["weight"].as_i64().unwrap_or(1))
        };
        let (primary, canary) = (weight_of(&plan.primary)?, weight_of(&plan.canary)?);
        let mut filters = rule["filters"].as_array().into_iter().flatten();
        let mirrored = filters
            .any(|filter| filter["requestMirror"]["backendRef"]["name"] == plan.canary.as_str());
        (primary + canary == 100)
            .then(|| Weight::new(canary))
            .flatten()
            .map(|canary| Split {
                canary,
                mirrored,
                sticky,
            })
    })
}

/// The whole object.
pub(super) fn build(
    plan: &RoutePlan,
    api_version: &str,
    split: Split,
    version: Option<&str>,
) -> Value {
    let mut spec = json!({
        "parentRefs": plan.service.gateway_refs,
        "rules": rules(plan, split),
    });
    if !plan.service.hosts.is_empty() {
        spec["hostnames"] = json!(plan.service.hosts);
    }
    json!({
        "apiVersion": format!("gateway.networking.k8s.io/{api_version}"),
        "kind": "HTTPRoute",
        "metadata": metadata(plan, version),
        "spec": spec,
    })
}

/// One rule; with matches in the strategy, one for them and one for everyone else. Beside them,
/// that of chosen requests, and those that keep clients on their version.
fn rules(plan: &RoutePlan, split: Split) -> Value {
    let all = matches::of_service(plan);
    let mirror = || split.mirrored.then(|| mirror_to_canary(plan));
    let divided = if plan.matches.is_empty() {
        all.clone()
    } else {
        matches::each(plan, &plan.matches)
    };
    let mut rules = bound::rules(
        plan,
        split,
        &divided,
        &|name| backend(plan, name, 100),
        &|matches, backends| rule(plan, matches, mirror(), backends),
    );
    rules.splice(0..0, chosen(plan, split));
    rules.push(rule(plan, &divided, mirror(), &both(plan, split)));
    if !plan.matches.is_empty() {
        let others = json!([backend(plan, &plan.primary, 100)]);
        rules.push(rule(plan, &all, None, &others));
    }
    rules.into()
}

/// The rule of chosen requests; a canary without a weight gets nothing. It stands first, since of
/// rules with as many conditions the first one wins.
fn chosen(plan: &RoutePlan, split: Split) -> Option<Value> {
    if plan.chosen.is_empty() || split.canary == Weight::ZERO {
        return None;
    }
    let matches = matches::each(plan, &plan.chosen);
    let canary = json!([backend(plan, &plan.canary, 100)]);
    Some(rule(plan, &matches, None, &canary))
}

/// Whether a rule is that of chosen requests.
fn is_chosen(plan: &RoutePlan, rule: &Value) -> bool {
    let wanted = matches::each(plan, &plan.chosen);
    !plan.chosen.is_empty() && includes(&rule["matches"], &json!(wanted))
}

/// The backends, each with the cookie of its version.
fn both(plan: &RoutePlan, split: Split) -> Value {
    let mut primary = backend(plan, &plan.primary, split.canary.rest().get());
    let mut canary = backend(plan, &plan.canary, split.canary.get());
    if let Some(affinity) = &plan.affinity {
        bound::mark(affinity, split, &mut primary, &mut canary);
    }
    json!([primary, canary])
}

fn rule(plan: &RoutePlan, matches: &[Value], mirror: Option<Value>, backends: &Value) -> Value {
    let mut rule = json!({ "backendRefs": backends });
    if !matches.is_empty() {
        rule["matches"] = json!(matches);
    }
    let mut filters = filters(plan);
    filters.extend(mirror);
    if !filters.is_empty() {
        rule["filters"] = json!(filters);
    }
    if let Some(timeout) = &plan.service.timeout {
        rule["timeouts"]["request"] = json!(timeout);
    }
    if let Some(timeout) = &plan.service.backend_timeout {
        rule["timeouts"]["backendRequest"] = json!(timeout);
    }
    rule
}

fn backend(plan: &RoutePlan, name: &str, weight: u8) -> Value {
    json!({ "group": "", "kind": "Service", "name": name, "port": plan.port, "weight": weight })
}

fn mirror_to_canary(plan: &RoutePlan) -> Value {
    let backend = json!({ "group": "", "kind": "Service", "name": plan.canary, "port": plan.port });
    let mut mirror = json!({ "backendRef": backend });
    if let Some(percent) = plan.mirror_weight {
        // The API has whole percentages only.
        mirror["percent"] = json!(Weight::clamped(whole(percent)).get());
    }
    json!({ "type": "RequestMirror", "requestMirror": mirror })
}

/// The nearest whole number of a percentage.
#[expect(clippy::cast_possible_truncation, reason = "a percentage")]
fn whole(percent: f64) -> i64 {
    percent.round() as i64
}

fn filters(plan: &RoutePlan) -> Vec<Value> {
    let service = &plan.service;
    let mut filters = Vec::new();
    let headers = service.headers.clone().unwrap_or_default();
    if let Some(request) = &headers.request {
        filters.push(json!({
            "type": "RequestHeaderModifier", "requestHeaderModifier": operations(request),
        }));
    }
    if let Some(response) = &headers.response {
        filters.push(json!({
            "type": "ResponseHeaderModifier", "responseHeaderModifier": operations(response),
        }));
    }
    if let Some(rewrite) = &service.rewrite {
        let mut url = json!({});
        if let Some(host) = &rewrite.authority {
            url["hostname"] = json!(host);
        }
        if let Some(uri) = &rewrite.uri {
            let (kind, field) = match rewrite.r#type.as_deref() {
                Some("ReplaceFullPath") => ("ReplaceFullPath", "replaceFullPath"),
                _ => ("ReplacePrefixMatch", "replacePrefixMatch"),
            };
            url["path"] = json!({ "type": kind, field: uri });
        }
        filters.push(json!({ "type": "URLRewrite", "urlRewrite": url }));
    }
    let mirrors = service
        .mirror
        .iter()
        .filter_map(|one| one.backend_ref.as_ref());
    filters.extend(mirrors.map(mirror_to));
    filters
}

fn mirror_to(backend: &BackendReference) -> Value {
    json!({ "type": "RequestMirror", "requestMirror": { "backendRef": backend } })
}

fn operations(asked: &HeaderOperations) -> Value {
    let named = |headers: &std::collections::BTreeMap<String, String>| {
        let entries = headers.iter();
        let entries = entries.map(|(name, value)| json!({ "name": name, "value": value }));
        entries.collect::<Vec<_>>()
    };
    let mut operations = json!({});
    if !asked.set.is_empty() {
        operations["set"] = json!(named(&asked.set));
    }
    if !asked.add.is_empty() {
        operations["add"] = json!(named(&asked.add));
    }
    if !asked.remove.is_empty() {
        operations["remove"] = json!(asked.remove);
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn plan(service: Value, matches: Value) -> Result<RoutePlan, Error> {
        plan_of(service, json!({ "match": matches }))
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn plan_of(service: Value, analysis: Value) -> Result<RoutePlan, Error> {
        let canary = serde_json::from_value(json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": { "name": "podinfo", "namespace": "test", "uid": "1" },
            "spec": {
                "provider": "gatewayapi:v1",
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
                "service": service,
                "analysis": analysis,
            },
        }));
        RoutePlan::new(&canary.unwrap())
    }

    fn gateways() -> Value {
        json!([{ "name": "public", "namespace": "edge" }])
    }

    fn at(percent: i64) -> Split {
        Split::to_canary(Weight::clamped(percent))
    }

    fn object(built: &Value) -> DynamicObject {
        serde_json::from_value(built.clone()).unwrap()
    }

    #[test]
    fn weights_are_those_of_the_backends_and_are_read_back() {
        let service = json!({ "port": 80, "gatewayRefs": gateways(), "hosts": ["a.example"] });
        let plan = plan(service, json!([])).unwrap();
        let built = build(&plan, "v1", at(30), Some("7"));
        assert_eq!(built["apiVersion"], "gateway.networking.k8s.io/v1");
        assert_eq!(built["metadata"]["resourceVersion"], "7");
        assert_eq!(built["spec"]["hostnames"], json!(["a.example"]));
        assert_eq!(built["spec"]["parentRefs"][0]["name"], "public");
        let backends = &built["spec"]["rules"][0]["backendRefs"];
        assert_eq!(
            (&backends[0]["weight"], &backends[1]["weight"]),
            (&json!(70), &json!(30))
        );
        let routes = read(&plan, &object(&built));
        assert_eq!((routes.split, routes.current), (Some(at(30)), true));
    }

    #[test]
    fn what_the_api_server_adds_is_no_drift_and_what_a_hand_changes_is() {
        let service = json!({ "port": 80, "gatewayRefs": gateways(), "timeout": "5s" });
        let plan = plan(service, json!([])).unwrap();
        let mut built = build(&plan, "v1", at(0), None);
        let path = json!([{ "path": { "type": "PathPrefix", "value": "/" } }]);
        built["spec"]["rules"][0]["matches"] = path;
        assert!(read(&plan, &object(&built)).current);
        built["spec"]["rules"][0]["timeouts"]["request"] = json!("9s");
        assert!(!read(&plan, &object(&built)).current);
    }

    #[test]
    fn matches_of_the_strategy_get_a_rule_before_everyone_elses() {
        let service = json!({
            "port": 80, "gatewayRefs": gateways(),
            "match": [{ "uri": { "prefix": "/api" }, "method": { "exact": "GET" } }],
        });
        let cookie = json!([{ "headers": { "x-user": { "suffix": ".dev" } } }]);
        let plan = plan(service, cookie).unwrap();
        let built = build(&plan, "v1", at(100), None);
        let rules = &built["spec"]["rules"];
        let found = &rules[0]["matches"][0];
        assert_eq!(
            found["path"],
            json!({ "type": "PathPrefix", "value": "/api" })
        );
        assert_eq!(found["method"], "GET");
        let header = json!({ "type": "RegularExpression", "name": "x-user", "value": ".*\\.dev" });
        assert_eq!(found["headers"], json!([header]));
        assert_eq!(rules[1]["backendRefs"].as_array().map(Vec::len), Some(1));
        assert_eq!(rules[1]["backendRefs"][0]["name"], "podinfo-primary");
        assert!(rules[1]["matches"][0]["headers"].is_null());
        assert_eq!(read(&plan, &object(&built)).split, Some(at(100)));
    }

    #[test]
    fn settings_become_filters() {
        let service = json!({
            "port": 80, "gatewayRefs": gateways(),
            "rewrite": { "uri": "/", "authority": "b.example" },
            "headers": { "request": { "add": { "x": "y" }, "remove": ["z"] } },
            "mirror": [{ "backendRef": { "name": "shadow", "port": 81 } }],
        });
        let plan = plan(service, json!([])).unwrap();
        let mirrored = Split {
            mirrored: true,
            ..at(0)
        };
        let built = build(&plan, "v1", mirrored, None);
        let filters = built["spec"]["rules"][0]["filters"].as_array().unwrap();
        let kinds: Vec<_> = filters
            .iter()
            .map(|one| one["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "RequestHeaderModifier",
                "URLRewrite",
                "RequestMirror",
                "RequestMirror"
            ]
        );
        assert_eq!(filters[0]["requestHeaderModifier"]["remove"], json!(["z"]));
        assert_eq!(filters[1]["urlRewrite"]["path"]["replacePrefixMatch"], "/");
        assert_eq!(read(&plan, &object(&built)).split, Some(mirrored));
    }

    #[test]
    fn clients_with_a_cookie_have_rules_of_their_own() {
        let service = json!({
            "port": 80, "gatewayRefs": gateways(), "match": [{ "uri": { "prefix": "/a" } }],
        });
        let affinity = json!({ "cookieName": "new", "primaryCookieName": "old" });
        let plan = plan_of(
            service,
            json!({ "stepWeight": 10, "sessionAffinity": affinity }),
        );
        let plan = plan.unwrap();
        let sticky = Split {
            sticky: true,
            ..at(30)
        };
        let built = build(&plan, "v1", sticky, None);
        let rules = built["spec"]["rules"].as_array().unwrap();
        let [canary, primary, divided] = &rules[..] else {
            unreachable!("{rules:?}")
        };
        for (rule, name, backend) in [
            (canary, "podinfo-canary", &divided["backendRefs"][1]),
            (primary, "podinfo-primary", &divided["backendRefs"][0]),
        ] {
            assert_eq!(rule["backendRefs"].as_array().map(Vec::len), Some(1));
            assert_eq!(rule["backendRefs"][0]["name"], name);
            let bound = &rule["matches"][0];
            assert_eq!(bound["path"], divided["matches"][0]["path"]);
            let pattern = bound["headers"][0]["value"].as_str().unwrap();
            let given = &backend["filters"][0]["responseHeaderModifier"]["add"][0];
            assert_eq!(given["name"], "Set-Cookie");
            let cookie = given["value"].as_str().unwrap().split(';').next().unwrap();
            assert!(pattern.contains(cookie), "{pattern} {cookie}");
        }
        let routes = read(&plan, &object(&built));
        assert_eq!((routes.split, routes.current), (Some(sticky), true));

        let built = build(&plan, "v1", at(0), None);
        let rules = built["spec"]["rules"].as_array().unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0]["backendRefs"][0]["name"], "podinfo-primary");
        let routes = read(&plan, &object(&built));
        assert_eq!((routes.split, routes.current), (Some(at(0)), true));
    }

    #[test]
    fn chosen_requests_have_a_rule_of_their_own_while_the_canary_has_a_weight() {
        let service = json!({
            "port": 80, "gatewayRefs": gateways(), "match": [{ "uri": { "prefix": "/a" } }],
        });
        let insiders = json!([{ "headers": { "x-user": { "exact": "me" } } }]);
        let plan = plan_of(
            service,
            json!({ "stepWeight": 10, "weightScope": "Rest", "match": insiders }),
        );
        let plan = plan.unwrap();
        let built = build(&plan, "v1", at(30), None);
        let rules = built["spec"]["rules"].as_array().unwrap();
        let [chosen, divided] = &rules[..] else {
            unreachable!("{rules:?}")
        };
        assert_eq!(chosen["backendRefs"].as_array().map(Vec::len), Some(1));
        assert_eq!(chosen["backendRefs"][0]["name"], "podinfo-canary");
        assert_eq!(chosen["matches"][0]["headers"][0]["name"], "x-user");
        assert_eq!(chosen["matches"][0]["path"], divided["matches"][0]["path"]);
        assert_eq!(divided["backendRefs"][1]["weight"], 30);
        let routes = read(&plan, &object(&built));
        assert_eq!((routes.split, routes.current), (Some(at(30)), true));

        let built = build(&plan, "v1", at(0), None);
        assert_eq!(built["spec"]["rules"].as_array().map(Vec::len), Some(1));
        let routes = read(&plan, &object(&built));
        assert_eq!((routes.split, routes.current), (Some(at(0)), true));
    }

    #[test]
    fn chosen_requests_and_kept_clients_are_told_apart() {
        let plan = plan_of(
            json!({ "port": 80, "gatewayRefs": gateways() }),
            json!({
                "stepWeight": 10, "weightScope": "Rest",
                "sessionAffinity": { "cookieName": "new" },
                "match": [{ "headers": { "x-user": { "exact": "me" } } }],
            }),
        );
        let plan = plan.unwrap();
        for sticky in [false, true] {
            let split = Split { sticky, ..at(30) };
            let built = build(&plan, "v1", split, None);
            let routes = read(&plan, &object(&built));
            assert_eq!((routes.split, routes.current), (Some(split), true));
        }
    }

    #[test]
    fn what_an_http_route_cannot_say_is_refused_by_name() {
        let check = |service: Value, matches: Value, field: &str| {
            let error = plan(service, matches).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        };
        check(json!({ "port": 80 }), json!([]), "spec.service.gatewayRefs");
        let with = |field: &str, value: Value| json!({ "port": 80, "gatewayRefs": gateways(), "match": [{ field: value }] });
        check(
            with("scheme", json!({ "exact": "https" })),
            json!([]),
            "`scheme`",
        );
        check(
            with("sourceLabels", json!({ "a": "b" })),
            json!([]),
            "`sourceLabels`",
        );
        check(
            with("method", json!({ "prefix": "G" })),
            json!([]),
            "`method`",
        );
        let labels = json!([{ "sourceLabels": { "a": "b" } }]);
        let service = json!({ "port": 80, "gatewayRefs": gateways() });
        check(service, labels, "spec.analysis.match");
    }
}
