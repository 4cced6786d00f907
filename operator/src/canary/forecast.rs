//! What the operator would do with a Canary, told without doing it: by the same reading and the
//! same machine, with nothing written. Reads only.

use fairlead_crds::canary::Canary;
use fairlead_rollout::{Decision, Phase, State, Subject, step};
use fairlead_runtime::report;
use jiff::Timestamp;
use kube::Client;

use super::cluster::Cluster;
use super::question::question;
use super::status;
use super::takeover::Incumbent;
use super::validate::{Limits, Validated, validate};
use crate::notify;

pub use super::inert::instead;
pub use super::rival::rival;

/// What becomes of a Canary that Flagger runs, once Flagger has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Nothing was left to take over: its primary is made from the target.
    Begins,
    /// It is ours already.
    Ours,
    /// The primary runs what the target asks for, and becomes the baseline.
    Baseline,
    /// The target's revision failed under Flagger, and stays refused.
    Refused,
    /// `spec.suspend` holds it.
    Suspended,
    /// Nothing moves until a person decides, and why.
    Waits(String),
    /// It cannot be carried out, and the fix.
    Stalled(String),
    /// It could not be looked at, and why.
    Unknown(String),
}

/// What would become of a Canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Its takeover.
    pub takeover: Takeover,
    /// The fields that it sets in vain.
    pub inert: Vec<&'static str>,
    /// Why its checks and alerts would not work.
    pub troubles: Vec<String>,
}

/// Looks at Canaries as the operator does.
#[derive(Clone)]
pub struct Forecaster {
    cluster: Cluster,
    metrics_server: Option<String>,
}

impl std::fmt::Debug for Forecaster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forecaster").finish_non_exhaustive()
    }
}

impl Forecaster {
    /// Uses `client`, and supposes the operator's `metrics_server`.
    pub fn new(client: &Client, metrics_server: Option<String>) -> Self {
        Self {
            cluster: Cluster::new(client.clone()),
            metrics_server,
        }
    }

    /// Tells what becomes of `canary`.
    pub async fn forecast(&self, canary: &Canary, limits: &Limits, now: Timestamp) -> Forecast {
        match validate(canary, limits) {
            Ok(plan) => Forecast {
                takeover: Box::pin(self.takeover(canary, &plan, now)).await,
                troubles: self.troubles(&plan).await,
                inert: plan.inert,
            },
            Err(error) => Forecast {
                takeover: Takeover::Stalled(error.to_string()),
                inert: Vec::new(),
                troubles: Vec::new(),
            },
        }
    }

    async fn takeover(&self, canary: &Canary, plan: &Validated, now: Timestamp) -> Takeover {
        let before = status::load(&canary.status.clone().unwrap_or_default());
        if plan.strategy.suspended {
            return Takeover::Suspended;
        }
        let observer = self.cluster.observer(plan, None, Incumbent::Ignored);
        let seen = match Box::pin(observer.world(&before)).await {
            Ok(world) => world.observation,
            Err(error) => return Takeover::Unknown(report(&error).to_string()),
        };
        if let Some(why) = &seen.invalid {
            return Takeover::Stalled(why.clone());
        }
        let decision = step(&plan.strategy, &before, &seen, now);
        match (&before.phase, &seen.revision) {
            (None, Err(why)) => Takeover::Waits(why.clone()),
            _ => judge(&before, &decision),
        }
    }

    /// Why checks and alerts would not work.
    async fn troubles(&self, plan: &Validated) -> Vec<String> {
        let mut troubles = Vec::new();
        for metric in &plan.metrics {
            let server = self.metrics_server.as_ref();
            if let Err(why) = question(
                Some(&self.cluster.client),
                plan,
                Subject::Canary,
                metric,
                server,
            )
            .await
            {
                troubles.push(format!("metric {}: {why}", metric.name));
            }
        }
        let providers = notify::Providers {
            client: self.cluster.client.clone(),
            username: String::new(),
        };
        for alert in &plan.alerts {
            let reference = &alert.provider_ref;
            let namespace = reference.namespace.as_ref();
            let namespace = namespace.unwrap_or(&plan.names.namespace);
            if let Err(why) = notify::fetch(&providers, namespace, &reference.name).await {
                troubles.push(format!("alert {}: {why}", alert.name));
            }
        }
        troubles
    }
}

/// What a first decision means for what was left. Pure.
fn judge(before: &State, decision: &Decision) -> Takeover {
    if before.promoted.is_some() {
        return Takeover::Ours;
    }
    let after = &decision.state;
    if !before.is_foreign() || after.phase == Some(Phase::Initializing) {
        return Takeover::Begins;
    }
    match (&after.promoted, after.refused.first()) {
        (Some(_), Some(_)) => Takeover::Refused,
        (Some(_), None) => Takeover::Baseline,
        (None, _) => Takeover::Waits(decision.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::{Inheritance, Observation, Revision, Strategy};
    use serde_json::json;

    use super::*;

    fn strategy() -> Strategy {
        let canary = serde_json::from_value(json!({
            "metadata": { "name": "podinfo", "namespace": "shop" },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
                "service": { "port": 80 },
                "analysis": { "stepWeight": 10 },
            },
        }));
        let canary = canary.expect("a Canary");
        validate(&canary, &Limits::default())
            .expect("a plan")
            .strategy
    }

    /// The takeover of what Flagger left in `phase`.
    fn left(phase: Option<Phase>, left: Inheritance) -> Takeover {
        let revision = |name: &str| Revision(name.to_owned());
        let mut seen = Observation::at_rest(revision("one"), revision("two"));
        // Flagger has written no revision of ours.
        if let Some(primary) = &mut seen.primary {
            primary.revision = None;
        }
        seen.inheritance = Some(left);
        let before = State {
            phase,
            ..State::default()
        };
        let decision = step(&strategy(), &before, &seen, Timestamp::UNIX_EPOCH);
        judge(&before, &decision)
    }

    #[test]
    fn what_the_machine_does_with_what_was_left_is_what_is_foretold() {
        let (rests, failed) = (Some(Phase::Succeeded), Some(Phase::Failed));
        assert_eq!(left(rests, Inheritance::Same), Takeover::Baseline);
        assert_eq!(left(failed, Inheritance::Same), Takeover::Baseline);
        assert_eq!(left(failed, Inheritance::Different), Takeover::Refused);
        assert_eq!(left(None, Inheritance::Different), Takeover::Begins);
        for (phase, found) in [
            (rests, Inheritance::Different),
            (Some(Phase::Progressing), Inheritance::Same),
            (rests, Inheritance::Unclear("why".to_owned())),
        ] {
            let takeover = left(phase, found);
            assert!(matches!(takeover, Takeover::Waits(_)), "{takeover:?}");
        }
    }
}
