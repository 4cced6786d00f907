//! Reads from the cluster what a MeshInstall's meaning depends on. Reads only.

use fairlead_controller::ApiError;
use fairlead_crds::label;
use fairlead_crds::mesh_install::MeshInstall;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, ListParams};

use super::build::{CONTROL_PLANE, INJECTOR, NAMESPACE, ROOT_CONFIG_MAP};

/// What the cluster holds.
#[derive(Clone, Debug)]
pub(crate) struct Dereferenced {
    /// Name of the MeshInstall that was there first, if not this one.
    pub(crate) older: Option<String>,
    /// Whether the control plane works or has worked.
    pub(crate) control_plane: ControlPlane,
    /// Whether the root certificate that gateways mount is there.
    pub(crate) root: Root,
    /// Pods of the mesh.
    pub(crate) pods: Vec<Pod>,
}

/// Whether the control plane has published the mesh's root certificate in the root namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Root {
    /// Not yet: a pod that mounts it would wait for the kubelet's back-off, minutes at worst.
    Missing,
    /// It has.
    Published,
}

/// Whether there is a control plane that can answer the injector's webhook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ControlPlane {
    /// No pod has been ready yet.
    NeverAnswered,
    /// A pod is ready, or the injector is registered, which it is only after one was.
    HasAnswered,
}

/// Why the cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused or did not answer.
    #[error("failed to list MeshInstalls")]
    ListMeshInstalls(#[source] ApiError),
    /// The server refused or did not answer.
    #[error("failed to read the injector's registration")]
    ReadInjector(#[source] ApiError),
    /// The server refused or did not answer.
    #[error("failed to read the control plane's Deployment")]
    ReadControlPlane(#[source] ApiError),
    /// The server refused or did not answer.
    #[error("failed to look for the mesh's root certificate")]
    FindRoot(#[source] ApiError),
    /// The server refused or did not answer.
    #[error("failed to list the mesh's pods")]
    ListPods(#[source] ApiError),
}

impl Error {
    /// The server's answer.
    pub(crate) fn cause(&self) -> &ApiError {
        match self {
            Self::ListMeshInstalls(cause)
            | Self::ReadInjector(cause)
            | Self::ReadControlPlane(cause)
            | Self::FindRoot(cause)
            | Self::ListPods(cause) => cause,
        }
    }
}

/// Reads what [`super::validate::validate`] needs.
pub(crate) async fn dereference(client: &Client, meta: &ObjectMeta) -> Result<Dereferenced, Error> {
    let installs = Api::<MeshInstall>::all(client.clone())
        .list_metadata(&ListParams::default())
        .await
        .map_err(|error| Error::ListMeshInstalls(error.into()))?;
    let others = installs.items.iter().map(|install| &install.metadata);
    let injector = Api::<MutatingWebhookConfiguration>::all(client.clone())
        .get_metadata_opt(INJECTOR)
        .await
        .map_err(|error| Error::ReadInjector(error.into()))?;
    let control_plane = Api::<Deployment>::namespaced(client.clone(), NAMESPACE)
        .get_opt(CONTROL_PLANE)
        .await
        .map_err(|error| Error::ReadControlPlane(error.into()))?;
    let available = control_plane
        .and_then(|deployment| deployment.status?.available_replicas)
        .is_some_and(|replicas| replicas > 0);
    let root = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE)
        .get_metadata_opt(ROOT_CONFIG_MAP)
        .await
        .map_err(|error| Error::FindRoot(error.into()))?;
    let labels = format!(
        "{}={}",
        label::MESH_INSTALL,
        meta.name.as_deref().unwrap_or_default()
    );
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE)
        .list(&ListParams::default().labels(&labels))
        .await
        .map_err(|error| Error::ListPods(error.into()))?;
    Ok(Dereferenced {
        pods: pods.items,
        root: if root.is_some() {
            Root::Published
        } else {
            Root::Missing
        },
        older: older(meta, others),
        control_plane: if injector.is_some() || available {
            ControlPlane::HasAnswered
        } else {
            ControlPlane::NeverAnswered
        },
    })
}

/// Pure: the oldest of the others, if it is older; names decide between equal ages.
fn older<'a>(meta: &ObjectMeta, others: impl Iterator<Item = &'a ObjectMeta>) -> Option<String> {
    let age = |meta: &ObjectMeta| {
        (
            meta.creation_timestamp.as_ref().map(|time| time.0),
            meta.name.clone(),
        )
    };
    others
        .filter(|other| other.name != meta.name && other.deletion_timestamp.is_none())
        .min_by_key(|other| age(other))
        .filter(|other| age(other) < age(meta))
        .and_then(|other| other.name.clone())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn created(name: &str, second: i64) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            creation_timestamp: Some(Time(Timestamp::from_second(second).unwrap())),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn the_oldest_installs_and_names_decide_between_twins() {
        let (a, b, c) = (created("a", 2), created("b", 1), created("c", 2));
        let all = [&a, &b, &c];
        assert_eq!(older(&b, all.into_iter()), None);
        assert_eq!(older(&a, all.into_iter()), Some("b".to_owned()));
        assert_eq!(older(&c, [&a, &c].into_iter()), Some("a".to_owned()));
        assert_eq!(older(&a, [&a, &c].into_iter()), None);
    }

    #[test]
    fn one_that_is_being_deleted_makes_room() {
        let mut leaving = created("a", 1);
        leaving.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(older(&created("b", 2), [&leaving].into_iter()), None);
    }
}
