//! Supervised tasks: the death of one ends the process, and shutdown waits for all.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::report;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Why the process has to end with a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A task returned an error.
    #[error("task `{task}` failed")]
    Failed {
        /// The task's name.
        task: String,
        /// What it returned.
        #[source]
        source: BoxError,
    },
    /// A task that must live until shutdown returned before.
    #[error("task `{task}` ended before shutdown")]
    Ended {
        /// The task's name.
        task: String,
    },
    /// A task panicked, which is a bug.
    #[error("task `{task}` panicked: {message}")]
    Panicked {
        /// The task's name.
        task: String,
        /// The panic's message.
        message: String,
    },
    /// Tasks were still running when the grace period was over.
    #[error("tasks did not stop within {grace:?}: {}", tasks.join(", "))]
    Stuck {
        /// How long shutdown waited.
        grace: Duration,
        /// Names of the tasks that still ran.
        tasks: Vec<String>,
    },
}

/// A handle to the process' tasks; clones share the same tasks.
///
/// # Guarantees
/// The first task that fails, panics or, for [`Tasks::spawn`], ends early cancels the token, so
/// that all others stop too, and [`Tasks::join`] returns why.
#[derive(Clone, Debug)]
pub struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<String, usize>,
    failure: Option<Error>,
}

/// May a task return before shutdown?
#[derive(Clone, Copy)]
enum Life {
    UntilShutdown,
    MayEnd,
}

impl Tasks {
    /// No tasks yet; they all stop when `token` is cancelled.
    pub fn new(token: CancellationToken) -> Self {
        Self {
            token,
            tracker: TaskTracker::new(),
            state: Arc::default(),
        }
    }

    /// The token that tells tasks to stop.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Starts a task that lives until shutdown: it must return soon after the token is cancelled,
    /// and its end before that ends the process.
    pub fn spawn<F, E>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.start(name.into(), Life::UntilShutdown, future);
    }

    /// Starts a task that may end at any time; its error still ends the process.
    ///
    /// Work that can fail without harm to others handles its own errors and returns `Ok`.
    pub fn spawn_job<F, E>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.start(name.into(), Life::MayEnd, future);
    }

    fn start<F, E>(&self, task: String, life: Life, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        *self.state.lock().running.entry(task.clone()).or_default() += 1;
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let outcome = AssertUnwindSafe(future).catch_unwind().await;
            tasks.ended(task, life, outcome.map(|result| result.map_err(Into::into)));
        });
    }

    fn ended(
        &self,
        task: String,
        life: Life,
        outcome: Result<Result<(), BoxError>, Box<dyn Any + Send>>,
    ) {
        let mut state = self.state.lock();
        if let Some(count) = state.running.get_mut(&task) {
            *count -= 1;
            if *count == 0 {
                state.running.remove(&task);
            }
        }
        let failure = match (outcome, life) {
            (Ok(Ok(())), Life::UntilShutdown) if !self.token.is_cancelled() => {
                Error::Ended { task }
            }
            (Ok(Ok(())), Life::UntilShutdown | Life::MayEnd) => return,
            (Ok(Err(source)), _) => Error::Failed { task, source },
            (Err(panic), _) => Error::Panicked {
                task,
                message: panic_message(panic.as_ref()),
            },
        };
        tracing::error!(error = %report(&failure), "stopping all tasks");
        state.failure.get_or_insert(failure);
        drop(state);
        self.token.cancel();
    }

    /// Waits until the token is cancelled, then until all tasks have ended, `grace` at most.
    ///
    /// # Errors
    /// The first failure of a task, else the names of those that did not stop in time.
    pub async fn join(self, grace: Duration) -> Result<(), Error> {
        self.token.cancelled().await;
        self.tracker.close();
        let stopped = tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_ok();
        let mut state = self.state.lock();
        match state.failure.take() {
            Some(failure) => Err(failure),
            None if stopped => Ok(()),
            None => Err(Error::Stuck {
                grace,
                tasks: state.running.keys().cloned().collect(),
            }),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    async fn until_shutdown(token: CancellationToken) -> Result<(), io::Error> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn joins_quietly_when_all_tasks_stop_at_shutdown() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("a", until_shutdown(tasks.token().clone()));
        tasks.token().cancel();
        tasks.join(GRACE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn stops_all_when_one_task_fails_and_names_it() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("steady", until_shutdown(tasks.token().clone()));
        tasks.spawn("broken", async { Err(io::Error::other("no disk")) });
        let error = tasks.join(GRACE).await.unwrap_err();
        assert_eq!(report(&error).to_string(), "task `broken` failed: no disk");
    }

    #[tokio::test(start_paused = true)]
    async fn treats_an_early_end_as_failure_unless_it_is_a_job() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn_job("job", async { Ok::<_, io::Error>(()) });
        tasks.spawn("server", async { Ok::<_, io::Error>(()) });
        let error = tasks.join(GRACE).await.unwrap_err();
        assert!(matches!(error, Error::Ended { task } if task == "server"));
    }

    #[tokio::test(start_paused = true)]
    async fn reports_a_panic_as_failure() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("bug", async {
            assert_eq!(1, 2, "one is not two");
            Ok::<_, io::Error>(())
        });
        let error = tasks.join(GRACE).await.unwrap_err();
        assert!(
            matches!(error, Error::Panicked { message, .. } if message.contains("one is not two"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn names_tasks_that_do_not_stop() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("deaf", std::future::pending::<Result<(), io::Error>>());
        tasks.token().cancel();
        let error = tasks.join(GRACE).await.unwrap_err();
        assert!(matches!(error, Error::Stuck { tasks, .. } if tasks == ["deaf"]));
    }
}
