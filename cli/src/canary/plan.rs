//! Tells what a Canary leads to before it does: each object that is made or changed, the steps,
//! the checks, the hooks and the alerts.

mod draw;
mod object;

use std::time::Duration;

use anyhow::Result;
use fairlead_crds::canary::Canary;
use fairlead_operator::analysis::webhook::SecretPlace;
use fairlead_operator::canary::forecast::instead;
use fairlead_operator::canary::preview::{Freshness, Preview, preview};
use fairlead_operator::canary::question::{Whom, question};
use fairlead_operator::canary::validate::{Limits, Source, Validated, Webhook, validate};
use fairlead_runtime::clock;
use jiff::Unit;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use serde::Serialize;

use self::object::{Object, objects};
use super::Canaries;
use super::course::{self, Moment, moments};
use super::manifest::{Subject, resolve};
use crate::args::Output;
use crate::exit::Exit;
use crate::output::print;

/// A Canary that was just applied is written to by the operator while it is looked at: so often is
/// it looked at anew.
const MOST_LOOKS: usize = 10;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// What a Canary leads to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outlook {
    namespace: String,
    name: String,
    /// What stands in the way, each with the fix; empty when it can go on.
    problems: Vec<String>,
    /// How long a release takes at the fastest: pods ready at once, hooks agreeing at once.
    fastest: String,
    course: Vec<Moment>,
    /// What is waited for in the end.
    waits: String,
    checks: Vec<Check>,
    hooks: Vec<Hook>,
    alerts: Vec<String>,
    objects: Vec<Object>,
}

/// A metric of each check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    metric: String,
    limit: String,
    query: String,
    /// Who is asked.
    whom: String,
}

/// A hook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Hook {
    kind: String,
    name: String,
    /// Without what may be a secret: user, password and query.
    url: String,
}

/// Plans.
pub(super) async fn run(canaries: &Canaries, subject: &Subject, output: Output) -> Result<Exit> {
    let mut looks = 1;
    let outlook = loop {
        let canary = resolve(canaries, subject).await?;
        let (outlook, freshness) = look(&canaries.cluster.client, &canary).await;
        if freshness == Freshness::Fresh || looks >= MOST_LOOKS {
            break outlook;
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    };
    print(output, &outlook, |style| draw::draw(&outlook, style))?;
    Ok(if outlook.problems.is_empty() {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

async fn look(client: &Client, canary: &Canary) -> (Outlook, Freshness) {
    let mut outlook = Outlook {
        namespace: canary.namespace().unwrap_or_default(),
        name: canary.name_any(),
        problems: Vec::new(),
        fastest: String::new(),
        course: Vec::new(),
        waits: String::new(),
        checks: Vec::new(),
        hooks: Vec::new(),
        alerts: Vec::new(),
        objects: Vec::new(),
    };
    let plan = match validate(canary, &Limits::default()) {
        Ok(plan) => plan,
        Err(error) => {
            outlook.problems.push(error.to_string());
            return (outlook, Freshness::Fresh);
        }
    };
    let inert = plan.inert.iter().map(|field| {
        let instead = instead(field);
        format!("`{field}` is accepted and has no effect: {instead}")
    });
    outlook.problems.extend(inert);
    outlook.hooks = plan
        .hooks
        .iter()
        .chain(&plan.event_hooks)
        .map(hook)
        .collect();
    outlook
        .problems
        .extend(missing_secrets(client, &plan).await);
    outlook.alerts = alerts(&plan);
    for metric in &plan.metrics {
        // Where a query goes matters here, and not which address the operator was given.
        let server = "the operator's metrics server".to_owned();
        match question(
            Some(client),
            &plan,
            fairlead_rollout::Subject::Canary,
            metric,
            Some(&server),
        )
        .await
        {
            Ok(question) => outlook.checks.push(Check {
                metric: metric.name.clone(),
                limit: metric.range.to_string(),
                query: question.query,
                whom: whom(&question.whom, &plan, &metric.source),
            }),
            Err(why) => outlook
                .problems
                .push(format!("metric {}: {why}", metric.name)),
        }
    }
    // Nobody needs more of a forecast than its seconds.
    let now = clock::now();
    let now = now.round(Unit::Second).unwrap_or(now);
    match Box::pin(preview(client, canary, &plan, now)).await {
        Ok(Preview {
            scenes,
            waits,
            changes,
            troubles,
            freshness,
        }) => {
            outlook.fastest = course::words(course::length(&scenes));
            outlook.course = moments(&scenes, now);
            outlook.waits = waits;
            outlook.objects = objects(&changes);
            outlook.problems.extend(troubles);
            (outlook, freshness)
        }
        Err(why) => {
            outlook.problems.push(why);
            (outlook, Freshness::Fresh)
        }
    }
}

fn whom(whom: &Whom, plan: &Validated, source: &Source) -> String {
    match (whom, source) {
        (Whom::Mesh { .. }, _) => "the mesh's own proxies".to_owned(),
        (Whom::Template { provider, .. }, Source::Template { namespace, name }) => {
            format!("{} of MetricTemplate {namespace}/{name}", provider.r#type)
        }
        (Whom::Server | Whom::Template { .. }, _) if plan.metrics_server.is_some() => {
            "the metrics server of the Canary".to_owned()
        }
        (Whom::Server | Whom::Template { .. }, Source::Builtin) => {
            "the operator's metrics server; where it has none, the mesh's own proxies".to_owned()
        }
        (Whom::Server | Whom::Template { .. }, _) => "the operator's metrics server".to_owned(),
    }
}

fn hook(hook: &Webhook) -> Hook {
    Hook {
        kind: hook.kind.map_or("event", |kind| kind.as_str()).to_owned(),
        name: hook.name.clone(),
        url: bare(&hook.endpoint.url),
    }
}

/// The Secrets of hooks that are not there; what they hold is not asked for.
async fn missing_secrets(client: &Client, plan: &Validated) -> Vec<String> {
    let mut missing = Vec::new();
    for hook in plan.hooks.iter().chain(&plan.event_hooks) {
        let Some(SecretPlace { namespace, name }) = &hook.endpoint.secret else {
            continue;
        };
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        // Who may not look for Secrets learns it from the operator.
        if let Ok(None) = api.get_metadata_opt(name).await {
            missing.push(format!(
                "hook {}: Secret `{namespace}/{name}` does not exist",
                hook.name
            ));
        }
    }
    missing
}

/// An address without user, password and query.
fn bare(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

fn alerts(plan: &Validated) -> Vec<String> {
    if plan.alerts.is_empty() {
        return vec!["the operator's own channel, if it has one".to_owned()];
    }
    let alerts = plan.alerts.iter().map(|alert| {
        let reference = &alert.provider_ref;
        let namespace = reference.namespace.as_ref();
        let namespace = namespace.unwrap_or(&plan.names.namespace);
        format!(
            "{} by AlertProvider {namespace}/{}",
            alert.name, reference.name
        )
    });
    alerts.collect()
}

#[cfg(test)]
mod tests {
    use fairlead_operator::canary::preview::Change;
    use fairlead_operator::dry_run::Write;
    use serde_json::json;

    use super::*;
    use crate::terminal::Style;

    #[test]
    fn a_plan_tells_objects_course_checks_and_hooks() {
        let write = |object: &str, before, after| Write {
            object: object.to_owned(),
            before,
            after: Some(after),
        };
        let replicas = |replicas: u8| json!({ "spec": { "replicas": replicas } });
        let moment = |after: &str, what: &str, weight, message: &str| Moment {
            after: after.to_owned(),
            seconds: 0.0,
            what: what.to_owned(),
            weight,
            message: message.to_owned(),
        };
        let changes = [
            Change {
                when: "Services and policies are made",
                writes: vec![write("services/podinfo-primary", None, json!({}))],
            },
            Change {
                when: "the target rests",
                writes: vec![write(
                    "deployments/podinfo/scale",
                    Some(replicas(2)),
                    replicas(0),
                )],
            },
        ];
        let outlook = Outlook {
            namespace: "shop".to_owned(),
            name: "podinfo".to_owned(),
            problems: vec!["`spec.ingressRef` is accepted and has no effect".to_owned()],
            fastest: "20s".to_owned(),
            course: vec![
                moment("0s", "WeightInEffect", 25, "traffic is 75/25"),
                moment("10s", "Check", 25, "the metrics are asked"),
            ],
            waits: "waiting for a new revision".to_owned(),
            checks: vec![Check {
                metric: "latency".to_owned(),
                limit: "at most 250".to_owned(),
                query: "histogram_quantile(…)".to_owned(),
                whom: "the metrics server of the Canary".to_owned(),
            }],
            hooks: vec![Hook {
                kind: "confirm-promotion".to_owned(),
                name: "gate".to_owned(),
                url: "http://gate.shop/check".to_owned(),
            }],
            alerts: vec!["team by AlertProvider shop/slack".to_owned()],
            objects: objects(&changes),
        };
        insta::assert_snapshot!(draw::draw(&outlook, Style::Plain));
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("http://gate.shop/check", "http://gate.shop/check"),
            (
                "https://user:hush@gate/check?token=hush",
                "https://gate/check",
            ),
            ("https://gate?token=hush", "https://gate"),
        ] {
            assert_eq!(bare(url), shown);
        }
    }
}
