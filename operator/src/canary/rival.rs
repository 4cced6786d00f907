//! Which of two Canaries with the same target has it. Pure.

use fairlead_crds::canary::Canary;
use kube::ResourceExt;

/// The older Canary with the same target, by name: it was there first.
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
            && other.spec.target_ref == canary.spec.target_ref
            && other.name_any() != canary.name_any()
            && other.metadata.deletion_timestamp.is_none()
    })
    .map(rank)
    .filter(|other| *other < mine)
    .min()
    .map(|(_, name)| name)
}
