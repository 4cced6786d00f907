//! Worked examples of cookies, and of the routes that read and give them.

use fairlead_rollout::{Revision, Run};
use regex::Regex;

use super::*;
use crate::router::RoutePlan;

#[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
fn plan(affinity: Value, change: impl FnOnce(&mut Value)) -> Result<RoutePlan, String> {
    let mut canary = json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": { "name": "podinfo", "namespace": "test", "uid": "1" },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "service": { "port": 80 },
            "analysis": { "interval": "90s", "stepWeight": 10, "sessionAffinity": affinity },
        },
    });
    change(&mut canary["spec"]);
    RoutePlan::new(&serde_json::from_value(canary).unwrap()).map_err(|error| error.to_string())
}

fn affinity(run: u64) -> Affinity {
    let asked = json!({ "cookieName": "pod.info", "primaryCookieName": "pod.info-primary" });
    let mut affinity = plan(asked, |_| {}).unwrap().affinity.unwrap();
    affinity.follow(&State {
        run: Some(Run::new(run, Revision("r".to_owned()))),
        ..State::default()
    });
    affinity
}

fn sticky(percent: i64) -> Split {
    Split {
        sticky: true,
        ..Split::to_canary(Weight::clamped(percent))
    }
}

fn pair(cookie: &Cookie) -> &str {
    cookie.header.split(';').next().unwrap()
}

fn matches(cookie: &Cookie, header: &str) -> bool {
    Regex::new(&cookie.pattern).unwrap().is_match(header)
}

#[test]
fn a_cookie_is_found_among_others_and_only_as_a_whole() {
    let cookie = affinity(1).canary();
    let own = pair(&cookie);
    let check = |header: String, expected: bool| {
        assert_eq!(matches(&cookie, &header), expected, "{header}");
    };
    check(own.to_owned(), true);
    check(format!("a=b; {own}"), true);
    check(format!("a=b;{own}; c=d"), true);
    check(format!("x{own}"), false);
    check(format!("{own}0"), false);
    check(own.replace('.', "x"), false);
    check("pod.info=".to_owned(), false);
}

#[test]
fn a_value_belongs_to_one_run_and_stays_the_same_in_it() {
    assert_eq!(affinity(1).canary(), affinity(1).canary());
    assert_ne!(pair(&affinity(1).canary()), pair(&affinity(2).canary()));
    assert!(!matches(&affinity(2).canary(), pair(&affinity(1).canary())));
}

#[test]
fn clients_of_the_primary_draw_anew_at_each_weight() {
    let at = |percent| affinity(1).primary(sticky(percent));
    assert_eq!(at(10), at(10));
    assert_ne!(at(10), at(20));
    assert_eq!(at(100), None, "there is nothing else to get");
    assert!(at(10).unwrap().header.ends_with("; Max-Age=90"));
}

#[test]
fn cookies_of_any_run_are_forgotten() {
    let expired = affinity(9).expired();
    assert_eq!(expired.header, "pod.info=; Max-Age=-1");
    assert!(matches(&expired, pair(&affinity(1).canary())));
    let primary = affinity(1).primary(sticky(10)).unwrap();
    assert!(!matches(&expired, pair(&primary)));
}

#[test]
fn attributes_follow_the_value() {
    let asked = json!({
        "cookieName": "a", "maxAge": 60, "domain": "a.example", "path": "/x", "sameSite": "None",
        "httpOnly": true, "partitioned": true, "secure": true,
    });
    let affinity = plan(asked, |_| {}).unwrap().affinity.unwrap();
    let attributes = "; Domain=a.example; Path=/x; SameSite=None; HttpOnly; Partitioned; Secure";
    let header = affinity.canary().header;
    assert!(
        header.ends_with(&format!("; Max-Age=60{attributes}")),
        "{header}"
    );
    assert_eq!(
        affinity.expired().header,
        format!("a=; Max-Age=-1{attributes}")
    );
}

#[test]
fn what_no_client_would_take_is_refused_by_name() {
    let check = |asked: Value, field: &str| {
        let error = plan(asked, |_| {}).unwrap_err();
        assert!(
            error.contains(&format!("spec.analysis.sessionAffinity.{field}")),
            "{error}"
        );
    };
    check(json!({ "cookieName": "a b" }), "cookieName");
    check(json!({ "cookieName": "" }), "cookieName");
    check(json!({ "cookieName": "a%" }), "cookieName");
    check(
        json!({ "cookieName": "a", "primaryCookieName": "a" }),
        "primaryCookieName",
    );
    check(json!({ "cookieName": "a", "maxAge": 1.5 }), "maxAge");
    check(json!({ "cookieName": "a", "maxAge": -1 }), "maxAge");
    check(json!({ "cookieName": "a", "path": "/a;b" }), "path");
    check(json!({ "cookieName": "a", "domain": "a b" }), "domain");
}

#[test]
fn without_shares_of_requests_there_is_nothing_to_bind_clients_to() {
    let asked = || json!({ "cookieName": "a" });
    let check = |change: fn(&mut Value)| {
        assert_eq!(plan(asked(), change).unwrap().affinity, None);
    };
    check(|spec| spec["provider"] = json!("kubernetes"));
    check(|spec| spec["analysis"]["iterations"] = json!(3));
    check(|spec| spec["service"]["appProtocol"] = json!("TCP"));
}

#[test]
fn a_match_of_the_same_header_is_refused() {
    let cookie = json!([{ "headers": { "Cookie": { "exact": "x" } } }]);
    let error = plan(json!({ "cookieName": "a" }), |spec| {
        spec["service"]["match"] = cookie;
    });
    assert!(error.unwrap_err().contains("spec.service.match"));
}

#[test]
fn the_status_tells_which_cookies_are_given_out_and_which_were() {
    let (affinity, mut status) = (affinity(1), CanaryStatus::default());
    affinity.note(&mut status, Split::PRIMARY);
    assert_eq!(status, CanaryStatus::default());
    affinity.note(&mut status, sticky(10));
    let given = status.session_affinity_cookie.clone();
    assert!(
        given
            .as_ref()
            .is_some_and(|text| text.starts_with("pod.info=")),
        "{given:?}"
    );
    assert!(status.primary_session_affinity_cookie.is_some());
    affinity.note(&mut status, Split::PRIMARY);
    assert_eq!(status.previous_session_affinity_cookie, given);
    assert_eq!(status.session_affinity_cookie, None);
    assert_eq!(status.primary_session_affinity_cookie, None);
}
