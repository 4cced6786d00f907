//! What the tasks say: each step with its time.

use std::io::Write as _;

use anyhow::{Context as _, Result};

/// One line for the reader.
pub(crate) fn say(line: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe no longer reads: there is nobody left to tell.
    let _ = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
}

/// Does a step, and says its name before it and its time after it.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format!("==> {name}"));
    let started = Stopwatch::start();
    let outcome = work();
    let end = if outcome.is_ok() { "done" } else { "failed" };
    say(format!("    {name}: {end} in {:.1} s", started.seconds()));
    outcome.with_context(|| format!("step failed: {name}"))
}

/// Wall-clock time for the reader; no decision depends on it.
#[expect(
    clippy::disallowed_types,
    reason = "tasks are no tests: nothing pauses their time"
)]
pub(crate) struct Stopwatch(std::time::Instant);

#[expect(
    clippy::disallowed_types,
    reason = "tasks are no tests: nothing pauses their time"
)]
impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn seconds(&self) -> f32 {
        self.0.elapsed().as_secs_f32()
    }
}
