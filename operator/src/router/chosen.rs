//! Requests that go to the canary whatever its weight, while the weights divide the rest. Pure.

use fairlead_crds::canary::{Canary, CanaryMatch, WeightScope};
use serde_json::Value;

use super::Provider;
use crate::canary::validate::Error;

/// Which requests a Canary speaks of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selection {
    /// Those that the weights are about; all when empty.
    pub(super) divided: Vec<CanaryMatch>,
    /// Those that the canary gets as soon as it has a weight.
    pub(super) chosen: Vec<CanaryMatch>,
}

impl Selection {
    /// Reads the matches of a Canary.
    pub(super) fn new(canary: &Canary, provider: Provider) -> Result<Self, Error> {
        let analysis = &canary.spec.analysis;
        let matches = analysis.r#match.clone();
        match analysis.weight_scope {
            None | Some(WeightScope::Matched) => {
                return Ok(Self {
                    divided: matches,
                    chosen: Vec::new(),
                });
            }
            Some(WeightScope::Rest) => {}
        }
        let refuse = |fix: &str| {
            Err(Error::Field {
                field: "spec.analysis.weightScope",
                fix: fix.to_owned(),
            })
        };
        if matches.is_empty() {
            return refuse(
                "needs spec.analysis.match, which says whose requests go to the new version; add \
                 it, or leave weightScope out",
            );
        }
        let counts = analysis.iterations;
        if counts.is_some_and(|count| count.as_f64() > 0.0) {
            return refuse(
                "is for weights, and `iterations` has none: with match alone it leads matching \
                 requests to the new version already; leave weightScope out",
            );
        }
        let service = canary.spec.service.clone().unwrap_or_default();
        let protocol = service.app_protocol.unwrap_or_default();
        if protocol.eq_ignore_ascii_case("tcp") {
            return refuse(
                "cannot be `Rest` with appProtocol tcp: a connection has nothing to match",
            );
        }
        if let Some(name) = asked_twice(&matches, &service.r#match) {
            return Err(Error::Field {
                field: "spec.analysis.match",
                fix: format!(
                    "cannot ask for `{name}`, which spec.service.match asks for too, while \
                     weightScope is Rest: both would have to hold; leave out one of the two"
                ),
            });
        }
        if let Provider::GatewayApi { .. } = provider
            && analysis.session_affinity.is_some()
            && matches.iter().any(|one| one.headers.is_empty())
        {
            return Err(Error::Field {
                field: "spec.analysis.match",
                fix:
                    "must name a header in each entry beside sessionAffinity while weightScope is \
                      Rest: in an HTTPRoute a cookie would win over what has none"
                        .to_owned(),
            });
        }
        Ok(Self {
            divided: Vec::new(),
            chosen: matches,
        })
    }
}

/// What both a match of the strategy and one of a route ask about, by the name of the header, the
/// parameter or the label.
pub(super) fn asked_twice<'a, M: serde::Serialize>(
    chosen: &'a [CanaryMatch],
    of_route: &[M],
) -> Option<&'a str> {
    let of_route: Vec<Value> = of_route
        .iter()
        .filter_map(|one| serde_json::to_value(one).ok())
        .collect();
    let asks = |field: &str, name: &str| {
        let mut asked = of_route
            .iter()
            .filter_map(|one| one[field].as_object())
            .flat_map(serde_json::Map::keys);
        asked.any(|other| other.eq_ignore_ascii_case(name))
    };
    chosen.iter().find_map(|one| {
        let headers = one.headers.keys().map(|name| ("headers", name));
        let query = one.query_params.keys().map(|name| ("queryParams", name));
        let labels = one.source_labels.keys().map(|name| ("sourceLabels", name));
        let mut all = headers.chain(query).chain(labels);
        all.find(|(field, name)| asks(field, name))
            .map(|(_, name)| name.as_str())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::router::RoutePlan;

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn check(provider: &str, service: Value, analysis: Value, expected: Result<usize, &str>) {
        let canary = serde_json::from_value(json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": { "name": "podinfo", "namespace": "test", "uid": "1" },
            "spec": {
                "provider": provider,
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
                "service": service,
                "analysis": analysis,
            },
        }))
        .unwrap();
        let plan = RoutePlan::new(&canary).map_err(|error| error.to_string());
        match (plan, expected) {
            (Ok(plan), Ok(chosen)) => {
                let inside = plan.matches.len();
                assert_eq!(
                    (plan.chosen.len(), inside),
                    (chosen, 1 - chosen),
                    "{analysis}"
                );
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (Ok(plan), Err(part)) => unreachable!("{analysis}: {plan:?} is not {part}"),
            (Err(error), Ok(_)) => unreachable!("{analysis}: {error}"),
        }
    }

    fn insiders() -> Value {
        json!([{ "headers": { "x-canary": { "exact": "insider" } } }])
    }

    #[test]
    fn weights_stay_inside_the_match_unless_the_canary_says_otherwise() {
        let service = || json!({ "port": 80 });
        let of =
            |scope: Value| json!({ "stepWeight": 10, "match": insiders(), "weightScope": scope });
        check("istio", service(), of(Value::Null), Ok(0));
        check("istio", service(), of(json!("Matched")), Ok(0));
        check("istio", service(), of(json!("Rest")), Ok(1));
    }

    #[test]
    fn what_cannot_work_says_what_to_do() {
        let service = || json!({ "port": 80 });
        let rest = |with: Value| {
            let mut analysis = json!({ "weightScope": "Rest" });
            json_patch::merge(&mut analysis, &with);
            analysis
        };
        check(
            "istio",
            service(),
            rest(json!({ "stepWeight": 10 })),
            Err("needs spec.analysis.match"),
        );
        let counted = rest(json!({ "iterations": 3, "match": insiders() }));
        check("istio", service(), counted, Err("is for weights"));
        let weighted = || rest(json!({ "stepWeight": 10, "match": insiders() }));
        let tcp = json!({ "port": 80, "appProtocol": "TCP" });
        check("istio", tcp, weighted(), Err("appProtocol tcp"));
        let same =
            json!({ "port": 80, "match": [{ "headers": { "X-Canary": { "prefix": "i" } } }] });
        check("istio", same, weighted(), Err("`x-canary`"));
        let gateway = json!({ "port": 80, "gatewayRefs": [{ "name": "public" }] });
        let sticky = rest(json!({
            "stepWeight": 10, "sessionAffinity": { "cookieName": "new" },
            "match": [{ "queryParams": { "beta": { "exact": "1" } } }],
        }));
        check("gatewayapi:v1", gateway, sticky, Err("a cookie would win"));
    }
}
