//! Writes into the status of mesh objects how far they have come. Only the leader does.
//!
//! Level-triggered: a change of the bookkeeping leads to one pass over it, so that no queue can
//! grow; an object whose status already says what is so is not written again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fairlead_crds::condition::ConditionType;
use fairlead_runtime::clock;
use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Tracker;
use super::others::Others;
use super::progress::{Object, Verdict};
use super::report::Report;
use crate::ads::connections::RECONNECT;
use crate::config::{self, ObjectRef};
use crate::metrics::{ByOutcome, Metrics};

const FIELD_MANAGER: &str = "fairlead-control-plane";
/// How long an object may be on its way before its status says so: longer than any healthy push.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for a writer that does not know yet what the status says: after a restart of the control
/// plane, proxies take some seconds to be back.
const FIRST_PATIENCE: Duration = Duration::from_secs(18);
/// Pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Writes in flight.
const WRITES: usize = 8;
/// Pause before an object that is on its way is looked at again without an event.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Pause before replicas are asked again whose proxies have not accepted.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The writer.
pub struct Writer {
    client: Client,
    tracker: Arc<Tracker>,
    others: Others,
    metrics: Metrics,
    memory: BTreeMap<ObjectRef, Memory>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// What the writer remembers of an object.
#[derive(Debug)]
struct Memory {
    /// Tells an object from a later one of the same name.
    uid: Option<String>,
    written: Option<(Report, Vec<Condition>)>,
    /// The generation that is on its way, and since when.
    pending: Option<(i64, Instant)>,
}

/// An object whose status may not say what is so.
pub(super) struct Candidate {
    pub(super) object: ObjectRef,
    pub(super) state: Object,
    pub(super) verdict: Verdict,
}

impl Writer {
    /// A writer that remembers nothing: a new leader reads what the last one wrote.
    pub fn new(client: Client, tracker: Arc<Tracker>, others: Others, metrics: Metrics) -> Self {
        Self {
            client,
            tracker,
            others,
            metrics,
            memory: BTreeMap::new(),
        }
    }

    /// Runs until shutdown.
    ///
    /// # Errors
    /// None: a write that fails is logged and tried again.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Infallible> {
        let expect_until = clock::instant() + RECONNECT;
        loop {
            let (candidates, others_lag) = self.ask(expect_until).await;
            let now = clock::instant();
            let (due, patient) = self.due(candidates, now);
            let complete = self.write_all(due).await;
            let retry = (!complete).then(|| now + RETRY);
            let ask = others_lag.then(|| now + ASK_AGAIN);
            let wake = [patient, retry, ask].into_iter().flatten().min();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.tracker.changed.notified() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// The candidates with what all replicas know of them; whether another replica is behind.
    async fn ask(&mut self, expect_until: Instant) -> (Vec<Candidate>, bool) {
        let now = clock::instant();
        if now < expect_until {
            // A new leader knows only its own streams. The proxies of a replica that is gone run
            // on what that one told them, and are about to connect.
            let proxies = self.others.proxies();
            self.tracker.adjust(|progress| {
                for name in proxies {
                    progress.expect(name.into(), expect_until);
                }
            });
        }
        let open = self.candidates(now);
        let answers = self.others.ask(&open).await;
        self.tracker.adjust(|progress| {
            progress.retain_absent(now, |name| !answers.has(name));
            for name in answers.absent() {
                progress.expect(name.into(), now + RECONNECT);
            }
        });
        let mut candidates = self.candidates(clock::instant());
        let mut others_lag = false;
        for candidate in &mut candidates {
            let merged = answers.merge(candidate);
            others_lag |= merged != candidate.verdict;
            candidate.verdict = merged;
        }
        (candidates, others_lag)
    }

    /// Objects whose status may have to say something else.
    fn candidates(&mut self, now: Instant) -> Vec<Candidate> {
        let memory = &mut self.memory;
        self.tracker.read(|progress| {
            memory.retain(|object, memory| {
                let known = progress.object(object);
                known.is_some_and(|known| known.uid == memory.uid)
            });
            let news = progress.objects().filter_map(|(object, state)| {
                let written = memory
                    .get(object)
                    .and_then(|memory| memory.written.as_ref());
                let written = written.map(|(report, _)| report);
                // What is live stays so, although a proxy that is only starting has yet to hear of
                // it: it gets the newest when it asks for the first time.
                let live = Report::of(&Verdict::Live, state);
                if written == Some(&live) && !progress.is_refused(object) {
                    return None;
                }
                let verdict = progress.verdict(object, now)?;
                let is_news = written != Some(&Report::of(&verdict, state));
                let (object, state) = (object.clone(), state.clone());
                is_news.then_some(Candidate {
                    object,
                    state,
                    verdict,
                })
            });
            news.collect()
        })
    }

    /// What to write now, and when to look again without a change.
    fn due(
        &mut self,
        candidates: Vec<Candidate>,
        now: Instant,
    ) -> (Vec<(ObjectRef, Report)>, Option<Instant>) {
        let mut due = Vec::new();
        let mut wake: Option<Instant> = None;
        for Candidate {
            object,
            state,
            verdict,
        } in candidates
        {
            let memory = self
                .memory
                .entry(object.clone())
                .or_insert_with(|| Memory::of(&state));
            if matches!(verdict, Verdict::Pending { .. }) {
                // Proxies without a stream stop counting without an event.
                wake = Some(now + LOOK_AGAIN);
            }
            if memory.is_patient(&verdict, state.generation, now) {
                continue;
            }
            let report = Report::of(&verdict, &state);
            if memory
                .written
                .as_ref()
                .is_none_or(|(written, _)| *written != report)
            {
                due.push((object, report));
            }
        }
        (due, wake)
    }

    /// Whether all writes succeeded.
    async fn write_all(&mut self, due: Vec<(ObjectRef, Report)>) -> bool {
        let this = &*self;
        let written: Vec<_> = stream::iter(due)
            .map(|(object, report)| async move {
                let conditions = this.write(&object, &report).await;
                (object, report, conditions)
            })
            .buffer_unordered(WRITES)
            .collect()
            .await;
        let mut complete = true;
        for (object, report, conditions) in written {
            match conditions {
                Some(conditions) => {
                    if let Some(memory) = self.memory.get_mut(&object) {
                        memory.written = Some((report, conditions));
                    }
                }
                None => complete = false,
            }
        }
        complete
    }

    async fn write(&self, object: &ObjectRef, report: &Report) -> Option<Vec<Condition>> {
        let outcome = self.try_write(object, report).await;
        let (label, conditions) = match outcome {
            Ok(conditions) => ("written", Some(conditions)),
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                // Deleted meanwhile; the next snapshot will not have it.
                ("gone", Some(Vec::new()))
            }
            Err(error) => {
                let error = fairlead_runtime::report(&error).to_string();
                tracing::warn!(%object, error, "failed to write the status");
                ("failed", None)
            }
        };
        self.metrics
            .status_writes
            .get_or_create(&ByOutcome { outcome: label })
            .inc();
        conditions
    }

    async fn try_write(
        &self,
        object: &ObjectRef,
        report: &Report,
    ) -> Result<Vec<Condition>, kube::Error> {
        let Some(resource) = config::resource(object.kind) else {
            return Ok(Vec::new());
        };
        let (namespace, name) = (object.key.namespace.as_str(), object.key.name.as_str());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let remembered = self
            .memory
            .get(object)
            .and_then(|memory| memory.written.as_ref());
        let previous = match remembered {
            Some((_, conditions)) => conditions.clone(),
            None => own_conditions(&api.get_status(name).await?),
        };
        let conditions = report.conditions(previous, clock::now());
        let messages: Vec<_> = report
            .levels
            .iter()
            .map(|level| json!({ "type": { "name": "Misconfigured", "code": "FL0001" }, "level": level }))
            .collect();
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": name, "namespace": namespace },
            "status": {
                "observedGeneration": report.generation,
                "conditions": conditions,
                "validationMessages": messages,
            },
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch_status(name, &params, &Patch::Apply(&patch))
            .await?;
        Ok(conditions)
    }
}

impl Memory {
    fn of(object: &Object) -> Self {
        Self {
            uid: object.uid.clone(),
            written: None,
            pending: None,
        }
    }

    /// Whether a generation that is on its way is still left without a word.
    fn is_patient(&mut self, verdict: &Verdict, generation: i64, now: Instant) -> bool {
        if !matches!(verdict, Verdict::Pending { .. }) {
            self.pending = None;
            return false;
        }
        let since = match self.pending {
            Some((pending, since)) if pending == generation => since,
            _ => now,
        };
        self.pending = Some((generation, since));
        let patience = if self.written.is_some() {
            PATIENCE
        } else {
            FIRST_PATIENCE
        };
        now < since + patience
    }
}

/// The conditions that are ours; those of other authors stay theirs.
fn own_conditions(object: &DynamicObject) -> Vec<Condition> {
    let conditions = object
        .data
        .get("status")
        .and_then(|status| status.get("conditions"));
    conditions
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|condition| condition["type"] == ConditionType::Reconciled.as_str())
        // One that lacks fields is not of our making, and is replaced.
        .filter_map(|condition| serde_json::from_value(condition.clone()).ok())
        .collect()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_under_way_is_reported_only_after_a_while() {
        let verdict = Verdict::Pending {
            waiting: vec!["a".into()],
        };
        let start = clock::instant();
        let mut memory = Memory {
            uid: None,
            written: None,
            pending: None,
        };
        assert!(memory.is_patient(&verdict, 1, start));
        assert!(!memory.is_patient(&verdict, 1, start + FIRST_PATIENCE));
        assert!(memory.is_patient(&verdict, 2, start + FIRST_PATIENCE));
    }
}
