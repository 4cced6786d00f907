//! Publishes Kubernetes events; a failure to publish is logged and harms nothing else.

use fairlead_runtime::report;
use kube::runtime::events::{self, EventType, Reporter};
use kube::{Client, Resource};

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

/// Publishes the events of one controller. Equal events within minutes are counted, not repeated.
#[derive(Clone)]
pub struct Recorder {
    inner: events::Recorder,
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
            inner: events::Recorder::new(client, reporter),
        }
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
        if let Err(error) = self.inner.publish(&event, &object.object_ref(&())).await {
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
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        let note = truncated("\u{e9}".repeat(1000));
        assert!(note.len() <= MAX_NOTE);
        assert!(note.ends_with("..."));
        assert_eq!(truncated("short".to_owned()), "short");
    }
}
