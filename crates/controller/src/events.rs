//! Publishes Kubernetes events; a failure to publish is logged and harms nothing else.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use fairlead_runtime::{clock, report};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{self, EventType, Reporter};
use kube::{Client, Resource};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ApiError;

/// The API server refuses longer notes.
const MAX_NOTE: usize = 1024;

/// Why an event happened: implemented by each controller's enum of reasons.
pub trait Reason: Copy + Send {
    /// CamelCase, stable: users filter by it.
    fn as_str(self) -> &'static str;
    /// What the controller did, CamelCase.
    fn action(self) -> &'static str;
    /// Whether somebody may have to look.
    fn is_warning(self) -> bool;
}

/// How long an event is counted again: as long as a recorder of kube remembers it.
const COUNTED_FOR: Duration = Duration::from_secs(6 * 60);

/// Publishes the events of one controller. Equal events within minutes are counted, not repeated.
///
/// A recorder of kube counts events of one reason together, whatever their notes are, and shows the
/// first note for all: so each note has a recorder of its own.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    reporter: Reporter,
    of_notes: Arc<Mutex<HashMap<u64, (Instant, events::Recorder)>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Events will come from `controller`, running as `instance` (the pod's name).
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let reporter = Reporter {
            controller: controller.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            client,
            reporter,
            of_notes: Arc::default(),
        }
    }

    /// The recorder of all events that are equal to this one.
    fn of(&self, event: &events::Event, object: &ObjectReference) -> events::Recorder {
        let mut key = DefaultHasher::new();
        (&object.uid, &event.reason, &event.note).hash(&mut key);
        let now = clock::instant();
        let mut of_notes = self.of_notes.lock();
        of_notes.retain(|_, (used, _)| now.duration_since(*used) < COUNTED_FOR);
        let (used, recorder) = of_notes.entry(key.finish()).or_insert_with(|| {
            let recorder = events::Recorder::new(self.client.clone(), self.reporter.clone());
            (now, recorder)
        });
        *used = now;
        recorder.clone()
    }

    /// Publishes an event about `object`. `note` is for people and must hold no secret.
    pub async fn publish<K>(&self, object: &K, reason: impl Reason, note: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        let event = events::Event {
            type_: if reason.is_warning() {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.as_str().to_owned(),
            note: Some(truncated(note.into())),
            action: reason.action().to_owned(),
            secondary: None,
        };
        let object_ref = object.object_ref(&());
        let recorder = self.of(&event, &object_ref);
        if let Err(error) = recorder.publish(&event, &object_ref).await {
            let error = ApiError::from(error);
            tracing::warn!(
                error = %report(&error),
                object.name = object.meta().name,
                reason = event.reason,
                "failed to publish an event"
            );
        }
    }
}

/// Cuts at a character's boundary.
fn truncated(mut note: String) -> String {
    const MARK: &str = "...";
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - MARK.len()));
        note.push_str(MARK);
    }
    note
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Method, Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;

    use super::*;

    #[derive(Clone, Copy)]
    struct Moved;

    impl Reason for Moved {
        fn as_str(self) -> &'static str {
            "Moved"
        }

        fn action(self) -> &'static str {
            "Move"
        }

        fn is_warning(self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn only_equal_events_are_counted_together() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let server = tower::service_fn(move |request: Request<Body>| {
            seen.lock().push(request.method().clone());
            let event = r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{}}"#;
            let answer = Response::new(Body::from(event.as_bytes().to_vec()));
            async move { Ok::<_, Infallible>(answer) }
        });
        let recorder = Recorder::new(Client::new(server, "default"), "controller", "pod");
        let object = ConfigMap::default();
        for note in ["traffic is 75/25", "traffic is 100/0", "traffic is 100/0"] {
            recorder.publish(&object, Moved, note).await;
        }
        assert_eq!(*asked.lock(), [Method::POST, Method::POST, Method::PATCH]);
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let note = truncated("\u{e9}".repeat(1000));
        assert!(note.len() <= MAX_NOTE);
        assert!(note.ends_with("..."));
        assert_eq!(truncated("short".to_owned()), "short");
    }
}
