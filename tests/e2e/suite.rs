//! Runs stories in order, says each with its time, and counts.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Result;
use fairlead_runtime::clock;
use fairlead_tests::console::say;
use futures::future::LocalBoxFuture;

/// The stories told so far.
#[derive(Debug, Default)]
pub(crate) struct Suite {
    /// Parts of the names that are asked for; all when empty.
    only: Vec<String>,
    passed: usize,
    failed: Vec<String>,
    filtered: usize,
    /// The story that the rest cannot do without.
    missing: Option<String>,
}

impl Suite {
    /// A suite of the stories whose names hold one of these texts, or of all.
    pub(crate) fn of(only: Vec<String>) -> Self {
        Self {
            only,
            ..Self::default()
        }
    }

    /// Tells one story, if it is asked for.
    pub(crate) async fn story<T>(
        &mut self,
        name: &str,
        story: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        if self.only.is_empty() || self.only.iter().any(|part| name.contains(part)) {
            return self.told(name, story).await;
        }
        self.filtered += 1;
        None
    }

    async fn told<T>(&mut self, name: &str, story: impl Future<Output = Result<T>>) -> Option<T> {
        if let Some(missing) = &self.missing {
            say(format!(
                "test {name} ... FAILED (not told: {missing:?} failed)"
            ));
            self.failed.push(name.to_owned());
            return None;
        }
        let start = clock::instant();
        let outcome = story.await;
        let took = (clock::instant() - start).as_secs_f64();
        match outcome {
            Ok(value) => {
                say(format!("test {name} ... ok ({took:.1} s)"));
                self.passed += 1;
                Some(value)
            }
            Err(error) => {
                say(format!("test {name} ... FAILED ({took:.1} s)\n{error:?}"));
                self.failed.push(name.to_owned());
                None
            }
        }
    }

    /// Tells a story that all later ones build on, asked for or not.
    pub(crate) fn needed<'a, T: 'a>(
        &'a mut self,
        name: &'a str,
        story: impl Future<Output = Result<T>> + 'a,
    ) -> LocalBoxFuture<'a, Option<T>> {
        Box::pin(async move {
            let outcome = self.told(name, story).await;
            if outcome.is_none() && self.missing.is_none() {
                self.missing = Some(name.to_owned());
            }
            outcome
        })
    }

    /// How many failed so far.
    pub(crate) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Prints the counts.
    pub(crate) fn finish(self) -> ExitCode {
        for name in &self.failed {
            say(format!("failed: {name}"));
        }
        let verdict = if self.failed.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        say(format!(
            "test result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out",
            self.passed,
            self.failed.len(),
            self.filtered,
        ));
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
