//! What a metric of a check asks, and of whom. Reads MetricTemplates; asks nothing yet.

use std::time::Duration;

use fairlead_crds::canary::{MetricProvider, MetricTemplate};
use fairlead_crds::parse_duration;
use fairlead_rollout::Subject;
use kube::Client;
use kube::api::Api;

use super::validate::{Metric, Source, Validated};
use crate::analysis::builtin;
use crate::analysis::mesh::{Measure, Target};
use crate::analysis::template::{self, Variables};
use crate::workload::Kind;

/// A query as it is sent.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its text; for the mesh's own counters, what is counted.
    pub query: String,
    /// Who is asked.
    pub whom: Whom,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Whom {
    /// The mesh's own proxies.
    Mesh {
        /// What is counted.
        measure: Measure,
        /// Over how long.
        window: Duration,
    },
    /// The metrics server of the Canary, or else of the operator.
    Server,
    /// The provider of a MetricTemplate.
    Template {
        /// The template's namespace, where its Secret is too.
        namespace: String,
        /// How it is asked.
        system: System,
        /// Where it is.
        provider: MetricProvider,
    },
}

/// The systems that a MetricTemplate may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Prometheus, and what speaks like it.
    Prometheus,
    /// Any server that answers with JSON.
    Web,
}

impl System {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "prometheus" => Ok(Self::Prometheus),
            "web" => Ok(Self::Web),
            other => Err(format!(
                "provider `{other}` is not supported; use prometheus or web"
            )),
        }
    }
}

/// The metrics server that is asked when nothing else is named: the Canary's own, or else `default`.
pub fn server<'a>(plan: &'a Validated, default: Option<&'a String>) -> Option<&'a String> {
    let own = plan.metrics_server.as_ref();
    own.filter(|server| !server.is_empty()).or(default)
}

/// What the mesh's proxies know the canary by.
pub(super) fn target(plan: &Validated) -> Target {
    Target {
        namespace: plan.names.namespace.clone(),
        workload: workload(plan, &plan.names.target),
        service: plan.route.canary.clone(),
    }
}

/// What they know the primary by.
pub(super) fn primary(plan: &Validated) -> Target {
    Target {
        namespace: plan.names.namespace.clone(),
        workload: workload(plan, &plan.names.primary),
        service: plan.route.primary.clone(),
    }
}

/// The workloads behind a Service as target have other names than it.
fn workload(plan: &Validated, name: &str) -> Option<String> {
    (plan.kind != Kind::Service).then(|| name.to_owned())
}

/// What they know the one by that metrics are asked about.
pub(super) fn subject(plan: &Validated, of: Subject) -> Target {
    match of {
        Subject::Canary => target(plan),
        Subject::Primary => primary(plan),
    }
}

/// Finds out what `metric` asks of whom about whom, or why that cannot be told; without a `client` there are no
/// MetricTemplates.
pub async fn question(
    client: Option<&Client>,
    plan: &Validated,
    of: Subject,
    metric: &Metric,
    default_server: Option<&String>,
) -> Result<Question, String> {
    let variables = variables(plan, of, metric);
    let of_server = |query| Question {
        query,
        whom: Whom::Server,
    };
    match &metric.source {
        Source::Builtin if server(plan, default_server).is_none() => of_mesh(plan, of, metric),
        Source::Builtin => {
            let query = builtin::query(&metric.name, &subject(plan, of), &metric.window);
            query.map(of_server).ok_or_else(not_built_in)
        }
        Source::Inline(text) => render(text, &variables).map(of_server),
        Source::Template { namespace, name } => of_template(client, namespace, name, &variables)
            .await
            .map_err(|why| format!("MetricTemplate `{namespace}/{name}`: {why}")),
    }
}

fn not_built_in() -> String {
    "it is not built in".to_owned()
}

/// The proxies' own counters.
fn of_mesh(plan: &Validated, of: Subject, metric: &Metric) -> Result<Question, String> {
    let measure = match metric.name.as_str() {
        builtin::SUCCESS_RATE => Measure::SuccessRate,
        builtin::DURATION => Measure::Duration,
        _ => return Err(not_built_in()),
    };
    let window = parse_duration(&metric.window).map_err(|error| error.to_string())?;
    Ok(Question {
        query: measure.describe(&subject(plan, of), window),
        whom: Whom::Mesh { measure, window },
    })
}

async fn of_template(
    client: Option<&Client>,
    namespace: &str,
    name: &str,
    variables: &Variables,
) -> Result<Question, String> {
    let client = client.ok_or("there is no cluster to read it from")?;
    let api: Api<MetricTemplate> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found
        .map_err(|error| format!("it cannot be read: {error}"))?
        .ok_or("it does not exist")?;
    let query = render(&found.spec.query, variables)?;
    let provider = found.spec.provider;
    Ok(Question {
        query,
        whom: Whom::Template {
            namespace: namespace.to_owned(),
            system: System::parse(&provider.r#type)?,
            provider,
        },
    })
}

/// A query speaks of the workload that it is asked about as its target.
fn variables(plan: &Validated, of: Subject, metric: &Metric) -> Variables {
    Variables {
        name: plan.name.clone(),
        namespace: plan.names.namespace.clone(),
        target: match of {
            Subject::Canary => plan.names.target.clone(),
            Subject::Primary => plan.names.primary.clone(),
        },
        service: plan.route.apex.clone(),
        ingress: String::new(),
        route: String::new(),
        interval: metric.window.clone(),
        variables: metric.variables.clone(),
    }
}

fn render(text: &str, variables: &Variables) -> Result<String, String> {
    template::render(text, variables).map_err(|error| error.to_string())
}
