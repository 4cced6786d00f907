//! Turns a Canary's spec into a plan that can be carried out, or says what to fix. Pure.
//!
//! What Flagger's schema lets through is read here with Flagger's meaning; afterwards nobody looks
//! at the raw strategy again.

use std::borrow::Cow;
use std::time::Duration;

use fairlead_crds::canary::{Canary, CanaryAlert, CrossNamespaceReference, TargetReference};
use fairlead_rollout::{HookKind, Strategy};
use kube::ResourceExt;

use super::inert::inert;
use super::judgement::{self, Counting};
use super::{checks, strategy};
use crate::analysis::Range;
use crate::analysis::webhook::Endpoint;
use crate::router::RoutePlan;
use crate::workload::autoscaler::{self, Autoscaler};
use crate::workload::{Kind, Names};

/// What is wrong with a Canary, and how to put it right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field has a value that cannot work.
    #[error("`{field}`: {fix}")]
    Field {
        /// The field's path.
        field: &'static str,
        /// What it must be.
        fix: String,
    },
    /// Something that this version does not do.
    #[error("`{field}`: {value} is not supported; use {instead}")]
    Unsupported {
        /// The field's path.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What works.
        instead: &'static str,
    },
    /// The strategy is missing or ambiguous.
    #[error(
        "`spec.analysis`: {0}; set exactly one of stepWeight, stepWeights, steps and iterations"
    )]
    Strategy(&'static str),
}

/// Limits that the operator sets for all Canaries.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Shorter intervals are raised to this.
    pub interval_floor: Duration,
    /// The provider of Canaries that name none; `istio` where this is empty too.
    pub provider: String,
    /// Where templates and alert providers may be.
    pub references: References,
}

/// Where the objects may be that a Canary refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// In any namespace; Flagger's default.
    #[default]
    Anywhere,
    /// In the Canary's own.
    OwnNamespace,
}

impl References {
    /// Whether `reference` may be followed from a Canary in `namespace`.
    pub(super) fn admit(
        self,
        field: &'static str,
        reference: &CrossNamespaceReference,
        namespace: &str,
    ) -> Result<(), Error> {
        let other = reference.namespace.as_deref();
        match other.filter(|other| *other != namespace && !other.is_empty()) {
            Some(other) if self == Self::OwnNamespace => Err(Error::Field {
                field,
                fix: format!(
                    "must be in namespace `{namespace}`, but `{}` is in `{other}`: the operator \
                     runs with --no-cross-namespace-refs",
                    reference.name
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Limits {
    /// A Canary with the provider that it means.
    fn complete<'a>(&self, canary: &'a Canary) -> Cow<'a, Canary> {
        let named = canary.spec.provider.as_deref().unwrap_or_default();
        if !named.is_empty() || self.provider.is_empty() {
            return Cow::Borrowed(canary);
        }
        let mut canary = canary.clone();
        canary.spec.provider = Some(self.provider.clone());
        Cow::Owned(canary)
    }
}

impl Default for Limits {
    /// Those of an operator that is not told otherwise.
    fn default() -> Self {
        Self {
            interval_floor: Duration::from_secs(10),
            provider: String::new(),
            references: References::default(),
        }
    }
}

/// A Canary that can be carried out.
#[derive(Clone, Debug)]
pub struct Validated {
    /// Its name.
    pub name: String,
    /// The kind of its workloads.
    pub kind: Kind,
    /// The two workloads.
    pub names: Names,
    /// What the machine needs to know.
    pub strategy: Strategy,
    /// The Services and routes.
    pub route: RoutePlan,
    /// Percentages of updated pods that must be ready.
    pub thresholds: Thresholds,
    /// The target's autoscaler, by name.
    pub autoscaler: Option<Autoscaler>,
    /// The hooks, by kind and name as the machine knows them.
    pub hooks: Vec<Webhook>,
    /// Who is told of every event.
    pub event_hooks: Vec<Webhook>,
    /// The metrics of each check.
    pub metrics: Vec<Metric>,
    /// How both versions are counted, when they are compared.
    pub counting: Option<Counting>,
    /// Who is alerted; `None` for the operator's own channel.
    pub alerts: Vec<CanaryAlert>,
    /// The metrics server of this Canary, when it names one.
    pub metrics_server: Option<String>,
    /// Fields that are accepted but do nothing yet.
    pub inert: Vec<&'static str>,
}

/// Percentages of updated pods that must be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Of the primary.
    pub primary: u32,
    /// Of the canary.
    pub canary: u32,
}

/// A hook with its address.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The kind, when the machine calls it.
    pub kind: Option<HookKind>,
    /// Unique among those of its kind.
    pub name: String,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What it is told beside the usual.
    pub metadata: std::collections::BTreeMap<String, String>,
    /// Whether people are not alerted when it holds the rollout.
    pub mute_alert: bool,
}

impl Webhook {
    /// Whether the spec calls it by this name, of which it may have several.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        rest.is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix('#')
                    .is_some_and(|more| more.parse::<usize>().is_ok())
        })
    }
}

/// A metric and its limits.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// The window, as the query writes it.
    pub window: String,
    /// The limits.
    pub range: Range,
    /// The query.
    pub source: Source,
    /// Values for the query.
    pub variables: std::collections::BTreeMap<String, String>,
}

/// Where a query comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One of the built-in queries, by the metric's name.
    Builtin,
    /// Written in the Canary.
    Inline(String),
    /// A MetricTemplate.
    Template {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// Reads a Canary.
pub fn validate(canary: &Canary, limits: &Limits) -> Result<Validated, Error> {
    let canary = &limits.complete(canary);
    let spec = &canary.spec;
    let namespace = canary.namespace().unwrap_or_default();
    let target = &spec.target_ref;
    let kind = kind(target)?;
    let route = RoutePlan::new(canary)?;
    if kind == Kind::Service {
        refuse_other_apex(target, &route)?;
        refuse_comparison(canary)?;
    }
    let inert = inert(canary, kind, &route);
    let metrics = checks::metrics(&spec.analysis, &namespace, limits.references)?;
    for alert in &spec.analysis.alerts {
        const FIELD: &str = "spec.analysis.alerts.providerRef";
        let reference = &alert.provider_ref;
        limits.references.admit(FIELD, reference, &namespace)?;
    }
    let (hooks, event_hooks) = checks::webhooks(&spec.analysis.webhooks, &namespace)?;
    let strategy = strategy::strategy(spec, kind, limits, &route, &hooks, &metrics)?;
    Ok(Validated {
        name: canary.name_any(),
        kind,
        names: Names::new(&namespace, &target.name),
        strategy,
        route,
        thresholds: strategy::thresholds(&spec.analysis)?,
        autoscaler: scaler(canary, kind)?,
        hooks,
        event_hooks,
        metrics,
        counting: judgement::counting(&spec.analysis)?,
        alerts: spec.analysis.alerts.clone(),
        metrics_server: spec.metrics_server.clone(),
        inert,
    })
}

fn kind(target: &TargetReference) -> Result<Kind, Error> {
    let found = Kind::ALL.into_iter().find(|kind| {
        target.api_version == kind.resource().api_version && target.kind == kind.as_str()
    });
    found.ok_or_else(|| Error::Unsupported {
        field: "spec.targetRef",
        value: format!("{} of {}", target.kind, target.api_version),
        instead: "a Deployment, DaemonSet or StatefulSet of apps/v1, or a Service of v1",
    })
}

/// A Service as target is what clients call: its copies are named after it, and the routes are to
/// it.
fn refuse_other_apex(target: &TargetReference, route: &RoutePlan) -> Result<(), Error> {
    if route.apex == target.name {
        return Ok(());
    }
    Err(Error::Field {
        field: "spec.service.name",
        fix: format!(
            "must be left out, or be `{}`: a Service as target is the one that clients call",
            target.name
        ),
    })
}

/// Versions are compared by their pods, which have to be known apart by one label.
fn refuse_comparison(canary: &Canary) -> Result<(), Error> {
    let fix = || Error::Field {
        field: "spec.analysis.judgement",
        fix: "must be left out: the pods behind a Service are not known apart; use metrics, or \
              the workload behind it as target"
            .to_owned(),
    };
    let judgement = canary.spec.analysis.judgement.as_ref();
    judgement.map_or(Ok(()), |_| Err(fix()))
}

fn scaler(canary: &Canary, kind: Kind) -> Result<Option<Autoscaler>, Error> {
    let Some(reference) = &canary.spec.autoscaler_ref else {
        return Ok(None);
    };
    if let Some(why) = kind.fixed_size() {
        return Err(Error::Field {
            field: "spec.autoscalerRef",
            fix: format!("must be left out: {why}"),
        });
    }
    let kinds = autoscaler::Kind::ALL;
    let known = kinds.into_iter().find(|one| one.as_str() == reference.kind);
    let kind = known.ok_or_else(|| Error::Unsupported {
        field: "spec.autoscalerRef.kind",
        value: reference.kind.clone(),
        instead: "HorizontalPodAutoscaler or ScaledObject",
    })?;
    Ok(Some(Autoscaler {
        kind,
        name: reference.name.clone(),
        limits: reference.primary_scaler_replicas.unwrap_or_default(),
        queries: reference.primary_scaler_queries.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::router::Provider;

    fn canary(provider: Option<&str>) -> Canary {
        serde_json::from_value(json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": { "name": "podinfo", "namespace": "shop", "uid": "1" },
            "spec": {
                "provider": provider,
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
                "service": { "port": 80 },
                "analysis": { "stepWeight": 10, "metrics": [{
                    "name": "errors",
                    "templateRef": { "name": "errors", "namespace": "monitoring" },
                }] },
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_canary_that_names_no_provider_has_the_operators() {
        let limits = |provider: &str| Limits {
            provider: provider.to_owned(),
            ..Limits::default()
        };
        let provider = |canary: &Canary, limits: &Limits| {
            let plan = validate(canary, limits).map_err(|error| error.to_string());
            plan.map(|plan| plan.route.provider)
        };
        let plain = canary(None);
        assert_eq!(provider(&plain, &limits("")), Ok(Provider::Istio));
        let kubernetes = limits("kubernetes");
        assert_eq!(provider(&plain, &kubernetes), Ok(Provider::Kubernetes));
        let named = canary(Some("istio"));
        assert_eq!(provider(&named, &kubernetes), Ok(Provider::Istio));
        let error = provider(&plain, &limits("nginx")).unwrap_err();
        assert!(
            error.contains("`spec.provider`: `nginx` is not supported"),
            "{error}"
        );
    }

    #[test]
    fn a_reference_to_another_namespace_is_refused_where_the_operator_says_so() {
        let limits = Limits {
            references: References::OwnNamespace,
            ..Limits::default()
        };
        let error = validate(&canary(None), &limits).unwrap_err().to_string();
        assert!(error.contains("must be in namespace `shop`"), "{error}");
        assert!(error.contains("--no-cross-namespace-refs"), "{error}");
        let mut own = canary(None);
        let template = own.spec.analysis.metrics[0].template_ref.as_mut().unwrap();
        template.namespace = Some("shop".to_owned());
        validate(&own, &limits).unwrap();
    }

    fn of_service(change: impl FnOnce(&mut serde_json::Value)) -> Result<Validated, String> {
        let mut canary = json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": { "name": "web", "namespace": "shop", "uid": "1" },
            "spec": {
                "targetRef": { "apiVersion": "v1", "kind": "Service", "name": "web" },
                "service": { "port": 80 },
                "analysis": { "stepWeight": 10 },
            },
        });
        change(&mut canary["spec"]);
        let canary = serde_json::from_value(canary).unwrap();
        validate(&canary, &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_service_is_released_by_name_and_has_no_size() {
        let plan = of_service(|_| {}).unwrap();
        assert_eq!((plan.kind, plan.strategy.sized), (Kind::Service, false));
        assert!(plan.inert.is_empty(), "{:?}", plan.inert);
        assert_eq!(plan.route.canary, "web-canary");
        of_service(|spec| spec["service"]["name"] = json!("web")).unwrap();
    }

    #[test]
    fn what_a_service_cannot_have_is_refused_with_the_fix() {
        let refused = |change: fn(&mut serde_json::Value), field: &str| {
            let error = of_service(change).unwrap_err();
            assert!(
                error.contains(field) && error.contains("must be"),
                "{error}"
            );
        };
        refused(
            |spec| spec["service"]["name"] = json!("shop"),
            "spec.service.name",
        );
        refused(
            |spec| {
                spec["autoscalerRef"] = json!({
                    "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "web",
                });
            },
            "spec.autoscalerRef",
        );
        refused(
            |spec| {
                spec["analysis"]["judgement"] =
                    json!({ "metrics": [{ "name": "request-success-rate" }] });
            },
            "spec.analysis.judgement",
        );
        refused(
            |spec| spec["analysis"] = json!({ "steps": [{ "weight": 10, "scale": 1 }] }),
            "spec.analysis.steps.scale",
        );
        let of_knative = |spec: &mut serde_json::Value| {
            spec["targetRef"]["apiVersion"] = json!("serving.knative.dev/v1");
        };
        let error = of_service(of_knative).unwrap_err();
        assert!(
            error.contains("Service of serving.knative.dev/v1"),
            "{error}"
        );
    }

    #[test]
    fn what_copies_take_from_the_service_itself_is_told_to_be_without_effect() {
        let plan = of_service(|spec| {
            spec["service"]["targetPort"] = json!(9898);
            spec["service"]["portDiscovery"] = json!(true);
            spec["analysis"]["canaryReadyThreshold"] = json!(50);
        });
        let told = plan.unwrap().inert;
        assert_eq!(
            told,
            [
                "spec.service.targetPort",
                "spec.service.portDiscovery",
                "spec.analysis.canaryReadyThreshold",
            ]
        );
    }
}
