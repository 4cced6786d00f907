//! Builds every object of the mesh from a validated MeshInstall. Pure.

use fairlead_controller::applier::{self, Prepared};
use fairlead_crds::label;
use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Serialize;

use super::dereference::{ControlPlane, Root};
use super::validate::Mesh;

mod control_plane;
mod gateway;
mod pod;
mod rbac;
mod webhook;

pub(crate) use control_plane::NAME as CONTROL_PLANE;
pub(crate) use gateway::Role as GatewayRole;
pub(crate) use webhook::{INJECTOR, VALIDATOR};

/// The root namespace of the mesh, whose name manifests and tools know.
pub(crate) const NAMESPACE: &str = "istio-system";
/// Holds the mesh's root certificate in each namespace; the control plane writes it.
pub(crate) const ROOT_CONFIG_MAP: &str = "istio-ca-root-cert";

/// All objects of a mesh, before (`Prepared`) or after (`Applied`) they were applied.
#[derive(Clone, Debug)]
pub(crate) struct Resources<T> {
    /// The root namespace; it stays when the mesh goes, for it may hold what is not ours.
    pub(crate) namespace: T,
    /// The control plane.
    pub(crate) control_plane: Component<T>,
    /// Gateways that the spec asks for; `None` where they have to wait for the root certificate.
    pub(crate) gateways: Vec<(GatewayRole, Option<Component<T>>)>,
    /// Registrations with the API server, the injector's first; none while they would do harm.
    pub(crate) webhooks: Vec<T>,
}

/// A Deployment and what it needs around it.
#[derive(Clone, Debug)]
pub(crate) struct Component<T> {
    /// Identity, rights, Service, disruption budget: applied first.
    pub(crate) surroundings: Vec<T>,
    /// The pods.
    pub(crate) deployment: T,
}

/// Builds all objects.
///
/// # Errors
/// None that a spec can cause: a kind that cannot be represented is a bug.
pub(crate) fn build(mesh: &Mesh) -> Result<Resources<Prepared>, applier::Error> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let gateways = [
        (GatewayRole::Ingress, &mesh.ingress),
        (GatewayRole::Egress, &mesh.egress),
    ];
    let gateways = gateways
        .into_iter()
        .filter_map(|(role, spec)| spec.as_ref().map(|spec| (role, spec)))
        .map(|(role, spec)| {
            let component = match mesh.root {
                Root::Published => Some(gateway::build(mesh, role, spec)?),
                Root::Missing => None,
            };
            Ok((role, component))
        })
        .collect::<Result<_, applier::Error>>()?;
    let registered = mesh
        .injector
        .filter(|injector| match injector.registration {
            ControlPlane::HasAnswered => true,
            ControlPlane::NeverAnswered => false,
        });
    let webhooks = match registered {
        Some(_) => vec![
            mesh.prepare(CONTROL_PLANE, &webhook::injector(mesh))?,
            mesh.prepare(CONTROL_PLANE, &webhook::validator())?,
        ],
        None => Vec::new(),
    };
    Ok(Resources {
        // Not labelled and not owned: it may have been there before.
        namespace: Prepared::new(&namespace)?,
        control_plane: control_plane::build(mesh)?,
        gateways,
        webhooks,
    })
}

impl Mesh {
    /// Gives an object the labels and the owner that all objects of the mesh share.
    fn prepare<K>(&self, component: &str, object: &K) -> Result<Prepared, applier::Error>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let mut prepared = Prepared::new(object)?;
        let metadata = prepared.metadata_mut();
        metadata.owner_references = Some(vec![self.owner.clone()]);
        metadata
            .labels
            .get_or_insert_default()
            .extend(self.labels(component));
        Ok(prepared)
    }

    /// The labels of all objects and pods of a component.
    fn labels(&self, component: &str) -> [(String, String); 3] {
        [
            (label::MANAGED_BY, label::MANAGED_BY_FAIRLEAD),
            (label::MESH_INSTALL, &self.name),
            (label::COMPONENT, component),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

/// Metadata of an object in the root namespace.
fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
