//! Binds the ClusterRoles that the chart ships; the operator may bind these and no others. Pure.

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use kube::api::ObjectMeta;

use super::{NAMESPACE, named};

/// What the control plane may do in the whole cluster.
pub(super) const CONTROL_PLANE: &str = "fairlead-control-plane";
/// What the control plane may do in the root namespace alone: its key, its lease.
pub(super) const CONTROL_PLANE_ROOT_NAMESPACE: &str = "fairlead-control-plane-root-namespace";

pub(super) fn cluster_binding(account: &str, role: &str) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(role.to_owned()),
            ..ObjectMeta::default()
        },
        role_ref: cluster_role(role),
        subjects: Some(vec![subject(account)]),
    }
}

pub(super) fn binding(name: &str, account: &str, role: &str) -> RoleBinding {
    RoleBinding {
        metadata: named(name),
        role_ref: cluster_role(role),
        subjects: Some(vec![subject(account)]),
    }
}

fn cluster_role(name: &str) -> RoleRef {
    RoleRef {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "ClusterRole".to_owned(),
        name: name.to_owned(),
    }
}

fn subject(account: &str) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: account.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        ..Subject::default()
    }
}
