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
use super::pods::{Ailment, Slices};
use super::revision::compose;
use super::sight::{Known, Objects, Pair, Scalers, Sight};
use super::takeover::{self, Incumbent};
use super::validate::Validated;
use crate::router::{self, Provider, Router, Routes, includes};
use crate::workload::configs::Configs;
use crate::workload::{self, Content, Kind, Snapshot, Workload};

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
    /// The Services of apex, primary and canary as they are.
    pub(super) services: [Option<Value>; 3],
    /// Whether nothing tells if the canary can answer.
    pub(super) unchecked: bool,
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
        let routes = &sight.routes;
        let endpoints = self.ready_endpoints(sight);
        let revision = match self.missing_autoscaler(&sight.scalers) {
            Some(why) => Err(why),
            None => self.revision(sight),
        };
        let [apex, _, canary_service] = &sight.objects.services;
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
            services: sight.objects.services.clone(),
            unchecked: target.is_some() && !self.is_checked(canary_service.as_ref()),
            autoscaler: sight.scalers.target.clone(),
        }
    }

    /// The ready endpoints of both roles, as far as they are of what the Services lead to by now.
    fn ready_endpoints(&self, sight: &Sight) -> Ready {
        let [_, primary, canary] = &sight.objects.services;
        let count = |slices: &Slices, service: &Option<Value>| {
            let service = service.as_ref();
            if self.is_checked(service) {
                slices.ready_of(service.and_then(objects::released_revision))
            } else {
                // Nothing tells: it is taken to answer.
                1
            }
        };
        Ready {
            primary: count(&sight.endpoints.primary, primary),
            canary: count(&sight.endpoints.canary, canary),
        }
    }

    /// Whether endpoints tell if a role can answer. A target that selects no pods leads to what the
    /// cluster does not know.
    fn is_checked(&self, service: Option<&Value>) -> bool {
        let selects = |service: &Value| {
            let selector = service["spec"]["selector"].as_object();
            let leads_away = service["spec"]["type"] == "ExternalName";
            !leads_away && selector.is_some_and(|selector| !selector.is_empty())
        };
        self.plan.kind != Kind::Service || service.is_none_or(selects)
    }

    /// The target's revision: the identity of what it asks for, and a hash of its configs.
    fn revision(&self, sight: &Sight) -> Result<Revision, String> {
        let target = sight.workloads.target.as_ref();
        let target = target.ok_or_else(|| "the target does not exist".to_owned())?;
        let template = target.template.as_ref().map_err(Clone::clone)?;
        if let Content::Service(spec) = &template.content {
            objects::serves(spec, &self.plan.route)?;
        }
        let no_configs = || "the target's configs are not known".to_owned();
        let configs = sight.configs.as_ref().ok_or_else(no_configs)?;
        let configs = configs.as_ref().map_err(Clone::clone)?;
        Ok(compose(&template.identity, &configs.hashes()))
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
        let (workloads, endpoints) = (&sight.workloads, self.ready_endpoints(sight));
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
        let live = role.of(&objects.services);
        let [primary_rule, canary_rule] = &objects.rules;
        let rule = match role {
            Role::Apex => None,
            Role::Primary => Some(primary_rule),
            Role::Canary => Some(canary_rule),
        };
        let is_ours = live
            .as_ref()
            .is_some_and(|live| objects::is_owned(live, &plan.owner));
        let wanted = objects::service(role, plan, target, live.as_ref(), is_ours);
        let stands = wanted.is_none_or(|wanted| {
            live.as_ref()
                .is_some_and(|live| objects::stands(live, &wanted))
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

/// Ready endpoints of the two roles.
#[derive(Clone, Copy)]
struct Ready {
    primary: u32,
    canary: u32,
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

fn side(snapshot: &Snapshot, endpoints: u32, threshold: u32, revision: Option<&Revision>) -> Side {
    let updated = if snapshot.updated == 0 {
        snapshot.desired
    } else {
        snapshot.updated
    };
    Side {
        desired: snapshot.desired,
        readiness: snapshot.readiness.clone(),
        observed: snapshot.observed,
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
