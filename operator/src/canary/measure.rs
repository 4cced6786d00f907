//! Asks the metrics of one check, one after the other, until one objects.

use std::collections::BTreeMap;

use fairlead_crds::canary::MetricTemplate;
use fairlead_rollout::Verdict;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

use super::desk::Reply;
use super::validate::{Metric, Source, Validated};
use crate::analysis::prometheus::{Config, Credentials, Prometheus};
use crate::analysis::template::{self, Variables};
use crate::analysis::{self, Finding, builtin};

/// Everything that a check needs, owned, since it outlives the reconciliation that asked.
#[derive(Clone)]
pub(super) struct Check {
    /// The cluster, for templates and credentials.
    pub(super) client: Client,
    /// The Canary.
    pub(super) plan: Validated,
    /// The metrics server that is asked when nothing names another.
    pub(super) metrics_server: String,
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
        let prepared = self.prepare(metric).await;
        let failed = |why: String, query: String| Finding {
            metric: metric.name.clone(),
            query,
            values: Vec::new(),
            range: metric.range,
            verdict: Verdict::Error(format!("metric {}: {why}", metric.name)),
        };
        let (query, config) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return failed(why, String::new()),
        };
        match Prometheus::new(&config) {
            Ok(provider) => analysis::measure(&provider, &metric.name, query, metric.range).await,
            Err(error) => failed(error.to_string(), query),
        }
    }

    /// The query, and whom to ask.
    async fn prepare(&self, metric: &Metric) -> Result<(String, Config), String> {
        let variables = self.variables(metric);
        let server = self.plan.metrics_server.clone();
        let default = Config {
            address: server.unwrap_or_else(|| self.metrics_server.clone()),
            ..Config::default()
        };
        match &metric.source {
            Source::Builtin => builtin::query(&metric.name, &variables)
                .map(|query| (query, default))
                .ok_or_else(|| "it is not built in".to_owned()),
            Source::Inline(text) => {
                let query =
                    template::render(text, &variables).map_err(|error| error.to_string())?;
                Ok((query, default))
            }
            Source::Template { namespace, name } => {
                self.prepare_template(namespace, name, &variables, default)
                    .await
            }
        }
    }

    async fn prepare_template(
        &self,
        namespace: &str,
        name: &str,
        variables: &Variables,
        default: Config,
    ) -> Result<(String, Config), String> {
        let api: Api<MetricTemplate> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await;
        let found = found
            .map_err(|error| {
                format!("MetricTemplate `{namespace}/{name}` cannot be read: {error}")
            })?
            .ok_or_else(|| format!("MetricTemplate `{namespace}/{name}` does not exist"))?;
        let provider = found.spec.provider;
        if provider.r#type != "prometheus" {
            return Err(format!(
                "MetricTemplate `{namespace}/{name}` asks for provider `{}`; only prometheus is \
                 supported",
                provider.r#type
            ));
        }
        let query =
            template::render(&found.spec.query, variables).map_err(|error| error.to_string())?;
        let credentials = match &provider.secret_ref {
            Some(secret) => self.credentials(namespace, &secret.name).await?,
            None => Credentials::None,
        };
        let address = provider.address.filter(|address| !address.is_empty());
        let headers = provider
            .headers
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
        let config = Config {
            address: address.unwrap_or(default.address),
            credentials,
            headers: headers.collect(),
            insecure_skip_verify: provider.insecure_skip_verify.unwrap_or(false),
        };
        Ok((query, config))
    }

    async fn credentials(&self, namespace: &str, name: &str) -> Result<Credentials, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = api
            .get_opt(name)
            .await
            .map_err(|error| format!("Secret `{namespace}/{name}` cannot be read: {error}"))?
            .ok_or_else(|| format!("Secret `{namespace}/{name}` does not exist"))?;
        let data = secret.data.unwrap_or_default();
        match (
            text(&data, "token"),
            text(&data, "username"),
            text(&data, "password"),
        ) {
            (Some(token), _, _) => Ok(Credentials::Token(token)),
            (None, Some(username), Some(password)) => Ok(Credentials::Basic { username, password }),
            _ => Err(format!(
                "Secret `{namespace}/{name}` holds neither `token` nor `username` and `password`"
            )),
        }
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

/// A text in a Secret.
pub(super) fn text(data: &BTreeMap<String, ByteString>, key: &str) -> Option<String> {
    String::from_utf8(data.get(key)?.0.clone()).ok()
}
