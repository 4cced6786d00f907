//! Questions in flight: hooks and metrics are asked beside the reconciler, never inside it.
//!
//! A slow webhook must not keep traffic on a canary that has just died. The reconciler leaves a
//! question here and is woken by its answer; a restart forgets both, and the stored state asks
//! again with the same key.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use fairlead_rollout::{ProbeKey, Verdict};
use fairlead_runtime::tasks::Tasks;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Reference;
use crate::analysis::Finding;

/// An answer, with what explains it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    /// The answer.
    pub(super) verdict: Verdict,
    /// What each metric said, for a question to metrics.
    pub(super) findings: Vec<Finding>,
    /// When it was asked.
    pub(super) asked: Timestamp,
}

#[derive(Debug)]
enum Entry {
    Asked,
    Answered(Reply),
}

type Questions = Arc<Mutex<HashMap<(String, ProbeKey), Entry>>>;

/// Where questions lie until they are answered.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    questions: Questions,
    wake: mpsc::UnboundedSender<Reference>,
    tasks: Tasks,
}

impl Desk {
    /// A desk whose answers wake Canaries through the returned receiver.
    ///
    /// The channel needs no bound: at most one question of each Canary is open, and its counts
    /// wake it no more often than proxies are read.
    pub(super) fn new(tasks: Tasks) -> (Self, mpsc::UnboundedReceiver<Reference>) {
        let (wake, woken) = mpsc::unbounded_channel();
        (
            Self {
                questions: Questions::default(),
                wake,
                tasks,
            },
            woken,
        )
    }

    /// Asks a question, unless it is asked already.
    pub(super) fn ask<F>(&self, uid: &str, canary: Reference, key: ProbeKey, answer: F)
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let place = (uid.to_owned(), key);
        {
            let mut questions = self.questions.lock();
            if questions.contains_key(&place) {
                return;
            }
            questions.insert(place.clone(), Entry::Asked);
        }
        let (questions, wake) = (Arc::clone(&self.questions), self.wake.clone());
        self.tasks.spawn_job("probe", async move {
            let reply = answer.await;
            if let Some(entry) = questions.lock().get_mut(&place) {
                *entry = Entry::Answered(reply);
            }
            if wake.send(canary).is_err() {
                tracing::debug!("an answer came after the controller had stopped");
            }
            Ok::<_, Infallible>(())
        });
    }

    /// Whether a question lies here, answered or not.
    pub(super) fn has(&self, uid: &str, key: &ProbeKey) -> bool {
        let place = (uid.to_owned(), key.clone());
        self.questions.lock().contains_key(&place)
    }

    /// Wakes a Canary, for what comes in without having been asked for.
    pub(super) fn waker(&self, canary: Reference) -> Arc<dyn Fn() + Send + Sync> {
        let wake = self.wake.clone();
        Arc::new(move || {
            if wake.send(canary.clone()).is_err() {
                tracing::debug!("counts came after the controller had stopped");
            }
        })
    }

    /// The answers that have come for a Canary.
    pub(super) fn answers(&self, uid: &str) -> Vec<(ProbeKey, Reply)> {
        let questions = self.questions.lock();
        let answered = questions
            .iter()
            .filter_map(|((owner, key), entry)| match entry {
                Entry::Answered(reply) if owner == uid => Some((key.clone(), reply.clone())),
                Entry::Answered(_) | Entry::Asked => None,
            });
        answered.collect()
    }

    /// Forgets all of a Canary's questions but the one that is still open.
    pub(super) fn clear(&self, uid: &str, open: Option<&ProbeKey>) {
        self.questions
            .lock()
            .retain(|(owner, key), _| owner != uid || open == Some(key));
    }
}
