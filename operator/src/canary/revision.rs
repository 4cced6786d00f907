//! The identity of what a target runs: its template as the cluster names it, and its configs. Pure.

use std::collections::BTreeMap;

use fairlead_rollout::Revision;
use sha2::{Digest, Sha256};

/// Joins a template's identity with the configs that it was seen with.
pub(super) fn compose(identity: &str, hashes: &BTreeMap<String, String>) -> Revision {
    if hashes.is_empty() {
        return Revision(identity.to_owned());
    }
    let mut digest = Sha256::new();
    for (key, hash) in hashes {
        digest.update(format!("{key}={hash}\n"));
    }
    let digest = hex::encode(&digest.finalize()[..4]);
    Revision(format!("{identity}-{digest}"))
}

/// The template's identity in a revision.
pub(super) fn identity(revision: &Revision) -> &str {
    revision
        .0
        .split_once('-')
        .map_or(revision.0.as_str(), |(identity, _)| identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_holds_the_template_and_changes_with_any_config() {
        let none = compose("abc", &BTreeMap::new());
        let one = compose("abc", &[("secret/a".to_owned(), "1".to_owned())].into());
        let other = compose("abc", &[("secret/a".to_owned(), "2".to_owned())].into());
        assert_eq!(none.0, "abc");
        assert_ne!(one, other);
        for revision in [&none, &one, &other] {
            assert_eq!(identity(revision), "abc");
        }
    }
}
