//! All workers together, as the control thread sees them.

use std::sync::Arc;
use std::time::Duration;

use fairlead_runtime::tasks::Tasks;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::config::Snapshot;
use crate::telemetry::Metrics;
use crate::worker::{Command, Handle};

/// A worker that does not answer in this time is stuck, and the rest goes on without its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The workers.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    tasks: Tasks,
    current: Mutex<Arc<Snapshot>>,
}

impl Workers {
    /// Running workers; `tasks` supervises what is done for them in the background.
    pub fn new(handles: Vec<Handle>, tasks: Tasks) -> Self {
        Self {
            handles,
            tasks,
            current: Mutex::default(),
        }
    }

    /// Who supervises background work.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// What the workers run on.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.lock())
    }

    /// Lets each worker run on `snapshot`, and waits until it does; tells what went wrong.
    pub async fn apply(&self, snapshot: Arc<Snapshot>) -> Vec<String> {
        *self.current.lock() = Arc::clone(&snapshot);
        let replies = self
            .ask(|done| Command::Apply(Arc::clone(&snapshot), done))
            .await;
        let mut problems: Vec<String> = replies.into_iter().flatten().collect();
        problems.sort_unstable();
        problems.dedup();
        problems
    }

    /// What all workers have counted.
    pub async fn collect(&self) -> Metrics {
        let mut total = Metrics::default();
        for metrics in self.ask(Command::Collect).await {
            total.merge(&metrics);
        }
        total
    }

    /// What each worker knows about its clusters.
    pub async fn clusters(&self) -> Vec<String> {
        self.ask(Command::Clusters).await
    }

    /// Lets all workers end, with what they still carry, and waits for them.
    pub async fn stop(&self) {
        for handle in &self.handles {
            handle.send(Command::Stop).await;
        }
        for handle in &self.handles {
            if let Err(error) = handle.join() {
                tracing::error!(%error, "a worker ended badly");
            }
        }
    }

    async fn ask<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<T> {
        let mut pending = Vec::new();
        for handle in &self.handles {
            let (reply, answer) = oneshot::channel();
            if handle.send(command(reply)).await {
                pending.push(answer);
            }
        }
        let mut answers = Vec::new();
        for answer in pending {
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(_gone)) => {}
                Err(_elapsed) => tracing::warn!("a worker does not answer"),
            }
        }
        answers
    }
}
