//! Which Canaries an object concerns, by its name. Kept from their watch, so that neither an event
//! nor a look costs more because there are more Canaries.

use std::collections::{BTreeSet, HashMap, HashSet};

use fairlead_crds::canary::Canary;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;

use super::{Guarded, Reference};
use crate::router::apex;

/// Namespace and name.
type Key = (String, String);

/// The Canaries that can be read, by what they name.
#[derive(Debug, Default)]
pub(super) struct Directory {
    entries: Mutex<Entries>,
}

/// What a Canary names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    target: String,
    apex: String,
    scaler: Option<String>,
    /// The configs that its target uses, such as `configmap/settings`.
    configs: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Entries {
    /// What each Canary names.
    canaries: HashMap<Key, Names>,
    /// Names of Canaries by namespace and target.
    targets: HashMap<Key, BTreeSet<String>>,
    /// Names of Canaries by namespace and apex.
    apexes: HashMap<Key, BTreeSet<String>>,
    /// Names of Canaries by namespace and autoscaler of the target.
    scalers: HashMap<Key, BTreeSet<String>>,
    /// Names of Canaries by namespace and config of the target.
    configs: HashMap<Key, BTreeSet<String>>,
    /// What a list that is being read has named so far.
    listed: HashSet<Key>,
    /// Whether a target has gone since somebody asked.
    has_lost: bool,
}

impl Directory {
    /// Takes note of what a watch tells.
    pub(super) fn note(&self, event: &Event<Guarded>) {
        let mut entries = self.entries.lock();
        match event {
            Event::Init => entries.listed.clear(),
            Event::InitApply(canary) => {
                let key = key(canary);
                entries.listed.insert(key.clone());
                entries.replace(key, readable(canary));
            }
            Event::InitDone => entries.forget_unlisted(),
            Event::Apply(canary) => entries.replace(key(canary), readable(canary)),
            Event::Delete(canary) => entries.replace(key(canary), None),
        }
    }

    /// The Canaries of a target.
    pub(super) fn of_target(&self, namespace: &str, target: &str) -> Vec<Reference> {
        self.entries
            .lock()
            .find(namespace, &[Some(target)], By::Target)
    }

    /// The Canaries whose target or primary a workload is.
    pub(super) fn of_workload(&self, namespace: &str, name: &str) -> Vec<Reference> {
        let names = [Some(name), name.strip_suffix("-primary")];
        self.entries.lock().find(namespace, &names, By::Target)
    }

    /// The Canaries whose Services or routes have this name.
    pub(super) fn of_service(&self, namespace: &str, name: &str) -> Vec<Reference> {
        let names = [
            Some(name),
            name.strip_suffix("-primary"),
            name.strip_suffix("-canary"),
        ];
        self.entries.lock().find(namespace, &names, By::Apex)
    }

    /// The Canaries whose target or primary an autoscaler scales.
    pub(super) fn of_scaler(&self, namespace: &str, name: &str) -> Vec<Reference> {
        let names = [Some(name), name.strip_suffix("-primary")];
        self.entries.lock().find(namespace, &names, By::Scaler)
    }

    /// The Canaries whose target uses a config, such as `configmap/settings`.
    pub(super) fn of_config(&self, namespace: &str, config: &str) -> Vec<Reference> {
        self.entries
            .lock()
            .find(namespace, &[Some(config)], By::Config)
    }

    /// Namespace and name of every target, if one has gone since this was last asked.
    pub(super) fn targets_after_loss(&self) -> Option<BTreeSet<Key>> {
        let mut entries = self.entries.lock();
        std::mem::take(&mut entries.has_lost).then(|| entries.targets.keys().cloned().collect())
    }
}

/// What a Canary is looked up by.
#[derive(Clone, Copy)]
enum By {
    Target,
    Apex,
    Scaler,
    Config,
}

impl Entries {
    fn find(&self, namespace: &str, names: &[Option<&str>], by: By) -> Vec<Reference> {
        let index = match by {
            By::Target => &self.targets,
            By::Apex => &self.apexes,
            By::Scaler => &self.scalers,
            By::Config => &self.configs,
        };
        let names = names.iter().flatten();
        let found = names.filter_map(|name| index.get(&(namespace.to_owned(), (*name).to_owned())));
        found
            .flatten()
            .map(|canary| ObjectRef::new(canary).within(namespace))
            .collect()
    }

    /// Puts a Canary where it belongs now; nowhere when it cannot be read or is gone.
    fn replace(&mut self, key: Key, canary: Option<&Canary>) {
        let (namespace, name) = key.clone();
        let new = canary.map(Names::of);
        let old = match new.clone() {
            Some(new) => self.canaries.insert(key, new),
            None => self.canaries.remove(&key),
        };
        if old == new {
            return;
        }
        let within = |other: String| (namespace.clone(), other);
        if let Some(old) = old {
            self.has_lost |= leave(&mut self.targets, &within(old.target), &name);
            leave(&mut self.apexes, &within(old.apex), &name);
            if let Some(scaler) = old.scaler {
                leave(&mut self.scalers, &within(scaler), &name);
            }
            for config in old.configs {
                leave(&mut self.configs, &within(config), &name);
            }
        }
        if let Some(new) = new {
            join(&mut self.targets, within(new.target), &name);
            join(&mut self.apexes, within(new.apex), &name);
            if let Some(scaler) = new.scaler {
                join(&mut self.scalers, within(scaler), &name);
            }
            for config in new.configs {
                join(&mut self.configs, within(config), &name);
            }
        }
    }

    fn forget_unlisted(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let known = self.canaries.keys();
        let gone: Vec<Key> = known
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.replace(key, None);
        }
    }
}

fn join(index: &mut HashMap<Key, BTreeSet<String>>, at: Key, canary: &str) {
    index.entry(at).or_default().insert(canary.to_owned());
}

/// Takes a Canary out of an index; whether it was the last one there.
fn leave(index: &mut HashMap<Key, BTreeSet<String>>, at: &Key, canary: &str) -> bool {
    let Some(names) = index.get_mut(at) else {
        return false;
    };
    names.remove(canary);
    let is_empty = names.is_empty();
    if is_empty {
        index.remove(at);
    }
    is_empty
}

fn key(canary: &Guarded) -> Key {
    (canary.namespace().unwrap_or_default(), canary.name_any())
}

fn readable(canary: &Guarded) -> Option<&Canary> {
    canary.0.as_ref().ok()
}

impl Names {
    fn of(canary: &Canary) -> Self {
        let spec = &canary.spec;
        let scaler = spec.autoscaler_ref.as_ref();
        let tracked = canary.status.iter();
        let tracked = tracked.flat_map(|status| status.tracked_configs.keys());
        Self {
            target: spec.target_ref.name.clone(),
            apex: apex(canary).to_owned(),
            scaler: scaler.map(|scaler| scaler.name.clone()),
            configs: tracked.cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canary(name: &str, target: &str, service: Option<&str>) -> Guarded {
        let object = json!({
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": target },
                "service": { "port": 80, "name": service },
                "analysis": { "interval": "1m", "threshold": 1 },
            },
        });
        let canary: Guarded = serde_json::from_value(object).unwrap();
        canary.0.as_ref().unwrap();
        canary
    }

    fn names(found: Vec<Reference>) -> Vec<String> {
        found.into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn a_canary_is_found_by_its_workloads_and_services() {
        let directory = Directory::default();
        directory.note(&Event::Apply(canary("web", "web", None)));
        directory.note(&Event::Apply(canary("cart", "cart-v2", Some("cart"))));
        let workload = |name| names(directory.of_workload("shop", name));
        assert_eq!(workload("web"), ["web"]);
        assert_eq!(workload("cart-v2-primary"), ["cart"]);
        assert!(workload("cart").is_empty());
        let service = |name| names(directory.of_service("shop", name));
        assert_eq!(service("cart"), ["cart"]);
        assert_eq!(service("cart-canary"), ["cart"]);
        assert_eq!(service("web-primary"), ["web"]);
        assert!(directory.of_service("other", "web").is_empty());
    }

    #[test]
    fn a_canary_is_found_by_the_configs_that_its_target_uses_now() {
        let directory = Directory::default();
        let uses = |configs: &[&str]| {
            let mut canary = canary("web", "web", None);
            let hashes = configs
                .iter()
                .map(|config| ((*config).to_owned(), "1".to_owned()));
            let status = canary.0.as_mut().unwrap().status.get_or_insert_default();
            status.tracked_configs = hashes.collect();
            directory.note(&Event::Apply(canary));
        };
        let found = |config| names(directory.of_config("shop", config));
        uses(&["configmap/colors", "secret/key"]);
        assert_eq!(
            (found("configmap/colors"), found("secret/key")),
            (vec!["web".to_owned()], vec!["web".to_owned()])
        );
        assert!(found("secret/colors").is_empty());
        uses(&["secret/key"]);
        assert!(found("configmap/colors").is_empty());
    }

    #[test]
    fn an_edit_moves_it_and_a_deletion_takes_it_out() {
        let directory = Directory::default();
        directory.note(&Event::Apply(canary("web", "web", None)));
        directory.note(&Event::Apply(canary("other", "web", None)));
        assert_eq!(names(directory.of_target("shop", "web")), ["other", "web"]);
        directory.note(&Event::Apply(canary("web", "web-v2", None)));
        assert_eq!(names(directory.of_target("shop", "web")), ["other"]);
        assert_eq!(directory.targets_after_loss(), None);
        directory.note(&Event::Delete(canary("other", "web", None)));
        assert!(directory.of_target("shop", "web").is_empty());
        let left = BTreeSet::from([("shop".to_owned(), "web-v2".to_owned())]);
        assert_eq!(directory.targets_after_loss(), Some(left));
        assert_eq!(directory.targets_after_loss(), None);
    }

    #[test]
    fn a_new_list_drops_what_it_does_not_name() {
        let directory = Directory::default();
        directory.note(&Event::Apply(canary("web", "web", None)));
        directory.note(&Event::Apply(canary("cart", "cart", None)));
        directory.note(&Event::Init);
        directory.note(&Event::InitApply(canary("cart", "cart", None)));
        assert_eq!(names(directory.of_target("shop", "web")), ["web"]);
        directory.note(&Event::InitDone);
        assert!(directory.of_target("shop", "web").is_empty());
        assert_eq!(names(directory.of_target("shop", "cart")), ["cart"]);
    }
}
