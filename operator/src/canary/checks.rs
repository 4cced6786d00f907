//! The metrics and webhooks of a Canary. Pure.

use std::time::Duration;

use fairlead_crds::canary::{CanaryAnalysis, CanaryMetric, CanaryWebhook, Number, WebhookType};
use fairlead_rollout::HookKind;

use super::strategy::{duration, whole};
use super::validate::{Error, Metric, References, Source, Webhook};
use crate::analysis::Range;
use crate::analysis::webhook::{Answers, Endpoint, SecretPlace};

/// The window of a metric that names none.
const DEFAULT_WINDOW: &str = "1m";
/// How long a webhook may take, unless the spec says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The metrics of each check.
pub(super) fn metrics(
    analysis: &CanaryAnalysis,
    namespace: &str,
    references: References,
) -> Result<Vec<Metric>, Error> {
    let mut metrics = Vec::new();
    for metric in &analysis.metrics {
        let window = duration("spec.analysis.metrics.interval", metric.interval.as_deref())?
            .and_then(|_valid| metric.interval.clone())
            .unwrap_or_else(|| DEFAULT_WINDOW.to_owned());
        let range = range(metric)?;
        let each = |source| Metric {
            name: metric.name.clone(),
            window: window.clone(),
            range,
            source,
            variables: metric.template_variables.clone(),
        };
        let is_builtin = matches!(
            metric.name.as_str(),
            crate::analysis::builtin::SUCCESS_RATE | crate::analysis::builtin::DURATION
        );
        if metric.template_ref.is_none() && metric.query.is_none() && !is_builtin {
            return Err(Error::Field {
                field: "spec.analysis.metrics",
                fix: format!(
                    "`{}` is not built in (request-success-rate and request-duration are); \
                     give it a templateRef or a query",
                    metric.name
                ),
            });
        }
        if let Some(template) = &metric.template_ref {
            const FIELD: &str = "spec.analysis.metrics.templateRef";
            references.admit(FIELD, template, namespace)?;
            let namespace = template
                .namespace
                .clone()
                .unwrap_or_else(|| namespace.to_owned());
            metrics.push(each(Source::Template {
                namespace,
                name: template.name.clone(),
            }));
        }
        // A metric may have both; then both are asked.
        if let Some(query) = metric.query.clone().filter(|query| !query.is_empty()) {
            metrics.push(each(Source::Inline(query)));
        } else if metric.template_ref.is_none() {
            metrics.push(each(Source::Builtin));
        }
    }
    Ok(metrics)
}

/// The deprecated `threshold` is a minimum for the success rate and a maximum for all else.
fn range(metric: &CanaryMetric) -> Result<Range, Error> {
    if let Some(range) = metric.threshold_range {
        if let (Some(min), Some(max)) = (range.min, range.max)
            && min.as_f64() > max.as_f64()
        {
            return Err(Error::Field {
                field: "spec.analysis.metrics.thresholdRange",
                fix: format!(
                    "min must not be above max, but `{}` has {min} to {max}, which no value is in",
                    metric.name
                ),
            });
        }
        return Ok(Range {
            min: range.min.map(Number::as_f64),
            max: range.max.map(Number::as_f64),
        });
    }
    let limit = metric.threshold.map(Number::as_f64);
    Ok(if metric.name == crate::analysis::builtin::SUCCESS_RATE {
        Range {
            min: limit,
            max: None,
        }
    } else {
        Range {
            min: None,
            max: limit,
        }
    })
}

/// The hooks of the machine, and those of events.
pub(super) fn webhooks(
    all: &[CanaryWebhook],
    namespace: &str,
) -> Result<(Vec<Webhook>, Vec<Webhook>), Error> {
    let mut hooks: Vec<Webhook> = Vec::new();
    let mut events = Vec::new();
    for webhook in all {
        let kind = kind(webhook.r#type.unwrap_or_default());
        let same = hooks
            .iter()
            .filter(|hook| hook.kind == kind && hook.name.split('#').next() == Some(&webhook.name))
            .count();
        let name = match same {
            0 => webhook.name.clone(),
            more => format!("{}#{}", webhook.name, more + 1),
        };
        let timeout = duration("spec.analysis.webhooks.timeout", webhook.timeout.as_deref())?;
        let retries = whole("spec.analysis.webhooks.retries", webhook.retries)?.unwrap_or(0);
        let hook = Webhook {
            kind,
            name,
            endpoint: Endpoint {
                url: webhook.url.clone(),
                timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
                retries: u32::try_from(retries.max(0)).unwrap_or(u32::MAX),
                insecure: webhook.disable_tls.unwrap_or(false),
                secret: webhook.secret_ref.as_ref().map(|secret| SecretPlace {
                    namespace: namespace.to_owned(),
                    name: secret.name.clone(),
                }),
                answers: answers(webhook, kind)?,
            },
            metadata: webhook.metadata.clone(),
            mute_alert: webhook.mute_alert.unwrap_or(false),
        };
        if kind.is_some() {
            hooks.push(hook);
        } else {
            events.push(hook);
        }
    }
    Ok((hooks, events))
}

/// Only who is waited for can put its answer off, and only while there is something to give up.
fn answers(webhook: &CanaryWebhook, kind: Option<HookKind>) -> Result<Answers, Error> {
    if !webhook.obey_answer.unwrap_or(false) {
        return Ok(Answers::Agree);
    }
    match kind {
        Some(
            HookKind::ConfirmRollout
            | HookKind::PreRollout
            | HookKind::Rollout
            | HookKind::ConfirmTrafficIncrease
            | HookKind::ConfirmPromotion,
        ) => Ok(Answers::Direct),
        Some(HookKind::PostRollout | HookKind::Rollback) | None => Err(Error::Field {
            field: "spec.analysis.webhooks.obeyAnswer",
            fix: format!(
                "must be left out of `{}`: hooks of the types event, post-rollout and rollback \
                 have nothing to give up or to put off",
                webhook.name
            ),
        }),
    }
}

const fn kind(kind: WebhookType) -> Option<HookKind> {
    Some(match kind {
        WebhookType::ConfirmRollout => HookKind::ConfirmRollout,
        WebhookType::PreRollout => HookKind::PreRollout,
        WebhookType::Rollout => HookKind::Rollout,
        WebhookType::ConfirmTrafficIncrease => HookKind::ConfirmTrafficIncrease,
        WebhookType::ConfirmPromotion => HookKind::ConfirmPromotion,
        WebhookType::PostRollout => HookKind::PostRollout,
        WebhookType::Rollback => HookKind::Rollback,
        WebhookType::Event => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_no_value_is_in_is_refused() {
        let read = |min: f64, max: f64| {
            let analysis = serde_json::json!({ "metrics": [{
                "name": "request-success-rate", "thresholdRange": { "min": min, "max": max },
            }] });
            let analysis = serde_json::from_value(analysis).unwrap();
            let read = metrics(&analysis, "shop", References::Anywhere);
            read.map_err(|error| error.to_string())
        };
        let error = read(99.0, 1.0).unwrap_err();
        assert_eq!(
            error,
            "`spec.analysis.metrics.thresholdRange`: min must not be above max, but \
             `request-success-rate` has 99 to 1, which no value is in"
        );
        assert_eq!(read(1.0, 1.0).map(|all| all.len()), Ok(1));
    }

    #[test]
    fn only_hooks_that_are_waited_for_can_be_obeyed() {
        for (kind, is_fine) in [
            (WebhookType::ConfirmRollout, true),
            (WebhookType::Rollout, true),
            (WebhookType::ConfirmPromotion, true),
            (WebhookType::PostRollout, false),
            (WebhookType::Rollback, false),
            (WebhookType::Event, false),
        ] {
            let webhook = CanaryWebhook {
                name: "gate".to_owned(),
                r#type: Some(kind),
                obey_answer: Some(true),
                ..CanaryWebhook::default()
            };
            let read = webhooks(&[webhook], "shop");
            assert_eq!(read.is_ok(), is_fine, "{kind:?}");
        }
    }
}
