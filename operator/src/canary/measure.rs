//! Asks the metrics of one check, one after the other, until one objects.

use fairlead_crds::canary::{MetricProvider, MetricTemplate};
use fairlead_crds::parse_duration;
use fairlead_rollout::Verdict;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

use super::desk::Reply;
use super::validate::{Metric, Source, Validated};
use crate::analysis::access::Access;
use crate::analysis::mesh::{Measure, Mesh, Target};
use crate::analysis::prometheus::Prometheus;
use crate::analysis::template::{self, Variables};
use crate::analysis::web::Web;
use crate::analysis::{self, Finding, Provider, QueryError, builtin};
use crate::outgoing::{Outgoing, Trust};

/// Whom checks ask.
#[derive(Clone)]
pub(super) struct Sources {
    /// The cluster, for templates and credentials.
    pub(super) client: Client,
    /// Calls providers.
    pub(super) outgoing: Outgoing,
    /// The proxies' own counters, for where there is no metrics server.
    pub(super) mesh: Mesh,
    /// The metrics server that is asked when nothing names another.
    pub(super) metrics_server: Option<String>,
}

impl Sources {
    /// Begins to read what checks of this Canary will ask about, so that there is something to
    /// compare with when they do.
    pub(super) fn follow(&self, plan: &Validated) {
        let asks_mesh = |metric: &Metric| metric.source == Source::Builtin;
        if self.server(plan).is_none() && plan.metrics.iter().any(asks_mesh) {
            self.mesh.follow(&target(plan));
        }
    }

    fn server<'a>(&'a self, plan: &'a Validated) -> Option<&'a String> {
        let own = plan.metrics_server.as_ref();
        own.filter(|server| !server.is_empty())
            .or(self.metrics_server.as_ref())
    }
}

/// Everything that a check needs, owned, since it outlives the reconciliation that asked.
#[derive(Clone)]
pub(super) struct Check {
    /// Whom it asks.
    pub(super) sources: Sources,
    /// The Canary.
    pub(super) plan: Validated,
}

impl Check {
    /// Asks all metrics; the first objection ends the check.
    pub(super) async fn run(self) -> Reply {
        let mut findings = Vec::new();
        for metric in &self.plan.metrics {
            let finding = self.measure(metric).await;
            let verdict = finding.verdict.clone();
            findings.push(finding);
            if verdict != Verdict::Passed {
                return Reply { verdict, findings };
            }
        }
        Reply {
            verdict: Verdict::Passed,
            findings,
        }
    }

    async fn measure(&self, metric: &Metric) -> Finding {
        match self.prepare(metric).await {
            Ok((query, provider)) => {
                analysis::measure(&*provider, &metric.name, query, metric.range).await
            }
            Err(why) => Finding {
                metric: metric.name.clone(),
                query: String::new(),
                values: Vec::new(),
                range: metric.range,
                verdict: Verdict::Error(format!("metric {}: {why}", metric.name)),
            },
        }
    }

    /// The query, and whom to ask.
    async fn prepare(&self, metric: &Metric) -> Result<(String, Box<dyn Provider>), String> {
        let variables = self.variables(metric);
        match &metric.source {
            Source::Builtin if self.sources.server(&self.plan).is_none() => {
                self.prepare_mesh(metric)
            }
            Source::Builtin => {
                let query = builtin::query(&metric.name, &variables);
                let query = query.ok_or("it is not built in")?;
                Ok((query, self.default_provider().await?))
            }
            Source::Inline(text) => Ok((render(text, &variables)?, self.default_provider().await?)),
            Source::Template { namespace, name } => self
                .prepare_template(namespace, name, &variables)
                .await
                .map_err(|why| format!("MetricTemplate `{namespace}/{name}`: {why}")),
        }
    }

    /// The proxies' own counters.
    fn prepare_mesh(&self, metric: &Metric) -> Result<(String, Box<dyn Provider>), String> {
        let measure = match metric.name.as_str() {
            builtin::SUCCESS_RATE => Measure::SuccessRate,
            builtin::DURATION => Measure::Duration,
            _ => return Err("it is not built in".to_owned()),
        };
        let window = parse_duration(&metric.window).map_err(|error| error.to_string())?;
        let target = target(&self.plan);
        let described = measure.describe(&target, window);
        let provider = self.sources.mesh.provider(target, measure, window);
        Ok((described, Box::new(provider)))
    }

    fn default_server(&self) -> Result<String, String> {
        let server = self.sources.server(&self.plan).cloned();
        server.ok_or_else(|| {
            "there is no metrics server to ask: set spec.metricsServer, or the operator's \
             --metrics-server (chart value metricsServer)"
                .to_owned()
        })
    }

    async fn default_provider(&self) -> Result<Box<dyn Provider>, String> {
        let access = Access {
            address: self.default_server()?,
            ..Access::default()
        };
        let provider = Prometheus::new(&self.sources.outgoing, &access).await;
        Ok(Box::new(provider.map_err(|error| error.to_string())?))
    }

    async fn prepare_template(
        &self,
        namespace: &str,
        name: &str,
        variables: &Variables,
    ) -> Result<(String, Box<dyn Provider>), String> {
        let api: Api<MetricTemplate> = Api::namespaced(self.sources.client.clone(), namespace);
        let found = api.get_opt(name).await;
        let found = found
            .map_err(|error| format!("it cannot be read: {error}"))?
            .ok_or("it does not exist")?;
        let query = render(&found.spec.query, variables)?;
        let provider = found.spec.provider;
        let access = self.access(namespace, &provider).await?;
        let explain = |error: QueryError| error.to_string();
        let built: Box<dyn Provider> = match provider.r#type.as_str() {
            "prometheus" => Box::new(
                Prometheus::new(&self.sources.outgoing, &access)
                    .await
                    .map_err(explain)?,
            ),
            "web" => {
                let path = provider.json_path.as_deref().unwrap_or("$");
                Box::new(
                    Web::new(&self.sources.outgoing, &access, path)
                        .await
                        .map_err(explain)?,
                )
            }
            other => {
                return Err(format!(
                    "provider `{other}` is not supported; use prometheus or web"
                ));
            }
        };
        Ok((query, built))
    }

    /// Where a template's provider is and how to ask it.
    async fn access(&self, namespace: &str, provider: &MetricProvider) -> Result<Access, String> {
        let address = provider
            .address
            .clone()
            .filter(|address| !address.is_empty());
        let address = match address {
            Some(address) => address,
            None if provider.r#type == "prometheus" => self.default_server()?,
            None => return Err("its provider has no address".to_owned()),
        };
        let headers = provider.headers.iter().flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.clone(), value.clone()))
        });
        let mut access = Access {
            address,
            headers: headers.collect(),
            trust: if provider.insecure_skip_verify.unwrap_or(false) {
                Trust::Anything
            } else {
                Trust::System
            },
            ..Access::default()
        };
        if let Some(secret) = &provider.secret_ref {
            let name = format!("Secret `{namespace}/{}`", secret.name);
            let api: Api<Secret> = Api::namespaced(self.sources.client.clone(), namespace);
            let secret = api
                .get_opt(&secret.name)
                .await
                .map_err(|error| format!("{name} cannot be read: {error}"))?
                .ok_or_else(|| format!("{name} does not exist"))?;
            access
                .add_secret(&secret.data.unwrap_or_default())
                .map_err(|why| format!("{name} {why}"))?;
        }
        Ok(access)
    }

    fn variables(&self, metric: &Metric) -> Variables {
        Variables {
            name: self.plan.name.clone(),
            namespace: self.plan.names.namespace.clone(),
            target: self.plan.names.target.clone(),
            service: self.plan.route.apex.clone(),
            ingress: String::new(),
            route: String::new(),
            interval: metric.window.clone(),
            variables: metric.variables.clone(),
        }
    }
}

/// What the mesh's proxies know the canary by.
fn target(plan: &Validated) -> Target {
    Target {
        namespace: plan.names.namespace.clone(),
        workload: plan.names.target.clone(),
        service: format!("{}-canary", plan.route.apex),
    }
}

fn render(text: &str, variables: &Variables) -> Result<String, String> {
    template::render(text, variables).map_err(|error| error.to_string())
}
