//! What was applied, as entries of a Flux inventory, and what of it to prune.
//!
//! An entry is `<namespace>_<name>_<group>_<kind>` with the API version beside it. RBAC names may
//! hold a `:`, which is written `__`.

use std::collections::BTreeSet;

use crate::resource::Id;

/// Writes the identity of an object.
pub fn entry_id(id: &Id) -> String {
    let name = if is_rbac(&id.group) {
        id.name.replace(':', "__")
    } else {
        id.name.clone()
    };
    format!("{}_{name}_{}_{}", id.namespace, id.group, id.kind)
}

/// An entry that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{id}` is not an inventory entry")]
pub struct MalformedEntry {
    /// The entry as it stands in the status.
    pub id: String,
}

/// Reads the identity of an object.
pub fn parse_entry(id: &str, version: &str) -> Result<Id, MalformedEntry> {
    let malformed = || MalformedEntry { id: id.to_owned() };
    let (namespace, rest) = id.split_once('_').ok_or_else(malformed)?;
    let (rest, kind) = rest.rsplit_once('_').ok_or_else(malformed)?;
    let (name, group) = rest.rsplit_once('_').ok_or_else(malformed)?;
    if name.is_empty() || kind.is_empty() {
        return Err(malformed());
    }
    let name = if is_rbac(group) {
        name.replace("__", ":")
    } else {
        name.to_owned()
    };
    Ok(Id {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name,
    })
}

/// What of the old inventory is not in the new one, whatever its API version.
pub fn stale(old: &[Id], new: &[Id]) -> Vec<Id> {
    let kept: BTreeSet<String> = new.iter().map(entry_id).collect();
    let mut stale: Vec<Id> = old
        .iter()
        .filter(|id| !kept.contains(&entry_id(id)))
        .cloned()
        .collect();
    stale.sort();
    stale.dedup();
    stale
}

fn is_rbac(group: &str) -> bool {
    group == "rbac.authorization.k8s.io"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_written_as_flux_writes_them() {
        let id = Id {
            version: "v1".into(),
            kind: "Namespace".into(),
            name: "apps".into(),
            ..Id::default()
        };
        assert_eq!(entry_id(&id), "_apps__Namespace");
        let role = Id {
            group: "rbac.authorization.k8s.io".into(),
            version: "v1".into(),
            kind: "ClusterRole".into(),
            name: "system:x".into(),
            ..Id::default()
        };
        assert_eq!(
            entry_id(&role),
            "_system__x_rbac.authorization.k8s.io_ClusterRole"
        );
        assert_eq!(parse_entry("a_b", "v1").unwrap_err().id, "a_b");
    }

    fn ids() -> impl Strategy<Value = Id> {
        (
            "[a-z0-9-]{0,6}",
            "[a-z0-9.:-]{1,8}",
            prop::sample::select(vec!["", "apps", "rbac.authorization.k8s.io"]),
            "[A-Z][a-z]{1,8}",
        )
            .prop_filter("only RBAC names hold a colon", |(_, name, group, _)| {
                !name.contains(':') || is_rbac(group)
            })
            .prop_map(|(namespace, name, group, kind)| Id {
                group: group.to_owned(),
                version: "v1".to_owned(),
                kind,
                namespace,
                name,
            })
    }

    proptest! {
        #[test]
        fn every_identity_survives_the_inventory(id in ids()) {
            prop_assert_eq!(parse_entry(&entry_id(&id), "v1"), Ok(id));
        }

        #[test]
        fn what_stays_is_never_stale_and_what_goes_always_is(old in prop::collection::vec(ids(), 0..8), new in prop::collection::vec(ids(), 0..8)) {
            let stale = stale(&old, &new);
            prop_assert!(stale.iter().all(|id| old.contains(id) && !new.contains(id)));
            prop_assert!(old.iter().all(|id| new.contains(id) || stale.contains(id)));
        }
    }
}
