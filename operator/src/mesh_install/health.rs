//! Judges whether what was deployed works. Pure.

use fairlead_crds::label;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;

/// The state of one component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Health {
    /// It works.
    Ready(String),
    /// It does not work yet.
    Progressing(String),
    /// It does not work, and Kubernetes has given up waiting.
    Failed(String),
}

impl Health {
    /// Adds what keeps a pod of the component from working, if it does not work.
    pub(crate) fn explained_by(self, component: &str, pods: &[Pod]) -> Self {
        let of_component =
            |pod: &&Pod| pod.labels().get(label::COMPONENT).map(String::as_str) == Some(component);
        let Some(trouble) = pods.iter().filter(of_component).find_map(trouble) else {
            return self;
        };
        match self {
            Self::Ready(_) => self,
            Self::Progressing(why) => Self::Progressing(format!("{why}; {trouble}")),
            Self::Failed(why) => Self::Failed(format!("{why}; {trouble}")),
        }
    }
}

/// What keeps a pod from working, if it is more than that it starts.
fn trouble(pod: &Pod) -> Option<String> {
    let PodStatus {
        conditions,
        init_container_statuses,
        container_statuses,
        ..
    } = pod.status.as_ref()?;
    let name = pod.name_any();
    let unschedulable = conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        let message = condition.message.as_deref().unwrap_or_default();
        return Some(format!("pod `{name}` finds no node: {message}"));
    }
    let containers = init_container_statuses
        .iter()
        .chain(container_statuses)
        .flatten();
    containers
        .into_iter()
        .find_map(waits)
        .map(|why| format!("pod `{name}`: {why}"))
}

fn waits(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let starts = ["ContainerCreating", "PodInitializing"].contains(&reason);
    let message = waiting.message.as_deref().unwrap_or_default();
    (!starts).then(|| format!("{reason} {message}"))
}

/// A Deployment works when all pods are of its newest template and available.
pub(crate) fn deployment(deployment: &Deployment) -> Health {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let DeploymentStatus {
        available_replicas,
        updated_replicas,
        replicas,
        observed_generation,
        conditions,
        ..
    } = status;
    let (available, updated) = (
        available_replicas.unwrap_or_default(),
        updated_replicas.unwrap_or_default(),
    );
    let old = replicas.unwrap_or_default() - updated;
    if observed_generation < deployment.metadata.generation {
        return Health::Progressing(
            "Kubernetes has not looked at the newest template yet".to_owned(),
        );
    }
    let counts = format!("{available} of {wanted} pods available");
    if available >= wanted && updated >= wanted && old <= 0 {
        return Health::Ready(counts);
    }
    let conditions = conditions.unwrap_or_default();
    let find = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    let explained = |condition: &DeploymentCondition| {
        let message = condition.message.as_deref().unwrap_or_default();
        format!("{counts}: {message}")
    };
    match (find("ReplicaFailure"), find("Progressing")) {
        (Some(failure), _) if failure.status == "True" => Health::Failed(explained(failure)),
        (_, Some(progress)) if progress.status == "False" => Health::Failed(explained(progress)),
        _ if old > 0 => Health::Progressing(format!("{counts}, {old} of an older template left")),
        _ => Health::Progressing(counts),
    }
}

/// The injector works when it is registered with a CA bundle and its pods answer.
pub(crate) fn injector(
    registration: Option<&MutatingWebhookConfiguration>,
    control_plane: &Health,
) -> Health {
    let Some(registration) = registration else {
        return Health::Progressing("registered once a control-plane pod is ready".to_owned());
    };
    let webhooks = registration.webhooks.as_deref().unwrap_or_default();
    let trusted = |bundle: &Option<k8s_openapi::ByteString>| {
        bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
    };
    if !webhooks
        .iter()
        .all(|webhook| trusted(&webhook.client_config.ca_bundle))
    {
        return Health::Progressing("the control plane has not set the CA bundle yet".to_owned());
    }
    match control_plane {
        Health::Ready(_) => Health::Ready("registered, and its pods answer".to_owned()),
        Health::Progressing(why) | Health::Failed(why) => Health::Progressing(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DeploymentSpec;
    use kube::api::ObjectMeta;

    use super::*;

    fn at(generation: i64, status: DeploymentStatus) -> Deployment {
        Deployment {
            metadata: ObjectMeta {
                generation: Some(generation),
                ..ObjectMeta::default()
            },
            spec: Some(DeploymentSpec {
                replicas: Some(2),
                ..DeploymentSpec::default()
            }),
            status: Some(status),
        }
    }

    fn pods(total: i32, updated: i32, available: i32) -> DeploymentStatus {
        DeploymentStatus {
            observed_generation: Some(3),
            replicas: Some(total),
            updated_replicas: Some(updated),
            available_replicas: Some(available),
            ..DeploymentStatus::default()
        }
    }

    #[test]
    fn ready_means_all_pods_are_new_and_available() {
        let is_ready = |health| matches!(health, Health::Ready(_));
        assert!(is_ready(deployment(&at(3, pods(2, 2, 2)))));
        assert!(
            !is_ready(deployment(&at(3, pods(2, 2, 1)))),
            "one is not available"
        );
        assert!(
            !is_ready(deployment(&at(3, pods(3, 2, 3)))),
            "an old one is left"
        );
        assert!(
            !is_ready(deployment(&at(4, pods(2, 2, 2)))),
            "the status is of an older template"
        );
    }

    #[test]
    fn a_deployment_that_kubernetes_gave_up_on_has_failed_with_its_message() {
        let status = DeploymentStatus {
            conditions: Some(vec![DeploymentCondition {
                type_: "Progressing".to_owned(),
                status: "False".to_owned(),
                message: Some("timed out progressing".to_owned()),
                ..DeploymentCondition::default()
            }]),
            ..pods(2, 2, 0)
        };
        let expected = "0 of 2 pods available: timed out progressing".to_owned();
        assert_eq!(deployment(&at(3, status)), Health::Failed(expected));
    }

    #[test]
    fn a_pod_that_cannot_start_explains_why_its_component_does_not_work() {
        use k8s_openapi::api::core::v1::{ContainerState, ContainerStateWaiting};

        let waiting = |reason: &str| Pod {
            metadata: ObjectMeta {
                name: Some("istiod-1".to_owned()),
                labels: Some([(label::COMPONENT.to_owned(), "istiod".to_owned())].into()),
                ..ObjectMeta::default()
            },
            status: Some(PodStatus {
                container_statuses: Some(vec![ContainerStatus {
                    state: Some(ContainerState {
                        waiting: Some(ContainerStateWaiting {
                            reason: Some(reason.to_owned()),
                            message: Some("no such image".to_owned()),
                        }),
                        ..ContainerState::default()
                    }),
                    ..ContainerStatus::default()
                }]),
                ..PodStatus::default()
            }),
            ..Pod::default()
        };
        let none = || Health::Progressing("0 of 1 pods available".to_owned());
        let explained = |component, reason| none().explained_by(component, &[waiting(reason)]);
        let expected = "0 of 1 pods available; pod `istiod-1`: ErrImagePull no such image";
        assert_eq!(
            explained("istiod", "ErrImagePull"),
            Health::Progressing(expected.to_owned())
        );
        assert_eq!(explained("istiod", "ContainerCreating"), none());
        assert_eq!(explained("other", "ErrImagePull"), none());
    }

    #[test]
    fn the_injector_waits_for_registration_bundle_and_pods() {
        use k8s_openapi::ByteString;
        use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, WebhookClientConfig};

        let registration = |bundle: Option<&str>| MutatingWebhookConfiguration {
            webhooks: Some(vec![MutatingWebhook {
                client_config: WebhookClientConfig {
                    ca_bundle: bundle.map(|text| ByteString(text.as_bytes().to_vec())),
                    ..WebhookClientConfig::default()
                },
                ..MutatingWebhook::default()
            }]),
            ..MutatingWebhookConfiguration::default()
        };
        let up = Health::Ready(String::new());
        let down = Health::Progressing("0 of 1 pods available".to_owned());
        let is_ready = |health| matches!(health, Health::Ready(_));
        assert!(!is_ready(injector(None, &up)));
        assert!(!is_ready(injector(Some(&registration(None)), &up)));
        assert!(!is_ready(injector(Some(&registration(Some("pem"))), &down)));
        assert!(is_ready(injector(Some(&registration(Some("pem"))), &up)));
    }
}
