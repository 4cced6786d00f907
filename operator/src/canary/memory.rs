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
use super::sight::{Change, Known, Part, Sight};
use crate::router::Routes;

/// The Canaries in flight.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: Mutex<HashMap<Reference, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The Canary as it was last read or written.
    latest: Option<Canary>,
    /// Uid and generation that the plan was made of by which things were read.
    planned: (Option<String>, Option<i64>),
    known: Known,
    /// What has changed since the last look began to read.
    changed: Vec<Change>,
}

impl Entry {
    /// Whether it was never looked at.
    const fn is_expected(&self) -> bool {
        self.latest.is_none()
    }

    /// Forgets what has changed since it was read.
    fn forget_changed(&mut self) {
        for change in &self.changed {
            self.known.forget_before(change);
        }
    }
}

impl Memory {
    /// The newest of what a watch has told and what was read or written, if that can be known.
    pub(super) fn newest(&self, canary: &Reference, watched: &Canary) -> Option<Canary> {
        let entries = self.entries.lock();
        let latest = entries.get(canary)?.latest.as_ref()?;
        let is_newer = version(watched)? > version(latest)?;
        Some(if is_newer { watched } else { latest }.clone())
    }

    /// Notes from now on what changes for a Canary that will be looked at the first time.
    pub(super) fn expect(&self, canary: &Reference) {
        self.entries.lock().entry(canary.clone()).or_default();
    }

    /// What is known, by the plan of this version of the Canary. From now on changes are noted, until
    /// what is read is [`learned`](Self::learn); of one that was [`expected`](Self::expect), since
    /// then.
    pub(super) fn recollect(&self, canary: &Reference, looked_at: &Canary) -> Known {
        let mut entries = self.entries.lock();
        let entry = entries.entry(canary.clone()).or_default();
        if !entry.is_expected() {
            entry.changed.clear();
        }
        entry.latest.get_or_insert_with(|| looked_at.clone());
        let planned = (looked_at.uid(), looked_at.metadata.generation);
        if entry.planned != planned {
            entry.planned = planned;
            entry.known = Known::default();
        }
        entry.known.clone()
    }

    /// Keeps what was read, less what has changed in the meantime.
    pub(super) fn learn(&self, canary: &Reference, sight: &Sight) {
        if let Some(entry) = self.entries.lock().get_mut(canary) {
            entry.known = sight.into();
            entry.forget_changed();
        }
    }

    /// Keeps the routes as they were written.
    pub(super) fn wrote_routes(&self, canary: &Reference, routes: Routes) {
        if let Some(entry) = self.entries.lock().get_mut(canary) {
            entry.known.set_routes(routes);
            entry.forget_changed();
        }
    }

    /// Keeps the Canary as the API server gave it out.
    pub(super) fn keep(&self, canary: &Reference, given: &Canary) {
        if let Some(entry) = self.entries.lock().get_mut(canary) {
            entry.latest = Some(given.clone());
        }
    }

    /// A part has changed: an object of it has this version now. What was read at that version
    /// already stays known.
    pub(super) fn forget(&self, canary: &Reference, part: Part, version: Option<&str>) {
        if let Some(entry) = self.entries.lock().get_mut(canary) {
            let version = version.map(ToOwned::to_owned);
            let change = Change { part, version };
            entry.known.forget_before(&change);
            if !entry.changed.contains(&change) {
                entry.changed.push(change);
            }
        }
    }

    /// Whether a Canary was not looked at since it was last released.
    pub(super) fn is_new(&self, canary: &Reference) -> bool {
        let entries = self.entries.lock();
        entries.get(canary).is_none_or(Entry::is_expected)
    }

    /// Whether a part has changed since the last look at a Canary in flight began to read.
    pub(super) fn has_changed(&self, canary: &Reference, part: Part) -> bool {
        let entries = self.entries.lock();
        let entry = entries.get(canary);
        entry.is_some_and(|entry| entry.changed.iter().any(|change| change.part == part))
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
        assert!(memory.recollect(&web, &canary("1")).is_nothing());
        memory.learn(&web, &sight());
        let known = format!("{:?}", memory.recollect(&web, &canary("1")));
        assert!(known.contains("routes: Some") && known.contains("endpoints: Some"));
        memory.forget(&web, Part::Routes, None);
        let known = format!("{:?}", memory.recollect(&web, &canary("1")));
        assert!(known.contains("routes: None") && known.contains("endpoints: Some"));
    }

    #[test]
    fn what_changes_while_it_is_read_is_not_known() {
        let (memory, web) = (Memory::default(), reference());
        memory.recollect(&web, &canary("1"));
        memory.forget(&web, Part::Endpoints, None);
        memory.learn(&web, &sight());
        let known = format!("{:?}", memory.recollect(&web, &canary("1")));
        assert!(known.contains("routes: Some") && known.contains("endpoints: None"));
    }

    #[test]
    fn what_was_written_or_read_at_a_version_is_no_news() {
        let (memory, web) = (Memory::default(), reference());
        let at = |version: &str| Routes {
            version: Some(version.to_owned()),
            ..Routes::default()
        };
        let knows =
            || format!("{:?}", memory.recollect(&web, &canary("1"))).contains("routes: Some");
        memory.recollect(&web, &canary("1"));
        memory.wrote_routes(&web, at("7"));
        memory.forget(&web, Part::Routes, Some("7"));
        assert!(knows());
        // The watch may tell before the write is answered.
        memory.forget(&web, Part::Routes, Some("8"));
        memory.wrote_routes(&web, at("8"));
        assert!(knows());
        memory.forget(&web, Part::Routes, Some("10"));
        memory.wrote_routes(&web, at("9"));
        assert!(!knows(), "somebody else has written since");
    }

    #[test]
    fn what_changes_before_the_first_look_is_not_known_after_it() {
        let (memory, web) = (Memory::default(), reference());
        memory.forget(&web, Part::Objects, None);
        memory.expect(&web);
        memory.forget(&web, Part::Endpoints, None);
        assert!(memory.is_new(&web));
        assert!(memory.recollect(&web, &canary("1")).is_nothing());
        assert!(!memory.is_new(&web));
        memory.learn(&web, &sight());
        let known = format!("{:?}", memory.recollect(&web, &canary("1")));
        assert!(known.contains("objects: Some") && known.contains("endpoints: None"));
    }

    #[test]
    fn another_plan_reads_all_anew() {
        let (memory, web) = (Memory::default(), reference());
        memory.recollect(&web, &canary("1"));
        memory.learn(&web, &sight());
        let mut later = canary("2");
        later.metadata.generation = Some(2);
        assert!(memory.recollect(&web, &later).is_nothing());
    }

    #[test]
    fn the_newest_canary_is_taken() {
        let (memory, web) = (Memory::default(), reference());
        assert!(memory.newest(&web, &canary("9")).is_none());
        memory.recollect(&web, &canary("1"));
        memory.keep(&web, &canary("10"));
        let newest = |watched| memory.newest(&web, &canary(watched))?.resource_version();
        assert_eq!(newest("9").as_deref(), Some("10"));
        assert_eq!(newest("11").as_deref(), Some("11"));
        assert_eq!(newest("opaque"), None);
        memory.release(&web);
        assert!(memory.newest(&web, &canary("9")).is_none());
    }
}
