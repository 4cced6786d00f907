//! Asks the metrics of one check, one after the other, until one objects.

use fairlead_crds::canary::MetricProvider;
use fairlead_rollout::{Selection, Subject, Verdict};
use fairlead_runtime::clock;
use kube::Client;

use super::desk::Reply;
use super::look::micros;
use super::question::{Question, System, Whom, primary, question, server, subject, target};
use super::validate::{Metric, Source, Validated};
use crate::analysis::mesh::Mesh;
use crate::analysis::prometheus::Prometheus;
use crate::analysis::web::Web;
use crate::analysis::{self, Finding, Provider, QueryError};
use crate::outgoing::access::Access;
use crate::outgoing::{Outgoing, Trust, secret};

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
        let asks_server = server(plan, self.metrics_server.as_ref()).is_some();
        if !asks_server && plan.metrics.iter().any(asks_mesh) {
            // The primary's requests tell the canary's share.
            self.mesh.follow(&target(plan));
            self.mesh.follow(&primary(plan));
        }
    }
}

/// Everything that a check needs, owned, since it outlives the reconciliation that asked.
#[derive(Clone)]
pub(super) struct Check {
    /// Whom it asks.
    pub(super) sources: Sources,
    /// The Canary.
    pub(super) plan: Validated,
    /// Which of its metrics.
    pub(super) metrics: Selection,
    /// What they are asked about.
    pub(super) of: Subject,
}

impl Check {
    /// Asks the metrics; the first objection ends the check.
    pub(super) async fn run(self) -> Reply {
        let mut findings = Vec::new();
        let asked = micros(clock::now());
        let metrics = self.plan.metrics.iter();
        for metric in metrics.filter(|metric| self.metrics.includes(&metric.name)) {
            let finding = self.measure(metric).await;
            let verdict = finding.verdict.clone();
            findings.push(finding);
            if verdict != Verdict::Passed {
                return Reply {
                    verdict,
                    findings,
                    asked,
                };
            }
        }
        Reply {
            verdict: Verdict::Passed,
            findings,
            asked,
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
        let Sources {
            client,
            metrics_server,
            ..
        } = &self.sources;
        let Question { query, whom } = question(
            Some(client),
            &self.plan,
            self.of,
            metric,
            metrics_server.as_ref(),
        )
        .await?;
        let provider = match whom {
            Whom::Mesh { measure, window } => {
                let target = subject(&self.plan, self.of);
                Box::new(self.sources.mesh.provider(target, measure, window))
            }
            Whom::Server => self.default_provider().await?,
            Whom::Template {
                namespace,
                system,
                provider,
            } => self
                .template_provider(&namespace, system, &provider)
                .await
                .map_err(|why| match &metric.source {
                    Source::Template { namespace, name } => {
                        format!("MetricTemplate `{namespace}/{name}`: {why}")
                    }
                    Source::Builtin | Source::Inline(_) => why,
                })?,
        };
        Ok((query, provider))
    }

    fn default_server(&self) -> Result<String, String> {
        let server = server(&self.plan, self.sources.metrics_server.as_ref()).cloned();
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

    async fn template_provider(
        &self,
        namespace: &str,
        system: System,
        provider: &MetricProvider,
    ) -> Result<Box<dyn Provider>, String> {
        let access = self.access(namespace, provider).await?;
        let explain = |error: QueryError| error.to_string();
        let outgoing = &self.sources.outgoing;
        Ok(match system {
            System::Prometheus => {
                Box::new(Prometheus::new(outgoing, &access).await.map_err(explain)?)
            }
            System::Web => {
                let path = provider.json_path.as_deref().unwrap_or("$");
                Box::new(Web::new(outgoing, &access, path).await.map_err(explain)?)
            }
        })
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
        if let Some(reference) = &provider.secret_ref {
            let held = secret::fetch(&self.sources.client, namespace, &reference.name).await;
            let held = held.map_err(|error| error.to_string())?;
            let used = match access.add_secret(&held) {
                Ok(0) => {
                    Err("holds none of `token`, `username` and `password`, `ca.crt` and `headers`")
                }
                Ok(_) => Ok(()),
                Err(why) => Err(why),
            };
            used.map_err(|why| format!("Secret `{namespace}/{}` {why}", reference.name))?;
        }
        Ok(access)
    }
}
