//! Says what the machine must know of the cluster.

use std::collections::BTreeMap;

use fairlead_controller::ApiError;
use fairlead_rollout::{
    Answer, Counted, Inheritance, Observation, Phase, Readiness, Request, Revision, Role as Side,
    State,
};
use kube::Client;
use serde_json::Value;

use super::objects::{self, Role};
use super::pods::Ailment;
use super::revision::compose;
use super::sight::{Known, Objects, Pair, Scalers, Sight};
use super::takeover::{self, Incumbent};
use super::validate::Validated;
use crate::router::{self, Provider, Router, Routes, includes};
use crate::workload::configs::Configs;
use crate::workload::{self, Snapshot, Workload};

/// Why the cluster could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server did not give something.
    #[error("failed to read {object}")]
    Read {
        /// What.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// A workload.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// The routes.
    #[error(transparent)]
    Router(#[from] router::Error),
}

/// What was seen, with what is needed to act on it.
pub(super) struct World {
    /// For the machine.
    pub(super) observation: Observation,
    /// The target.
    pub(super) target: Option<Snapshot>,
    /// The primary.
    pub(super) primary: Option<Snapshot>,
    /// The routes.
    pub(super) routes: Routes,
    /// The configs of the target's template.
    pub(super) configs: Option<Configs>,
    /// The apex Service as it is.
    pub(super) apex: Option<Value>,
    /// The target's autoscaler.
    pub(super) autoscaler: Option<Value>,
}

impl World {
    /// The hashes of the tracked configs.
    pub(super) fn hashes(&self) -> BTreeMap<String, String> {
        self.configs
            .as_ref()
            .map(Configs::hashes)
            .unwrap_or_default()
    }
}

/// What came in since the last look, beside what is read now.
#[derive(Default)]
pub(super) struct Heard {
    /// Answers to questions.
    pub(super) answers: Vec<Answer>,
    /// What was counted for the judgement.
    pub(super) counted: Option<Counted>,
    /// What a person wants.
    pub(super) command: Option<Request>,
}

/// Reads what concerns one Canary.
#[derive(Clone, Copy)]
pub(super) struct Observer<'a> {
    /// The cluster.
    pub(super) client: &'a Client,
    /// The kind of its workloads.
    pub(super) workload: &'a dyn Workload,
    /// The kind of its routes.
    pub(super) router: &'a dyn Router,
    /// The Canary.
    pub(super) plan: &'a Validated,
    /// What is wrong with its spec, when the plan is that of an earlier one.
    pub(super) invalid: Option<&'a str>,
    /// Whether a Flagger that still runs matters.
    pub(super) incumbent: Incumbent,
}

impl Observer<'_> {
    /// Reads what is not known, and puts it together.
    pub(super) async fn observe(
        &self,
        heard: Heard,
        deleting: bool,
        state: &State,
        known: Known,
    ) -> Result<(World, Sight), Error> {
        let sight = Box::pin(self.see(known)).await?;
        let ailments = self.ailments(&sight, state).await?;
        let inheritance = self.inheritance(state, &sight).await?;
        let world = self.compose(&sight, heard, deleting, ailments, inheritance);
        Ok((world, sight))
    }

    /// Reads everything once, for whoever has heard nothing.
    pub(super) async fn world(&self, state: &State) -> Result<World, Error> {
        let seen = self.observe(Heard::default(), false, state, Known::default());
        Ok(Box::pin(seen).await?.0)
    }

    fn compose(
        &self,
        sight: &Sight,
        heard: Heard,
        deleting: bool,
        ailments: [Option<Ailment>; 2],
        inheritance: Option<Inheritance>,
    ) -> World {
        let Heard {
            answers,
            counted,
            command,
        } = heard;
        let Pair { target, primary } = &sight.workloads;
        let (routes, endpoints) = (&sight.routes, sight.endpoints);
        let revision = match self.missing_autoscaler(&sight.scalers) {
            Some(why) => Err(why),
            None => revision(sight),
        };
        let [apex, ..] = &sight.objects.services;
        let in_place = |role: Role| self.is_in_place(role, &sight.objects, target.as_ref());
        let leads_to_us = selects_primary(apex.as_ref(), target.as_ref());
        let thresholds = self.plan.thresholds;
        let [of_primary, of_canary] = ailments;
        let canary = target.as_ref().map(|target| {
            let revision = revision.as_ref().ok();
            let mut canary = side(target, endpoints.canary, thresholds.canary, revision);
            match of_canary {
                Some(Ailment::Crash(why)) => canary.readiness = Readiness::Stuck(why),
                Some(Ailment::Obstacle(why)) => explain(&mut canary, &why),
                None => {}
            }
            canary
        });
        let scaler = self.plan.autoscaler.as_ref();
        let scaler = scaler.zip(sight.scalers.target.as_ref());
        let observation = Observation {
            canary,
            primary: primary.as_ref().map(|primary| {
                let revision = primary.revision.as_ref();
                let mut primary = side(primary, endpoints.primary, thresholds.primary, revision);
                if let Some(Ailment::Crash(why) | Ailment::Obstacle(why)) = &of_primary {
                    explain(&mut primary, why);
                }
                primary
            }),
            revision,
            autoscaler_minimum: scaler.map(|(kind, scaler)| kind.minimum(scaler)),
            prepared: in_place(Role::Primary)
                && in_place(Role::Canary)
                && self.scaler_stands(&sight.scalers),
            split: routes.split.filter(|_| leads_to_us),
            routes_current: routes.current && in_place(Role::Apex),
            acked: routes.acked,
            answers,
            counted,
            deleting,
            inheritance,
            invalid: self
                .invalid
                .map(ToOwned::to_owned)
                .or_else(|| routes.conflict.clone()),
            command,
        };
        World {
            observation,
            target: target.clone(),
            primary: primary.clone(),
            routes: routes.clone(),
            configs: sight.configs.clone().and_then(Result::ok),
            apex: apex.clone(),
            autoscaler: sight.scalers.target.clone(),
        }
    }

    /// What to say of an autoscaler that is named and is not there.
    fn missing_autoscaler(&self, scalers: &Scalers) -> Option<String> {
        let (Scalers { target: None, .. }, Some(autoscaler)) = (scalers, &self.plan.autoscaler)
        else {
            return None;
        };
        Some(format!(
            "the autoscaler `{}` does not exist",
            autoscaler.name
        ))
    }

    /// What keeps pods of the primary and of the canary from becoming ready, where that matters.
    async fn ailments(&self, sight: &Sight, state: &State) -> Result<[Option<Ailment>; 2], Error> {
        let (workloads, endpoints) = (&sight.workloads, sight.endpoints);
        let thresholds = self.plan.thresholds;
        let canary = workloads.target.as_ref().filter(|target| {
            let side = side(target, endpoints.canary, thresholds.canary, None);
            is_in_flight(state) && !side.is_ready()
        });
        let primary = workloads
            .primary
            .as_ref()
            .filter(|primary| matches!(primary.readiness, Readiness::Pending(_)));
        Ok([self.ailment(primary).await?, self.ailment(canary).await?])
    }

    async fn ailment(&self, workload: Option<&Snapshot>) -> Result<Option<Ailment>, Error> {
        match workload {
            Some(workload) => self.ailing_pod(workload).await,
            None => Ok(None),
        }
    }

    /// What another controller left, as long as it is not ours.
    async fn inheritance(
        &self,
        state: &State,
        sight: &Sight,
    ) -> Result<Option<Inheritance>, Error> {
        if !state.is_foreign() {
            return Ok(None);
        }
        if self.incumbent == Incumbent::Heeded
            && let Some(objection) = takeover::objection(self.client).await?
        {
            return Ok(Some(objection));
        }
        let (kind, names) = (self.plan.kind, &self.plan.names);
        let target = sight.workloads.target.as_ref();
        let configs = sight.configs.as_ref().and_then(|read| read.as_ref().ok());
        let left = takeover::inheritance(self.client, kind, names, target, configs);
        Ok(Some(left.await?))
    }

    /// Whether the primary's autoscaler is the copy that it should be.
    fn scaler_stands(&self, scalers: &Scalers) -> bool {
        let (Some(target), Some(autoscaler)) = (&scalers.target, &self.plan.autoscaler) else {
            return true;
        };
        let plan = self.plan;
        let wanted = autoscaler.primary(target, plan.names.scaled(), &plan.route.owner);
        let live = scalers.primary.as_ref();
        live.is_some_and(|live| includes(&live["spec"], &wanted["spec"]))
    }

    fn is_in_place(&self, role: Role, objects: &Objects, target: Option<&Snapshot>) -> bool {
        // Without a target nobody knows what to select: things stay as they are.
        let Some(target) = target else { return true };
        let plan = &self.plan.route;
        let [apex, primary, canary] = &objects.services;
        let [primary_rule, canary_rule] = &objects.rules;
        let (live, rule) = match role {
            Role::Apex => (apex, None),
            Role::Primary => (primary, Some(primary_rule)),
            Role::Canary => (canary, Some(canary_rule)),
        };
        let is_ours = live
            .as_ref()
            .is_some_and(|live| objects::is_owned(live, &plan.owner));
        let wanted = objects::service(role, plan, target, is_ours);
        let stands = wanted.is_none_or(|wanted| {
            live.as_ref()
                .is_some_and(|live| service_stands(live, &wanted))
        });
        let rule = rule.filter(|_| plan.provider == Provider::Istio);
        let rule_stands = rule.is_none_or(|live| {
            let wanted = objects::destination_rule(role, plan);
            live.as_ref()
                .is_some_and(|live| includes(&live["spec"], &wanted["spec"]))
        });
        rule_stands && stands
    }
}

const fn is_in_flight(state: &State) -> bool {
    matches!(
        state.phase,
        Some(Phase::Progressing | Phase::WaitingPromotion)
    )
}

/// Says why pods are not there yet, beside how many of them.
fn explain(side: &mut Side, why: &str) {
    if let Readiness::Pending(said) = &mut side.readiness {
        *said = format!("{said}; {why}");
    }
}

/// Whether the apex Service leads to the primary.
fn selects_primary(apex: Option<&Value>, target: Option<&Snapshot>) -> bool {
    let Some(apex) = apex else { return false };
    let selector = target.and_then(|target| target.selector.as_ref());
    selector
        .is_none_or(|selector| apex["spec"]["selector"][&selector.key] == selector.primary_value())
}

/// The target's revision: its template's identity, and a hash of its configs.
fn revision(sight: &Sight) -> Result<Revision, String> {
    let target = sight.workloads.target.as_ref();
    let target = target.ok_or_else(|| "the target does not exist".to_owned())?;
    let template = target.template.as_ref().map_err(Clone::clone)?;
    let no_configs = || "the target's configs are not known".to_owned();
    let configs = sight.configs.as_ref().ok_or_else(no_configs)?;
    let configs = configs.as_ref().map_err(Clone::clone)?;
    Ok(compose(&template.identity, &configs.hashes()))
}

fn side(snapshot: &Snapshot, endpoints: u32, threshold: u32, revision: Option<&Revision>) -> Side {
    let updated = if snapshot.updated == 0 {
        snapshot.desired
    } else {
        snapshot.updated
    };
    Side {
        desired: snapshot.desired,
        readiness: snapshot.readiness.clone(),
        endpoints,
        needed: needed(updated, threshold),
        revision: revision.cloned(),
    }
}

/// The ready endpoints that `threshold` percent of the replicas make; at least one.
fn needed(replicas: u32, threshold: u32) -> u32 {
    let share = u64::from(replicas) * u64::from(threshold) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// Selector as wanted, each wanted port there, annotations set.
fn service_stands(live: &Value, wanted: &Value) -> bool {
    let has = |port: &Value| {
        let ports = live["spec"]["ports"].as_array();
        ports
            .into_iter()
            .flatten()
            .any(|found| includes(found, port))
    };
    live["spec"]["selector"] == wanted["spec"]["selector"]
        && wanted["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .all(has)
        && includes(
            &live["metadata"]["annotations"],
            &wanted["metadata"]["annotations"],
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_replicas_has_a_share() {
        assert_eq!(needed(0, 100), 1);
        assert_eq!(needed(3, 50), 1);
        assert_eq!(needed(10, 75), 7);
        assert_eq!(needed(u32::MAX, 100), u32::MAX);
    }
}
