//! Markers on objects that steer how, and whether, they are applied and pruned. Pure.
//!
//! A marker is an annotation or a label; it counts on the object in git and on the live one, so
//! that a controller which takes an object over can say so where git does not.

use fairlead_crds::{annotation, label};
use serde_json::Value;

/// What to do with an object of the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make the live object what git says.
    Apply,
    /// Leave the live object alone.
    Skip,
}

/// Whether an object is applied.
pub fn decide(desired: &Value, live: Option<&Value>) -> Decision {
    let is_off = |object: &Value| {
        has(
            object,
            annotation::KUSTOMIZE_RECONCILE,
            annotation::DISABLED,
        ) || has(object, annotation::KUSTOMIZE_SSA, "Ignore")
    };
    let is_once = has(desired, annotation::KUSTOMIZE_SSA, "IfNotPresent");
    let is_off = is_off(desired) || live.is_some_and(is_off);
    if is_off || (is_once && live.is_some()) {
        Decision::Skip
    } else {
        Decision::Apply
    }
}

/// Whether an object may be deleted and made anew where a field cannot be changed.
pub fn is_forced(desired: &Value) -> bool {
    has(desired, annotation::KUSTOMIZE_FORCE, annotation::ENABLED)
}

/// Whether fields that other field managers own are left to them.
pub fn is_merged(desired: &Value) -> bool {
    has(desired, annotation::KUSTOMIZE_SSA, "Merge")
}

/// Whether a live object that left the build may be deleted by the Kustomization of this name.
pub fn is_prunable(live: &Value, namespace: &str, name: &str) -> bool {
    let labels = live.pointer("/metadata/labels");
    let is_owned = |key: &str, value: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .and_then(Value::as_str)
            == Some(value)
    };
    is_owned(label::KUSTOMIZE_NAME, name)
        && is_owned(label::KUSTOMIZE_NAMESPACE, namespace)
        && !has(live, annotation::KUSTOMIZE_PRUNE, annotation::DISABLED)
        && !has(live, annotation::KUSTOMIZE_RECONCILE, annotation::DISABLED)
        && !has(live, annotation::KUSTOMIZE_SSA, "Ignore")
}

fn has(object: &Value, key: &str, value: &str) -> bool {
    ["annotations", "labels"].into_iter().any(|place| {
        let found = object
            .get("metadata")
            .and_then(|metadata| metadata.get(place)?.get(key)?.as_str());
        found.is_some_and(|found| found.eq_ignore_ascii_case(value))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(key: &str, value: &str) -> Value {
        json!({"metadata": {"annotations": {key: value}}})
    }

    #[test]
    fn markers_count_in_git_and_on_the_live_object() {
        let plain = json!({"metadata": {}});
        let off = object("kustomize.toolkit.fluxcd.io/reconcile", "Disabled");
        assert_eq!(decide(&plain, Some(&plain)), Decision::Apply);
        assert_eq!(decide(&off, None), Decision::Skip);
        assert_eq!(decide(&plain, Some(&off)), Decision::Skip);
        assert_eq!(
            decide(
                &plain,
                Some(&object("kustomize.toolkit.fluxcd.io/ssa", "ignore"))
            ),
            Decision::Skip
        );
        let once = object("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent");
        assert_eq!(
            (decide(&once, None), decide(&once, Some(&plain))),
            (Decision::Apply, Decision::Skip)
        );
    }

    #[test]
    fn only_what_the_kustomization_owns_is_pruned() {
        let labels = json!({"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "apps"});
        let mut live = json!({"metadata": {"labels": labels}});
        assert!(is_prunable(&live, "apps", "shop"));
        assert!(!is_prunable(&live, "apps", "other"));
        assert!(!is_prunable(&json!({"metadata": {}}), "apps", "shop"));
        live["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/prune": "disabled"});
        assert!(!is_prunable(&live, "apps", "shop"));
    }
}
