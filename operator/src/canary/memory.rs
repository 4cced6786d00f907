//! What was read for Canaries in flight, until a watch tells that it has changed.
//!
//! A rollout of thousands looks at the clock far more often than anything changes. What is
//! remembered here may only lead to waiting, or to a write of the Canary's status that its version
//! guards; whatever changes the cluster follows from what has just been read.

use std::collections::HashMap;

use fairlead_crds::canary::Canary;
use kube::ResourceExt as _;
use parking_lot::Mutex;

use super::Reference;
use super::sight::{Known, Part, Sight};

/// The Canaries in flight.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: Mutex<HashMap<Reference, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The Canary as it was last written.
    written: Option<Canary>,
    /// The generation that the plan was made of by which things were read.
    generation: Option<i64>,
    known: Known,
    /// What has changed since the last look began to read.
    changed: Vec<Part>,
}

impl Memory {
    /// The newest of what a watch has told and what was written, if that can be known.
    pub(super) fn newest(&self, canary: &Reference, watched: &Canary) -> Option<Canary> {
        let entries = self.entries.lock();
        let written = entries.get(canary)?.written.as_ref()?;
        let is_newer = version(watched)? > version(written)?;
        Some(if is_newer { watched } else { written }.clone())
    }

    /// What is known, by the plan of a generation. From now on changes are noted, until what is
    /// read is [`learned`](Self::learn).
    pub(super) fn recollect(&self, canary: &Reference, generation: Option<i64>) -> Known {
        let mut entries = self.entries.lock();
        let entry = entries.entry(canary.clone()).or_default();
        entry.changed.clear();
        if entry.generation != generation {
            entry.generation = generation;
            entry.known = Known::default();
        }
        entry.known.clone()
    }

    /// Keeps what was read, less what has changed in the meantime.
    pub(super) fn learn(&self, canary: &Reference, sight: &Sight) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(canary) else {
            return;
        };
        entry.known = sight.into();
        for part in &entry.changed {
            entry.known.forget(*part);
        }
    }

    /// Keeps the Canary as it was written.
    pub(super) fn wrote(&self, canary: &Reference, written: &Canary) {
        if let Some(entry) = self.entries.lock().get_mut(canary) {
            entry.written = Some(written.clone());
        }
    }

    /// A part has changed.
    pub(super) fn forget(&self, canary: &Reference, part: Part) {
        if let Some(entry) = self.entries.lock().get_mut(canary) {
            entry.known.forget(part);
            if !entry.changed.contains(&part) {
                entry.changed.push(part);
            }
        }
    }

    /// Whether nothing is remembered of a Canary.
    pub(super) fn is_new(&self, canary: &Reference) -> bool {
        !self.entries.lock().contains_key(canary)
    }

    /// Whether a part has changed since the last look at a Canary in flight began to read.
    pub(super) fn has_changed(&self, canary: &Reference, part: Part) -> bool {
        let entries = self.entries.lock();
        let entry = entries.get(canary);
        entry.is_some_and(|entry| entry.changed.contains(&part))
    }

    /// Anything may have changed.
    pub(super) fn forget_all(&self, canary: &Reference) {
        if let Some(entry) = self.entries.lock().get_mut(canary) {
            entry.known = Known::default();
        }
    }

    /// The Canary rests, or is gone.
    pub(super) fn release(&self, canary: &Reference) {
        self.entries.lock().remove(canary);
    }
}

/// Versions of one object grow; since Kubernetes 1.35 this is part of its API, before it was so.
fn version(canary: &Canary) -> Option<u128> {
    canary.resource_version()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::ObjectRef;
    use serde_json::json;

    use super::super::pods::{Endpoints, Slices};
    use super::super::sight::{Objects, Pair, Scalers};
    use super::*;
    use crate::router::Routes;

    fn reference() -> Reference {
        ObjectRef::new("web").within("shop")
    }

    fn sight() -> Sight {
        Sight {
            workloads: Pair {
                target: None,
                primary: None,
            },
            routes: Routes::default(),
            endpoints: Endpoints {
                primary: Slices::default(),
                canary: Slices::default(),
            },
            objects: Objects {
                services: [None, None, None],
                rules: [None, None],
            },
            scalers: Scalers::default(),
            configs: None,
        }
    }

    fn canary(version: &str) -> Canary {
        let canary = json!({
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": { "name": "web", "namespace": "shop", "resourceVersion": version },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "analysis": { "interval": "1m", "threshold": 1 },
            },
        });
        serde_json::from_value(canary).unwrap()
    }

    #[test]
    fn what_was_read_is_known_until_it_changes() {
        let (memory, web) = (Memory::default(), reference());
        assert!(memory.recollect(&web, Some(1)).is_nothing());
        memory.learn(&web, &sight());
        let known = format!("{:?}", memory.recollect(&web, Some(1)));
        assert!(known.contains("routes: Some") && known.contains("endpoints: Some"));
        memory.forget(&web, Part::Routes);
        let known = format!("{:?}", memory.recollect(&web, Some(1)));
        assert!(known.contains("routes: None") && known.contains("endpoints: Some"));
    }

    #[test]
    fn what_changes_while_it_is_read_is_not_known() {
        let (memory, web) = (Memory::default(), reference());
        memory.recollect(&web, Some(1));
        memory.forget(&web, Part::Endpoints);
        memory.learn(&web, &sight());
        let known = format!("{:?}", memory.recollect(&web, Some(1)));
        assert!(known.contains("routes: Some") && known.contains("endpoints: None"));
    }

    #[test]
    fn another_plan_reads_all_anew() {
        let (memory, web) = (Memory::default(), reference());
        memory.recollect(&web, Some(1));
        memory.learn(&web, &sight());
        assert!(memory.recollect(&web, Some(2)).is_nothing());
    }

    #[test]
    fn the_newest_canary_is_taken() {
        let (memory, web) = (Memory::default(), reference());
        assert!(memory.newest(&web, &canary("9")).is_none());
        memory.recollect(&web, Some(1));
        memory.wrote(&web, &canary("10"));
        let newest = |watched| memory.newest(&web, &canary(watched))?.resource_version();
        assert_eq!(newest("9").as_deref(), Some("10"));
        assert_eq!(newest("11").as_deref(), Some("11"));
        assert_eq!(newest("opaque"), None);
        memory.release(&web);
        assert!(memory.newest(&web, &canary("9")).is_none());
    }
}
