//! The order in which objects are applied: in stages, each of which must settle before the next.
//!
//! Definitions come first (CRDs, namespaces, cluster roles), then classes, then everything else;
//! what may refuse other objects (webhooks) comes last. Deletion runs the other way round.

use crate::resource::{Id, Resource, is_cluster_scoped};

/// A group of objects; the next one waits until this one is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// CRDs, namespaces and cluster roles: what others need to exist at all.
    Definitions,
    /// Kinds whose names end in `Class`.
    Classes,
    /// Objects of Kubernetes' own kinds.
    Workloads,
    /// Custom resources, whose controllers are among the workloads perhaps.
    Custom,
    /// Admission webhooks, which could refuse all of the others.
    Admission,
}

impl Stage {
    /// The stage of an object.
    pub fn of(id: &Id) -> Self {
        match (id.group.as_str(), id.kind.as_str()) {
            ("apiextensions.k8s.io", "CustomResourceDefinition")
            | ("", "Namespace")
            | ("rbac.authorization.k8s.io", "ClusterRole") => Self::Definitions,
            ("admissionregistration.k8s.io", kind) if kind.ends_with("WebhookConfiguration") => {
                Self::Admission
            }
            (_, kind) if kind.ends_with("Class") => Self::Classes,
            (group, _) if is_builtin_group(group) => Self::Workloads,
            _ => Self::Custom,
        }
    }
}

/// Sorts objects into stages; none of the stages is empty.
pub fn stages(resources: Vec<Resource>) -> Vec<(Stage, Vec<Resource>)> {
    let mut sorted: Vec<(Stage, usize, Id, Resource)> = resources
        .into_iter()
        .map(|resource| {
            let id = resource.id();
            (Stage::of(&id), rank(&id), id, resource)
        })
        .collect();
    sorted.sort_by(|one, other| (one.0, one.1, &one.2).cmp(&(other.0, other.1, &other.2)));
    let mut stages: Vec<(Stage, Vec<Resource>)> = Vec::new();
    for (stage, _, _, resource) in sorted {
        match stages.last_mut() {
            Some((last, resources)) if *last == stage => resources.push(resource),
            _ => stages.push((stage, vec![resource])),
        }
    }
    stages
}

/// Sorts identities for deletion: the reverse of the order in which they are applied.
pub fn sort_for_deletion(ids: &mut [Id]) {
    ids.sort_by(|one, other| {
        (Stage::of(other), rank(other), other).cmp(&(Stage::of(one), rank(one), one))
    });
}

/// The position of a kind inside its stage.
fn rank(id: &Id) -> usize {
    const FIRST: [&str; 17] = [
        "CustomResourceDefinition",
        "Namespace",
        "ClusterRole",
        "PriorityClass",
        "StorageClass",
        "ClusterRoleBinding",
        "ResourceQuota",
        "LimitRange",
        "NetworkPolicy",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ConfigMap",
        "Secret",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Service",
    ];
    FIRST
        .iter()
        .position(|kind| *kind == id.kind)
        .unwrap_or(FIRST.len())
}

/// Whether Kubernetes itself serves the group.
fn is_builtin_group(group: &str) -> bool {
    const WITHOUT_DOMAIN: [&str; 5] = ["", "apps", "batch", "autoscaling", "policy"];
    const WITH_DOMAIN: [&str; 14] = [
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ];
    WITHOUT_DOMAIN.contains(&group)
        || WITH_DOMAIN.contains(&group)
        || is_cluster_scoped(group, "")
        || group == "resource.k8s.io"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(group: &str, kind: &str) -> Id {
        Id {
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: "x".to_owned(),
            ..Id::default()
        }
    }

    #[test]
    fn what_others_need_comes_first_and_what_can_refuse_comes_last() {
        let order = [
            id("apiextensions.k8s.io", "CustomResourceDefinition"),
            id("", "Namespace"),
            id("networking.k8s.io", "IngressClass"),
            id("", "ServiceAccount"),
            id("", "ConfigMap"),
            id("apps", "Deployment"),
            id("flagger.app", "Canary"),
            id(
                "admissionregistration.k8s.io",
                "ValidatingWebhookConfiguration",
            ),
        ];
        let mut reversed = order.to_vec();
        sort_for_deletion(&mut reversed);
        reversed.reverse();
        assert_eq!(reversed, order);
    }

    fn ids() -> impl Strategy<Value = Vec<Id>> {
        let group =
            prop::sample::select(vec!["", "apps", "flagger.app", "rbac.authorization.k8s.io"]);
        let kind = prop::sample::select(vec![
            "Namespace",
            "Secret",
            "Canary",
            "ClusterRole",
            "GatewayClass",
        ]);
        prop::collection::vec(
            (group, kind).prop_map(|(group, kind)| id(group, kind)),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_where_objects_stood(ids in ids(), seed in any::<prop::sample::Index>()) {
            let mut one = ids.clone();
            let mut other = ids;
            let middle = seed.index(other.len() + 1);
            let length = other.len();
            other.rotate_left(middle.min(length));
            sort_for_deletion(&mut one);
            sort_for_deletion(&mut other);
            prop_assert_eq!(one, other);
        }
    }
}
