//! The report as people see it.

use fairlead_operator::canary::forecast::{Forecast, Takeover};
use serde_json::{from_value, json};

use super::flagger::tests::deployment;
use super::*;
use crate::terminal::Style;

fn verdict(name: &str, takeover: Takeover, inert: Vec<&'static str>) -> Verdict {
    let canary: Canary = from_value(json!({
        "metadata": { "name": name, "namespace": "shop" },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name },
            "analysis": {},
        },
        "status": { "phase": "Succeeded" },
    }))
    .expect("a Canary");
    let forecast = Forecast {
        takeover,
        inert,
        troubles: Vec::new(),
    };
    Verdict::new(&canary, forecast, Vec::new())
}

#[test]
fn a_report_tells_settings_values_canaries_and_what_to_do() {
    let flaggers = vec![Flagger::read(&deployment())];
    let stalled = Takeover::Stalled("`spec.provider`: `nginx` is not supported".to_owned());
    let canaries = vec![
        verdict("cart", Takeover::Baseline, Vec::new()),
        verdict("front", stalled, Vec::new()),
        verdict("mail", Takeover::Refused, vec!["spec.service.meshName"]),
    ];
    let report = Report {
        ready: false,
        next: next(&flaggers, &canaries),
        flaggers,
        leader: Some("flagger-0".to_owned()),
        canaries,
    };
    insta::assert_snapshot!(draw::draw(&report, Style::Plain));
}

#[test]
fn a_lease_that_is_over_is_held_by_nobody() {
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let lease: LeaseSpec = from_value(json!({
        "holderIdentity": "flagger-0",
        "leaseDurationSeconds": 60,
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }))
    .expect("a lease");
    let at = |text| holder(lease.clone(), time(text));
    assert_eq!(at("2026-01-01T00:00:59Z").as_deref(), Some("flagger-0"));
    assert_eq!(at("2026-01-01T00:01:00Z"), None);
}
