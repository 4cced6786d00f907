//! One immutable snapshot with its number, and what it means for each proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_translate::{Diagnostic, Severity, Snapshot, Translator};
use fairlead_xds::node::Node;
use fairlead_xds::resource::ResourceSet;
use tokio::time::Instant;

use crate::config::ObjectRef;
use crate::registry::Stated;
use crate::status::progress::{Object, Sequence, Uses};

/// A snapshot that streams serve.
#[derive(Debug)]
pub struct Published {
    sequence: Sequence,
    snapshot: Snapshot,
    translator: Translator,
    at: Instant,
}

/// What a snapshot means for one proxy.
#[derive(Debug, Clone)]
pub struct View {
    /// What the proxy should have.
    pub resources: Arc<ResourceSet>,
    /// The objects that it was made from.
    pub uses: Uses,
}

impl Published {
    /// Reads a snapshot that was taken at `at`.
    pub fn new(sequence: Sequence, snapshot: Snapshot, at: Instant) -> Self {
        let translator = Translator::new(&snapshot);
        Self {
            sequence,
            snapshot,
            translator,
            at,
        }
    }

    /// Its number.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// When it was taken.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The objects in it.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What it means for one proxy.
    pub fn view(&self, node: &Node) -> View {
        let translation = self.translator.translate(node);
        let uses: BTreeSet<ObjectRef> = translation
            .sources
            .values()
            .flatten()
            .map(ObjectRef::from)
            .collect();
        View {
            resources: Arc::new(translation.resources),
            uses: Arc::new(uses),
        }
    }

    /// Each object with what is wrong with it, whichever proxies use it.
    pub fn judge(&self, stated: BTreeMap<ObjectRef, Stated>) -> BTreeMap<ObjectRef, Object> {
        let mut judged: BTreeMap<ObjectRef, Object> = stated
            .into_iter()
            .map(|(object, stated)| (object, self.object(stated)))
            .collect();
        for diagnostic in self.translator.diagnostics() {
            let Some(object) = judged.get_mut(&ObjectRef::from(&diagnostic.source)) else {
                continue;
            };
            let Diagnostic {
                severity,
                field,
                message,
                ..
            } = diagnostic;
            let text = format!("{field}: {message}");
            match severity {
                Severity::Error => object.problems.push(text),
                Severity::Warning => object.hints.push(text),
            }
        }
        judged
    }

    fn object(&self, stated: Stated) -> Object {
        let Stated {
            uid,
            generation,
            malformed,
        } = stated;
        let problems: Vec<String> = malformed
            .into_iter()
            .map(|error| format!("the object cannot be decoded: {error}"))
            .collect();
        Object {
            uid,
            generation,
            since: self.sequence,
            problems,
            hints: Vec::new(),
        }
    }
}
