//! What a MeshInstall's status says. Pure: the time is an argument.

use fairlead_controller::applier::{self, Applied};
use fairlead_controller::conditions::Conditions;
use fairlead_crds::condition::{ConditionType, find_condition, is_true};
use fairlead_crds::mesh_install::MeshInstallStatus;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::build::{CONTROL_PLANE, GatewayRole, Resources};
use super::event;
use super::health::{self, Health};
use super::validate::{self, Mesh};

/// Conditions of components, which are absent where the component is not asked for.
const OPTIONAL: [ConditionType; 3] = [
    ConditionType::SidecarInjectorReady,
    ConditionType::IngressGatewayReady,
    ConditionType::EgressGatewayReady,
];
const AWAITS_ROOT: &str = "deployed once the control plane has published the root certificate";
const ALL_WORK: &str = "all components work";

/// What stood in the status before, and which generation is written about.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    /// The status.
    pub(crate) status: MeshInstallStatus,
    /// The generation that this reconcile looked at.
    pub(crate) generation: Option<i64>,
}

/// A status to write, and the event that tells of the change, if it is one.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: MeshInstallStatus,
    pub(crate) event: Option<(event::Reason, String)>,
}

/// Everything was applied: each component says whether it works.
pub(crate) fn applied(
    before: &Before,
    mesh: &Mesh,
    applied: &Resources<Applied>,
    pods: &[Pod],
    now: Timestamp,
) -> Result<Outcome, applier::Error> {
    let components = components(mesh, applied, pods)?;
    let mut conditions = before.conditions(now);
    for type_ in OPTIONAL {
        if !components.iter().any(|(present, _)| *present == type_) {
            conditions.remove(type_);
        }
    }
    for (type_, health) in &components {
        match health {
            Health::Ready(message) => conditions.set(*type_, true, "Available", message),
            Health::Progressing(message) => conditions.set(*type_, false, "Progressing", message),
            Health::Failed(message) => conditions.set(*type_, false, "Failed", message),
        };
    }
    let event = summarise(before, &components, &mut conditions);
    Ok(before.outcome(conditions, event))
}

/// Sets `Ready`, `Reconciling` and `Stalled`; returns what changed.
fn summarise(
    before: &Before,
    components: &[(ConditionType, Health)],
    conditions: &mut Conditions,
) -> Option<(event::Reason, String)> {
    let failed = find(components, |health| matches!(health, Health::Failed(_)));
    let waiting = find(components, |health| !matches!(health, Health::Ready(_)));
    match (failed, waiting) {
        (Some(why), _) => {
            conditions
                .set(ConditionType::Ready, false, "ComponentFailed", &why)
                .set(ConditionType::Stalled, true, "ComponentFailed", &why)
                .remove(ConditionType::Reconciling);
            (!before.was(ConditionType::Stalled)).then_some((event::Reason::Failed, why))
        }
        (None, Some(why)) => {
            conditions
                .set(ConditionType::Ready, false, "Progressing", &why)
                .set(ConditionType::Reconciling, true, "Progressing", &why)
                .remove(ConditionType::Stalled);
            before
                .was(ConditionType::Ready)
                .then_some((event::Reason::Progressing, why))
        }
        (None, None) => {
            conditions
                .set(ConditionType::Ready, true, "Installed", ALL_WORK)
                .remove(ConditionType::Reconciling)
                .remove(ConditionType::Stalled);
            let news = (event::Reason::Installed, ALL_WORK.to_owned());
            (!before.was(ConditionType::Ready)).then_some(news)
        }
    }
}

/// The spec cannot be carried out, until somebody changes it.
pub(crate) fn refused(before: &Before, error: &validate::Error, now: Timestamp) -> Outcome {
    let mut conditions = before.conditions(now);
    let (reason, message) = (error.reason(), error.to_string());
    conditions
        .set(ConditionType::Ready, false, reason, &message)
        .set(ConditionType::Stalled, true, reason, &message)
        .remove(ConditionType::Reconciling);
    let said = find_condition(&before.status.conditions, ConditionType::Stalled)
        .is_some_and(|stalled| stalled.message == message);
    let event = (!said).then_some((event::Reason::Refused, message));
    before.outcome(conditions, event)
}

/// The cluster did not let us work; we try again.
pub(crate) fn interrupted(before: &Before, why: String, now: Timestamp) -> Outcome {
    let mut conditions = before.conditions(now);
    conditions
        .set(ConditionType::Ready, false, "ApplyFailed", &why)
        .set(ConditionType::Reconciling, true, "Retrying", &why)
        .remove(ConditionType::Stalled);
    let said = find_condition(&before.status.conditions, ConditionType::Ready)
        .is_some_and(|ready| ready.reason == "ApplyFailed");
    let event = (!said).then_some((event::Reason::ApplyFailed, why));
    before.outcome(conditions, event)
}

impl Before {
    fn conditions(&self, now: Timestamp) -> Conditions {
        Conditions::new(self.status.conditions.clone(), self.generation, now)
    }

    fn was(&self, type_: ConditionType) -> bool {
        is_true(&self.status.conditions, type_)
    }

    fn outcome(&self, conditions: Conditions, event: Option<(event::Reason, String)>) -> Outcome {
        let status = MeshInstallStatus {
            observed_generation: self.generation,
            conditions: conditions.into_vec(),
        };
        Outcome { status, event }
    }
}

fn components(
    mesh: &Mesh,
    applied: &Resources<Applied>,
    pods: &[Pod],
) -> Result<Vec<(ConditionType, Health)>, applier::Error> {
    let Resources {
        namespace: _,
        control_plane,
        gateways,
        webhooks,
    } = applied;
    let control_plane =
        health::deployment(&control_plane.deployment.parse()?).explained_by(CONTROL_PLANE, pods);
    let mut components = vec![(ConditionType::ControlPlaneReady, control_plane.clone())];
    if mesh.injector.is_some() {
        let registration = webhooks.first().map(Applied::parse).transpose()?;
        let injector = health::injector(registration.as_ref(), &control_plane);
        components.push((ConditionType::SidecarInjectorReady, injector));
    }
    for (role, gateway) in gateways {
        let type_ = match role {
            GatewayRole::Ingress => ConditionType::IngressGatewayReady,
            GatewayRole::Egress => ConditionType::EgressGatewayReady,
        };
        let health = match gateway {
            Some(gateway) => {
                health::deployment(&gateway.deployment.parse()?).explained_by(role.name(), pods)
            }
            None => Health::Progressing(AWAITS_ROOT.to_owned()),
        };
        components.push((type_, health));
    }
    Ok(components)
}

/// The first component in a state, for people.
fn find(components: &[(ConditionType, Health)], is: impl Fn(&Health) -> bool) -> Option<String> {
    let name = |type_: ConditionType| match type_ {
        ConditionType::ControlPlaneReady => "control plane",
        ConditionType::SidecarInjectorReady => "sidecar injector",
        ConditionType::IngressGatewayReady => "ingress gateway",
        ConditionType::EgressGatewayReady => "egress gateway",
        other => other.as_str(),
    };
    components
        .iter()
        .find(|(_, health)| is(health))
        .map(|(type_, health)| match health {
            Health::Ready(why) | Health::Progressing(why) | Health::Failed(why) => {
                format!("{}: {why}", name(*type_))
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn before(status: MeshInstallStatus) -> Before {
        Before {
            status,
            generation: Some(1),
        }
    }

    fn summary(before: &Before, healths: [Health; 2]) -> Outcome {
        let types = [
            ConditionType::ControlPlaneReady,
            ConditionType::IngressGatewayReady,
        ];
        let components: Vec<_> = types.into_iter().zip(healths).collect();
        let mut conditions = before.conditions(NOW);
        let event = summarise(before, &components, &mut conditions);
        before.outcome(conditions, event)
    }

    #[test]
    fn ready_means_all_components_are_and_each_change_is_told_once() {
        let up = || Health::Ready("1 of 1 pods available".to_owned());
        let down = || Health::Progressing("0 of 1 pods available".to_owned());

        let starting = summary(&before(MeshInstallStatus::default()), [up(), down()]);
        assert!(starting.event.is_none(), "nothing worked before");
        assert!(is_true(
            &starting.status.conditions,
            ConditionType::Reconciling
        ));
        let ready = find_condition(&starting.status.conditions, ConditionType::Ready).unwrap();
        assert_eq!(ready.message, "ingress gateway: 0 of 1 pods available");

        let ready = summary(&before(starting.status), [up(), up()]);
        assert!(matches!(ready.event, Some((event::Reason::Installed, _))));
        let still = summary(&before(ready.status.clone()), [up(), up()]);
        assert!(still.event.is_none());
        assert_eq!(
            still.status, ready.status,
            "writing it again would wake us for ever"
        );

        let broken = summary(&before(ready.status), [down(), up()]);
        assert!(matches!(
            broken.event,
            Some((event::Reason::Progressing, _))
        ));
    }

    #[test]
    fn a_refusal_names_the_cure_and_is_told_once() {
        let error = validate::Error::UnknownProfile {
            given: "huge".to_owned(),
        };
        let first = refused(&before(MeshInstallStatus::default()), &error, NOW);
        let stalled = find_condition(&first.status.conditions, ConditionType::Stalled).unwrap();
        let expected = "there is no profile `huge`; the profiles are `default`, `minimal`, `demo`";
        assert_eq!(stalled.message, expected);
        assert!(first.event.is_some());

        let second = refused(&before(first.status.clone()), &error, Timestamp::MAX);
        assert!(second.event.is_none());
        assert_eq!(
            second.status, first.status,
            "writing it again would wake us for ever"
        );
    }

    #[test]
    fn an_interruption_keeps_what_is_known_of_components() {
        let mut conditions = before(MeshInstallStatus::default()).conditions(NOW);
        conditions.set(
            ConditionType::ControlPlaneReady,
            true,
            "Available",
            "1 of 1 pods",
        );
        let known = MeshInstallStatus {
            conditions: conditions.into_vec(),
            ..MeshInstallStatus::default()
        };
        let outcome = interrupted(&before(known), "forbidden".to_owned(), NOW);
        assert!(is_true(
            &outcome.status.conditions,
            ConditionType::ControlPlaneReady
        ));
        assert!(is_true(
            &outcome.status.conditions,
            ConditionType::Reconciling
        ));
        assert!(!is_true(&outcome.status.conditions, ConditionType::Ready));
    }
}
