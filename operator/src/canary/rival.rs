//! Which of two Canaries that want the same has it. Pure.

use std::fmt;

use fairlead_crds::canary::{Canary, TargetReference};
use kube::ResourceExt;

use crate::router::apex;
use crate::workload::Kind;

/// The Canary that has what another one wants; its text tells people what, whose it is, and the
/// fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// What both want.
    over: Contested,
    /// Whose it is.
    name: String,
}

/// What only one Canary can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Contested {
    /// A workload, by kind and name.
    Target(String, String),
    /// The name of the apex Service and of the routes to it.
    Apex(String),
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, fix) = match &self.over {
            Contested::Target(kind, name) => {
                (format!("{kind} `{name}`"), "delete one of the two Canaries")
            }
            Contested::Apex(apex) => (
                format!("Service `{apex}`, with the routes to it,"),
                "give one of the two Canaries another `spec.service.name`",
            ),
        };
        let name = &self.name;
        write!(
            f,
            "{what} belongs to Canary `{name}`, which was there first: {fix}"
        )
    }
}

/// The older Canary with the same target, or with the same apex Service and routes: it was there
/// first. A Service as target is also the apex of a workload of its name.
pub fn rival<'a>(canary: &Canary, all: impl Iterator<Item = &'a Canary>) -> Option<Rival> {
    let rank = |canary: &Canary| {
        (
            canary.creation_timestamp().map(|time| time.0),
            canary.name_any(),
        )
    };
    let mine = rank(canary);
    let others = all.filter(|other| {
        other.namespace() == canary.namespace()
            && other.name_any() != canary.name_any()
            && other.metadata.deletion_timestamp.is_none()
            && rank(other) < mine
    });
    let rivals = others.filter_map(|other| Some((rank(other), contested(canary, other)?)));
    let ((_, name), over) = rivals.min()?;
    Some(Rival { over, name })
}

/// What both want.
fn contested(one: &Canary, other: &Canary) -> Option<Contested> {
    let [mine, theirs] = [one, other].map(|canary| &canary.spec.target_ref);
    if collide(mine, theirs) {
        return Some(Contested::Target(mine.kind.clone(), mine.name.clone()));
    }
    (apex(one) == apex(other)).then(|| Contested::Apex(apex(one).to_owned()))
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
        let check = |kind: &str, expected: &str| {
            let other = canary("other", kind, "2026-01-02T00:00:00Z");
            let all = [first.clone(), other.clone()];
            let found = rival(&other, all.iter()).map(|rival| rival.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{kind}");
            assert_eq!(rival(&first, all.iter()), None);
        };
        check(
            "Deployment",
            "Deployment `web` belongs to Canary `first`, which was there first: delete one of the \
             two Canaries",
        );
        check(
            "Service",
            "Service `web` belongs to Canary `first`, which was there first: delete one of the two \
             Canaries",
        );
        check(
            "DaemonSet",
            "Service `web`, with the routes to it, belongs to Canary `first`, which was there \
             first: give one of the two Canaries another `spec.service.name`",
        );
    }

    #[test]
    fn another_name_of_the_service_keeps_two_kinds_apart() {
        let first = canary("first", "Deployment", "2026-01-01T00:00:00Z");
        let mut other = canary("other", "DaemonSet", "2026-01-02T00:00:00Z");
        other.spec.service = serde_json::from_value(json!({ "name": "edge", "port": 80 })).ok();
        assert_eq!(rival(&other, [first].iter()), None);
    }

    #[test]
    fn an_empty_name_is_that_of_the_target() {
        let mut first = canary("first", "Deployment", "2026-01-01T00:00:00Z");
        let mut other = canary("other", "Deployment", "2026-01-02T00:00:00Z");
        other.spec.target_ref.name = "cart".to_owned();
        for canary in [&mut first, &mut other] {
            canary.spec.service = serde_json::from_value(json!({ "name": "", "port": 80 })).ok();
        }
        assert_eq!(rival(&other, [first].iter()), None);
    }
}
