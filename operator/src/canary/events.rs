//! Tells people: events on the object, alerts to chat services, event webhooks.
//!
//! None of it can hold a rollout up or fail it.

use std::collections::BTreeMap;
use std::convert::Infallible;

use fairlead_controller::events::{self, Recorder};
use fairlead_crds::canary::{AlertProvider, AlertSeverity, Canary, CanaryAlert};
use fairlead_rollout::{Event, Plan, Severity, State};
use fairlead_runtime::tasks::Tasks;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};

use super::measure::text;
use super::validate::Validated;
use crate::analysis::webhook::{Payload, Webhooks};
use crate::args::Alerts;
use crate::notify::{Alert, Destination, Notifier};

/// The channel and the name of a provider that names none; Flagger's.
const DEFAULT_CHANNEL: &str = "general";

/// A reason of the machine, as Kubernetes wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reason(pub(super) fairlead_rollout::Reason);

impl events::Reason for Reason {
    fn as_str(self) -> &'static str {
        self.0.as_str()
    }

    fn action(self) -> &'static str {
        "Reconcile"
    }

    fn is_warning(self) -> bool {
        self.0.is_warning()
    }
}

/// A trouble outside of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The spec cannot be carried out.
    Invalid,
    /// Another Canary has the target.
    TargetTaken,
    /// The cluster cannot be read or written.
    Failed,
    /// Someone else insists on a field that the Canary owns.
    FieldFought,
    /// An alert has no way to go.
    AlertLost,
}

impl Trouble {
    /// The reason of a spec that cannot be carried out.
    pub(super) const INVALID: &'static str = "InvalidSpec";
}

impl events::Reason for Trouble {
    fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => Self::INVALID,
            Self::TargetTaken => "TargetTaken",
            Self::Failed => "ReconcileFailed",
            Self::FieldFought => "FieldFought",
            Self::AlertLost => "AlertNotSent",
        }
    }

    fn action(self) -> &'static str {
        "Reconcile"
    }

    fn is_warning(self) -> bool {
        true
    }
}

/// Tells people what happened.
#[derive(Clone)]
pub(super) struct Teller {
    /// Writes events.
    pub(super) recorder: Recorder,
    /// Takes alerts.
    pub(super) notifier: Notifier,
    /// Calls event webhooks.
    pub(super) webhooks: Webhooks,
    /// Reads AlertProviders.
    pub(super) client: Client,
    /// The operator's own channel.
    pub(super) global: Alerts,
    /// Runs calls that nobody waits for.
    pub(super) tasks: Tasks,
}

impl Teller {
    /// Tells all events of a decision.
    pub(super) async fn tell(
        &self,
        canary: &Canary,
        plan: &Validated,
        state: &State,
        events: &[Event],
    ) {
        for event in events {
            tracing::info!(
                object.kind = "Canary",
                object.namespace = canary.namespace(),
                object.name = canary.name_any(),
                phase = state.phase.map(fairlead_rollout::Phase::as_str),
                reason = event.reason.as_str(),
                "{}",
                event.note
            );
            self.recorder
                .publish(canary, Reason(event.reason), event.note.clone())
                .await;
            self.call_event_hooks(plan, state, event);
            if let Some(severity) = event.alert
                && !is_muted(plan, event)
            {
                self.alert(canary, plan, severity, event).await;
            }
        }
    }

    /// Tells of a trouble outside of the machine.
    pub(super) async fn warn(&self, canary: &Canary, trouble: Trouble, note: String) {
        self.recorder.publish(canary, trouble, note).await;
    }

    fn call_event_hooks(&self, plan: &Validated, state: &State, event: &Event) {
        let kind = if event.reason.is_warning() {
            "Warning"
        } else {
            "Normal"
        };
        let mut payload = payload(
            plan,
            state,
            state.phase.map_or("", fairlead_rollout::Phase::as_str),
        );
        let global = self
            .global
            .event_webhook
            .clone()
            .filter(|_| plan.event_hooks.is_empty());
        let global = global.map(|url| crate::analysis::webhook::Endpoint {
            url,
            timeout: std::time::Duration::from_secs(10),
            retries: 0,
            insecure: false,
        });
        let own = plan
            .event_hooks
            .iter()
            .map(|hook| (hook.endpoint.clone(), hook.metadata.clone()));
        for (endpoint, metadata) in own.chain(global.map(|endpoint| (endpoint, BTreeMap::new()))) {
            payload.metadata = metadata;
            payload.metadata.extend([
                ("eventMessage".to_owned(), event.note.clone()),
                ("eventType".to_owned(), kind.to_owned()),
                (
                    "timestamp".to_owned(),
                    fairlead_runtime::clock::now().as_millisecond().to_string(),
                ),
            ]);
            let (webhooks, payload) = (self.webhooks.clone(), payload.clone());
            let name = plan.name.clone();
            self.tasks.spawn_job("event webhook", async move {
                let verdict = webhooks.call(&endpoint, &payload, "").await;
                if let Some(why) = verdict.objection() {
                    tracing::warn!(object.name = name, reason = why, "an event webhook failed");
                }
                Ok::<_, Infallible>(())
            });
        }
    }

    async fn alert(&self, canary: &Canary, plan: &Validated, severity: Severity, event: &Event) {
        let alert = Alert {
            name: plan.name.clone(),
            namespace: plan.names.namespace.clone(),
            severity,
            text: event.note.clone(),
            fields: self.fields(plan, event),
        };
        if plan.alerts.is_empty() {
            if let Some(destination) = self.global_destination() {
                self.notifier.send(alert, destination);
            }
            return;
        }
        for asked in plan.alerts.iter().filter(|asked| wants(asked, severity)) {
            match self.destination(&plan.names.namespace, asked).await {
                Ok(destination) => self.notifier.send(alert.clone(), destination),
                Err(why) => {
                    let note = format!("alert {} cannot be sent: {why}", asked.name);
                    self.warn(canary, Trouble::AlertLost, note).await;
                }
            }
        }
    }

    fn fields(&self, plan: &Validated, event: &Event) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        if let Some(cluster) = &self.global.cluster_name {
            fields.push(("Cluster".to_owned(), cluster.clone()));
        }
        if event.reason == fairlead_rollout::Reason::NewRevision {
            let names = &plan.names;
            let strategy = &plan.strategy;
            fields.extend([
                (
                    "Target".to_owned(),
                    format!("Deployment/{}.{}", names.target, names.namespace),
                ),
                (
                    "Failed checks threshold".to_owned(),
                    strategy.threshold.to_string(),
                ),
                (
                    "Progress deadline".to_owned(),
                    format!("{}s", strategy.progress_deadline.as_secs()),
                ),
                (
                    "Traffic routing".to_owned(),
                    describe(&strategy.plan).to_owned(),
                ),
            ]);
        }
        fields
    }

    fn global_destination(&self) -> Option<Destination> {
        Some(Destination {
            address: self.global.slack_url.clone()?,
            token: self.global.slack_token.clone(),
            channel: self.global.slack_channel.clone(),
            username: self.global.slack_user.clone(),
            proxy: self.global.slack_proxy_url.clone(),
        })
    }

    /// The texts here name objects, never what they hold.
    async fn destination(
        &self,
        namespace: &str,
        asked: &CanaryAlert,
    ) -> Result<Destination, String> {
        let reference = &asked.provider_ref;
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        let provider = format!("AlertProvider `{namespace}/{}`", reference.name);
        let api: Api<AlertProvider> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(&reference.name).await;
        let found = found
            .map_err(|error| format!("{provider} cannot be read: {error}"))?
            .ok_or_else(|| format!("{provider} does not exist"))?
            .spec;
        let (mut address, mut token) = (found.address.clone(), None);
        if let Some(secret) = &found.secret_ref {
            let name = format!("Secret `{namespace}/{}`", secret.name);
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let secret = api.get_opt(&secret.name).await;
            let data = secret
                .map_err(|error| format!("{name} cannot be read: {error}"))?
                .ok_or_else(|| format!("{name} does not exist"))?
                .data
                .unwrap_or_default();
            address = text(&data, "address").map(|address| address.trim().to_owned());
            token = text(&data, "token");
        }
        let mut address = address
            .filter(|address| !address.is_empty())
            .ok_or_else(|| format!("{provider} has no address"))?;
        match found.r#type.as_deref() {
            Some("slack" | "rocket") => {}
            Some("discord") if address.ends_with("/slack") => {}
            Some("discord") => address.push_str("/slack"),
            Some(other) => {
                return Err(format!(
                    "{provider} is of type {other}, which is not supported yet"
                ));
            }
            None => return Err(format!("{provider} has no type")),
        }
        Ok(Destination {
            address,
            token,
            channel: found.channel.unwrap_or_else(|| DEFAULT_CHANNEL.to_owned()),
            username: found
                .username
                .unwrap_or_else(|| self.global.slack_user.clone()),
            proxy: found.proxy,
        })
    }
}

/// What every webhook is told.
pub(super) fn payload(plan: &Validated, state: &State, phase: &str) -> Payload {
    let revision = state.run.as_ref().map(|run| run.revision.0.clone());
    Payload {
        name: plan.name.clone(),
        namespace: plan.names.namespace.clone(),
        phase: phase.to_owned(),
        checksum: revision.unwrap_or_default(),
        metadata: BTreeMap::new(),
    }
}

fn wants(asked: &CanaryAlert, severity: Severity) -> bool {
    match asked.severity.unwrap_or_default() {
        AlertSeverity::Info => true,
        AlertSeverity::Warn => severity >= Severity::Warn,
        AlertSeverity::Error => severity >= Severity::Error,
    }
}

/// Whether the gate that holds the rollout asks for silence.
fn is_muted(plan: &Validated, event: &Event) -> bool {
    use fairlead_rollout::{HookKind, Reason};
    let kind = match event.reason {
        Reason::RolloutHeld => HookKind::ConfirmRollout,
        Reason::IncreaseHeld => HookKind::ConfirmTrafficIncrease,
        Reason::PromotionHeld => HookKind::ConfirmPromotion,
        _ => return false,
    };
    plan.hooks
        .iter()
        .any(|hook| hook.kind == Some(kind) && hook.mute_alert)
}

const fn describe(plan: &Plan) -> &'static str {
    match plan {
        Plan::Weighted { .. } => "Weighted",
        Plan::Iterations { matched: true, .. } => "A/B Testing",
        Plan::Iterations { matched: false, .. } => "Blue/Green",
    }
}
