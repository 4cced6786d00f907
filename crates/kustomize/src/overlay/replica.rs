//! Replica counts.

use serde_json::Value;

use super::spec::Replica;
use crate::field::{self, Missing};
use crate::resource::Resource;

const KINDS: [&str; 4] = [
    "Deployment",
    "ReplicationController",
    "ReplicaSet",
    "StatefulSet",
];

/// Sets the replicas of the workloads with this name; false where there is none.
pub(super) fn set(resources: &mut [Resource], replica: &Replica) -> bool {
    let mut found = false;
    for resource in resources {
        let is_named = resource.ids().any(|id| id.name == replica.name);
        if is_named && KINDS.contains(&resource.id().kind.as_str()) {
            found = true;
            field::visit(
                resource.value_mut(),
                "spec/replicas",
                Missing::Create,
                &mut |value| {
                    *value = Value::from(replica.count);
                },
            );
        }
    }
    found
}
