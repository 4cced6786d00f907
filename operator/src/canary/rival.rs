//! Which of two Canaries with the same target has it. Pure.

use fairlead_crds::canary::{Canary, TargetReference};
use kube::ResourceExt;

use crate::workload::Kind;

/// The older Canary with the same target, by name: it was there first. A Service as target is also
/// the apex of a workload of its name.
pub fn rival<'a>(canary: &Canary, all: impl Iterator<Item = &'a Canary>) -> Option<String> {
    let rank = |canary: &Canary| {
        (
            canary.creation_timestamp().map(|time| time.0),
            canary.name_any(),
        )
    };
    let mine = rank(canary);
    all.filter(|other| {
        other.namespace() == canary.namespace()
            && collide(&other.spec.target_ref, &canary.spec.target_ref)
            && other.name_any() != canary.name_any()
            && other.metadata.deletion_timestamp.is_none()
    })
    .map(rank)
    .filter(|other| *other < mine)
    .min()
    .map(|(_, name)| name)
}

fn collide(one: &TargetReference, other: &TargetReference) -> bool {
    let is_service = |target: &TargetReference| target.kind == Kind::Service.as_str();
    one == other || (one.name == other.name && (is_service(one) || is_service(other)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canary(name: &str, kind: &str, created: &str) -> Canary {
        let version = if kind == "Service" { "v1" } else { "apps/v1" };
        let canary = json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": { "name": name, "namespace": "shop", "creationTimestamp": created },
            "spec": {
                "targetRef": { "apiVersion": version, "kind": kind, "name": "web" },
                "analysis": {},
            },
        });
        serde_json::from_value(canary).unwrap()
    }

    #[test]
    fn the_first_canary_of_a_name_has_it_where_services_would_clash() {
        let first = canary("first", "Deployment", "2026-01-01T00:00:00Z");
        let check = |kind: &str, expected: Option<&str>| {
            let other = canary("other", kind, "2026-01-02T00:00:00Z");
            let all = [first.clone(), other.clone()];
            assert_eq!(rival(&other, all.iter()).as_deref(), expected, "{kind}");
            assert_eq!(rival(&first, all.iter()), None);
        };
        check("Deployment", Some("first"));
        check("Service", Some("first"));
        check("DaemonSet", None);
    }
}
