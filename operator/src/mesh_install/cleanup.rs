//! Removes what a MeshInstall deployed before and no longer asks for.
//!
//! Deleting a MeshInstall needs nothing of this: everything has an owner reference to it, so the API
//! server removes it, with a broken spec and without an operator too. The root namespace stays, with
//! the certificate authority's key and whatever else it holds.

use std::collections::BTreeSet;

use fairlead_controller::Applier;
use fairlead_controller::applier::{self, Applied};
use fairlead_crds::label;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::core::ApiResource;

use super::build::Resources;

/// The kinds that we deploy, those that others depend on last.
fn kinds() -> [ApiResource; 8] {
    [
        ApiResource::erase::<MutatingWebhookConfiguration>(&()),
        ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<RoleBinding>(&()),
        ApiResource::erase::<ClusterRoleBinding>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
    ]
}

/// Deletes objects of the MeshInstall `name` that are not among `applied`; says which.
pub(crate) async fn cleanup(
    applier: &Applier,
    name: &str,
    applied: &Resources<Applied>,
) -> Result<Vec<String>, applier::Error> {
    let keep: BTreeSet<_> = applied.keys().collect();
    let mut labels = vec![format!("{}={name}", label::MESH_INSTALL)];
    // A gateway that waits is wanted: what it has of old stays.
    let waiting = applied
        .gateways
        .iter()
        .filter(|(_, gateway)| gateway.is_none());
    labels.extend(waiting.map(|(role, _)| format!("{}!={}", label::COMPONENT, role.name())));
    let labels = labels.join(",");
    let mut deleted = Vec::new();
    for kind in kinds() {
        deleted.extend(applier.prune(&kind, None, &labels, &keep).await?);
    }
    Ok(deleted)
}
