//! The objects of one kind, as its watch tells them. Synchronous and without IO.
//!
//! An object that does not decode is kept as malformed, beside its neighbours, and what a relist
//! leaves out is gone only when the relist is complete.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;

use fairlead_translate::{ObjectKey, Objects};

/// A kind of object, reduced to what matters to us.
pub trait Kept: kube::Resource<DynamicType = ()> + PartialEq {
    /// Drops what changes without meaning, so that only meaningful changes are seen as such.
    fn reduce(&mut self);
}

/// An object that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Its uid.
    pub uid: Option<String>,
    /// Its generation.
    pub generation: i64,
    /// Why it could not be decoded.
    pub error: String,
}

/// The objects of one kind.
#[derive(Debug)]
pub struct Collection<K> {
    current: Known<K>,
    staged: Option<Known<K>>,
    complete: bool,
}

#[derive(Debug)]
struct Known<K> {
    good: Objects<K>,
    malformed: BTreeMap<ObjectKey, Malformed>,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self {
            good: BTreeMap::new(),
            malformed: BTreeMap::new(),
        }
    }
}

impl<K: PartialEq> PartialEq for Known<K> {
    fn eq(&self, other: &Self) -> bool {
        self.good == other.good && self.malformed == other.malformed
    }
}

impl<K> Default for Collection<K> {
    fn default() -> Self {
        Self {
            current: Known::default(),
            staged: None,
            complete: false,
        }
    }
}

impl<K: Kept> Collection<K> {
    /// Takes one event of the watch; whether it changed anything that matters.
    pub fn apply(&mut self, event: Event<DeserializeGuard<K>>) -> bool {
        match event {
            Event::Apply(object) => self.current.insert(object),
            Event::Delete(object) => self.current.remove(&key_of(&object)),
            Event::Init => {
                self.staged = Some(Known::default());
                false
            }
            Event::InitApply(object) => {
                self.staged.get_or_insert_default().insert(object);
                false
            }
            Event::InitDone => {
                let listed = self.staged.take().unwrap_or_default();
                let changed = !self.complete || listed != self.current;
                self.current = listed;
                self.complete = true;
                changed
            }
        }
    }

    /// Whether the first list has been read to its end.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The objects that decode.
    pub fn objects(&self) -> &Objects<K> {
        &self.current.good
    }

    /// The objects that do not decode.
    pub fn malformed(&self) -> &BTreeMap<ObjectKey, Malformed> {
        &self.current.malformed
    }
}

impl<K: Kept> Known<K> {
    fn insert(&mut self, object: DeserializeGuard<K>) -> bool {
        let key = key_of(&object);
        match object.0 {
            Ok(mut object) => {
                object.reduce();
                let was_malformed = self.malformed.remove(&key).is_some();
                if self.good.get(&key).is_some_and(|known| **known == object) {
                    return was_malformed;
                }
                self.good.insert(key, Arc::new(object));
                true
            }
            Err(invalid) => {
                let generation = invalid.metadata.generation.unwrap_or_default();
                let uid = invalid.metadata.uid;
                let malformed = Malformed {
                    uid,
                    generation,
                    error: invalid.error,
                };
                let was_good = self.good.remove(&key).is_some();
                let known = self.malformed.insert(key, malformed.clone());
                was_good || known != Some(malformed)
            }
        }
    }

    fn remove(&mut self, key: &ObjectKey) -> bool {
        let was_malformed = self.malformed.remove(key).is_some();
        self.good.remove(key).is_some() || was_malformed
    }
}

fn key_of<K: kube::Resource<DynamicType = ()>>(object: &DeserializeGuard<K>) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, json};

    use super::*;

    fn object(document: &Value) -> DeserializeGuard<Service> {
        serde_json::from_value(document.clone()).unwrap()
    }

    fn service(name: &str, port: &Value, version: &str) -> DeserializeGuard<Service> {
        object(&json!({
            "metadata": { "namespace": "shop", "name": name, "resourceVersion": version },
            "spec": { "ports": [{ "port": port }] },
        }))
    }

    fn names(collection: &Collection<Service>) -> Vec<String> {
        collection
            .objects()
            .keys()
            .map(|key| key.name.clone())
            .collect()
    }

    #[test]
    fn only_what_matters_counts_as_a_change() {
        let mut collection = Collection::default();
        assert!(collection.apply(Event::Apply(service("web", &json!(80), "1"))));
        assert!(!collection.apply(Event::Apply(service("web", &json!(80), "2"))));
        assert!(collection.apply(Event::Apply(service("web", &json!(81), "3"))));
    }

    #[test]
    fn a_malformed_object_is_kept_apart_and_harms_no_neighbour() {
        let mut collection = Collection::default();
        collection.apply(Event::Apply(service("good", &json!(80), "1")));
        assert!(collection.apply(Event::Apply(service("bad", &json!("eighty"), "2"))));
        assert_eq!(names(&collection), ["good"]);
        assert_eq!(collection.malformed().len(), 1);
        assert!(collection.apply(Event::Apply(service("bad", &json!(80), "3"))));
        assert_eq!(collection.malformed().len(), 0);
    }

    #[test]
    fn what_a_relist_leaves_out_is_gone_when_the_relist_is_complete() {
        let mut collection = Collection::default();
        collection.apply(Event::Apply(service("old", &json!(80), "1")));
        collection.apply(Event::Init);
        collection.apply(Event::InitApply(service("new", &json!(80), "2")));
        assert_eq!(names(&collection), ["old"]);
        assert!(!collection.is_complete());
        assert!(collection.apply(Event::InitDone));
        assert_eq!(names(&collection), ["new"]);
        assert!(collection.is_complete());
    }

    #[test]
    fn a_relist_without_news_changes_nothing() {
        let mut collection = Collection::default();
        collection.apply(Event::InitDone);
        collection.apply(Event::Apply(service("web", &json!(80), "1")));
        collection.apply(Event::Init);
        collection.apply(Event::InitApply(service("web", &json!(80), "9")));
        assert!(!collection.apply(Event::InitDone));
    }
}
