//! Tells people: events on the object, alerts to chat services, event webhooks.
//!
//! None of it can hold a rollout up or fail it.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_controller::events::{self, Recorder};
use fairlead_crds::canary::{AlertSeverity, Canary, CanaryAlert};
use fairlead_rollout::{Event, Plan, Severity, State, Verdict};
use fairlead_runtime::clock;
use jiff::Timestamp;
use kube::ResourceExt;

use super::validate::{Validated, Webhook};
use crate::analysis::webhook::{Answers, Endpoint, Payload, Webhooks};
use crate::args::Alerts;
use crate::notify::{self, Alert, Destination, Kind, Loss, Providers, Queue};
use crate::outgoing::Outgoing;

/// How long the operator's own event webhook may take; Flagger's figure.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// An alert or an event webhook did not arrive.
    MessageLost,
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
            Self::MessageLost => "MessageLost",
        }
    }

    fn action(self) -> &'static str {
        "Reconcile"
    }

    fn is_warning(self) -> bool {
        true
    }
}

/// What tells one thing that people are told of from all others.
struct Occasion {
    uid: String,
    /// Run and step.
    run: (u64, u32),
    reason: &'static str,
    at: Timestamp,
}

impl Occasion {
    /// The idempotency key of a call about it.
    fn key(&self, call: &str) -> String {
        let Self {
            uid,
            run: (run, step),
            reason,
            at,
        } = self;
        format!("{uid}/{run}/{step}/{call}/{reason}/{}", at.as_millisecond())
    }
}

/// Tells people what happened.
#[derive(Clone)]
pub(super) struct Teller {
    /// Writes events.
    pub(super) recorder: Recorder,
    /// Takes calls that nobody waits for.
    pub(super) queue: Queue,
    /// What became of them.
    pub(super) metrics: notify::Metrics,
    /// Calls chat services.
    pub(super) outgoing: Outgoing,
    /// Calls webhooks.
    pub(super) webhooks: Webhooks,
    /// Reads AlertProviders.
    pub(super) providers: Providers,
    /// The operator's own channel.
    pub(super) global: Alerts,
}

/// Tells what became of one message.
#[derive(Clone)]
struct Told {
    recorder: Recorder,
    metrics: notify::Metrics,
    canary: Canary,
    receiver: String,
}

impl Told {
    fn new(teller: &Teller, canary: &Canary, receiver: &str) -> Self {
        // An event needs to know whom it is about, and no more.
        let mut about = Canary::new(&canary.name_any(), Default::default());
        about.metadata.namespace = canary.namespace();
        about.metadata.uid = canary.uid();
        Self {
            recorder: teller.recorder.clone(),
            metrics: teller.metrics.clone(),
            canary: about,
            receiver: receiver.to_owned(),
        }
    }

    /// Counts it, and says so on the Canary when it is lost.
    async fn note(&self, outcome: Result<(), Loss>) {
        self.metrics.note(&outcome);
        let Err(loss) = outcome else { return };
        let note = format!("a message to {} is lost: {loss}", self.receiver);
        tracing::warn!(
            object.name = self.canary.name_any(),
            object.namespace = self.canary.namespace(),
            "{note}"
        );
        self.recorder
            .publish(&self.canary, Trouble::MessageLost, note)
            .await;
    }
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
            let at = clock::now();
            let occasion = Occasion {
                uid: canary.uid().unwrap_or_default(),
                run: state.run.as_ref().map_or((0, 0), |run| (run.id, run.step)),
                reason: event.reason.as_str(),
                at,
            };
            self.call_event_hooks(canary, plan, state, event, &occasion)
                .await;
            if let Some(severity) = event.alert
                && !is_muted(plan, event)
            {
                let alert = Alert {
                    name: plan.name.clone(),
                    namespace: plan.names.namespace.clone(),
                    phase: state.phase.map_or("", fairlead_rollout::Phase::as_str),
                    reason: event.reason.as_str(),
                    severity,
                    at,
                    key: occasion.key("alert"),
                    text: event.note.clone(),
                    fields: self.fields(plan, event),
                };
                self.alert(canary, plan, alert).await;
            }
        }
    }

    /// Tells of a trouble outside of the machine.
    pub(super) async fn warn(&self, canary: &Canary, trouble: Trouble, note: String) {
        self.recorder.publish(canary, trouble, note).await;
    }

    /// Queues the calls of event webhooks: nobody waits for their answers.
    async fn call_event_hooks(
        &self,
        canary: &Canary,
        plan: &Validated,
        state: &State,
        event: &Event,
        occasion: &Occasion,
    ) {
        let global = self.global.event_webhook.iter().map(|url| Webhook {
            kind: None,
            name: "the operator's webhook".to_owned(),
            endpoint: Endpoint {
                url: url.clone(),
                timeout: EVENT_TIMEOUT,
                retries: 0,
                insecure: false,
                secret: None,
                answers: Answers::Agree,
            },
            metadata: BTreeMap::new(),
            mute_alert: false,
        });
        let hooks: Vec<Webhook> = if plan.event_hooks.is_empty() {
            global.collect()
        } else {
            plan.event_hooks.clone()
        };
        for hook in hooks {
            let phase = state.phase.map_or("", fairlead_rollout::Phase::as_str);
            let mut payload = payload(plan, state, phase);
            payload.metadata = event_metadata(&hook, event, occasion.at.as_millisecond());
            let key = occasion.key(&format!("event/{}", hook.name));
            let receiver = format!(
                "event webhook `{}` of {}/{}",
                hook.name, plan.names.namespace, plan.name
            );
            let told = Told::new(self, canary, &receiver);
            let webhooks = self.webhooks.clone();
            let call = {
                let told = told.clone();
                async move {
                    let verdict = webhooks.call(&hook.endpoint, &payload, &key).await;
                    let outcome = match verdict {
                        Verdict::Passed => Ok(()),
                        Verdict::Failed(why) | Verdict::Abort(why) | Verdict::Later { why, .. } => {
                            Err(Loss::Refused(why))
                        }
                        Verdict::Error(why) | Verdict::NoData(why) => Err(Loss::Unreachable(why)),
                    };
                    told.note(outcome).await;
                }
            };
            if let Err(full) = self.queue.push(receiver, call) {
                told.note(Err(full.into())).await;
            }
        }
    }

    /// Leaves an alert in the queue for each of its receivers.
    async fn alert(&self, canary: &Canary, plan: &Validated, alert: Alert) {
        if plan.alerts.is_empty() {
            if let Some(destination) = self.global_destination() {
                let found = std::future::ready(Ok(destination));
                self.send(canary, "the operator's channel", &alert, found)
                    .await;
            }
            return;
        }
        let wanted = plan
            .alerts
            .iter()
            .filter(|asked| wants(asked, alert.severity));
        for asked in wanted {
            let reference = asked.provider_ref.clone();
            let namespace = reference
                .namespace
                .unwrap_or_else(|| plan.names.namespace.clone());
            let lane = format!("AlertProvider `{namespace}/{}`", reference.name);
            let providers = self.providers.clone();
            let found = async move { notify::fetch(&providers, &namespace, &reference.name).await };
            self.send(canary, &lane, &alert, found).await;
        }
    }

    /// Queues one delivery; `found` is where it goes, looked up when its turn comes.
    async fn send<F>(&self, canary: &Canary, receiver: &str, alert: &Alert, found: F)
    where
        F: Future<Output = Result<Destination, Loss>> + Send + 'static,
    {
        let told = Told::new(self, canary, receiver);
        let (outgoing, alert) = (self.outgoing.clone(), alert.clone());
        let delivery = {
            let told = told.clone();
            async move {
                let outcome = match found.await {
                    Ok(destination) => notify::deliver(&outgoing, &alert, &destination).await,
                    Err(loss) => Err(loss),
                };
                told.note(outcome).await;
            }
        };
        if let Err(full) = self.queue.push(receiver.to_owned(), delivery) {
            told.note(Err(full.into())).await;
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
                    format!(
                        "{}/{}.{}",
                        plan.kind.as_str(),
                        names.target,
                        names.namespace
                    ),
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

    /// The operator's own channel: Slack, else Teams.
    fn global_destination(&self) -> Option<Destination> {
        let global = &self.global;
        if let Some(address) = &global.slack_url {
            return Some(Destination {
                kind: Kind::Slack,
                address: address.clone(),
                token: global.slack_token.clone(),
                hmac_key: None,
                channel: global.slack_channel.clone(),
                username: global.slack_user.clone(),
                proxy: global.slack_proxy_url.clone(),
            });
        }
        Some(Destination {
            kind: Kind::Msteams,
            address: global.msteams_url.clone()?,
            proxy: global.msteams_proxy_url.clone(),
            ..Destination::default()
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

/// What an event webhook is told beside the usual: the hook's own settings never hide the event.
fn event_metadata(hook: &Webhook, event: &Event, millis: i64) -> BTreeMap<String, String> {
    let kind = if event.reason.is_warning() {
        "Warning"
    } else {
        "Normal"
    };
    let mut metadata = hook.metadata.clone();
    metadata.extend([
        ("eventMessage".to_owned(), event.note.clone()),
        ("eventType".to_owned(), kind.to_owned()),
        ("timestamp".to_owned(), millis.to_string()),
    ]);
    metadata
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
        Plan::Staged { .. } => "Steps",
        Plan::Iterations { matched: true, .. } => "A/B Testing",
        Plan::Iterations { matched: false, .. } => "Blue/Green",
    }
}
