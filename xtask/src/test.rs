//! `cargo xtask test`: every check and suite of the project, a stage each with its time.
//!
//! A failed stage does not stop the others; the last line says how many passed and failed. What
//! this machine cannot run is named, never silently left out.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Error, Result, ensure};

use crate::report::{say, step};
use crate::{Cluster, Environment, bench, cache, image, lifetime, process, seed, tools};

/// Counts over all stages: a check counts one, a suite as many as its tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
}

/// The outcome of all stages so far.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    /// What failed, in order: for the end of the log, where people look first.
    failures: Vec<String>,
}

/// Runs everything that this machine can run.
pub(crate) fn run(environment: &Environment) -> Result<()> {
    let mut tally = Tally::default();
    seed::restore(environment)?;
    for (name, line) in CHECKS {
        let mut command = cargo(line);
        // Read by `cargo doc` only.
        command.env("RUSTDOCFLAGS", "--deny warnings");
        tally.check(name, step(name, || process::run(&mut command)));
    }
    for task in [&["codegen", "--check"][..], &["tidy"]] {
        let this = std::env::current_exe().context("failed to find this program's path")?;
        let name = task.join(" ");
        let outcome = step(&name, || process::run(Command::new(this).args(task)));
        tally.check(&name, outcome);
    }
    tally.suite("unit, property and golden tests", "--workspace");
    run_on_servers(environment, &mut tally)?;
    seed::store(environment)?;
    for failure in &tally.failures {
        say(format!("failed: {failure}"));
    }
    let Counts { passed, failed } = tally.counts;
    say(format!("{passed} passed, {failed} failed"));
    ensure!(failed == 0, "{failed} failed");
    Ok(())
}

/// Name and cargo's arguments of each check.
const CHECKS: &[(&str, &str)] = &[
    ("format", "fmt --all --check"),
    (
        "lints",
        "clippy --quiet --workspace --all-targets -- --deny warnings",
    ),
    (
        // `--all-targets` leaves out those that `cargo test` must not find by itself.
        "lints of the suites on servers",
        "clippy --quiet --workspace --test e2e --test apiserver -- --deny warnings",
    ),
    ("documentation", "doc --quiet --workspace --no-deps"),
];

/// What needs a server, for those who cannot have one.
const ON_SERVERS: &str = "the suites on an API server, the local cluster's and the stories";

/// The suites that need an API server or a cluster.
fn run_on_servers(environment: &Environment, tally: &mut Tally) -> Result<()> {
    let local = environment.cluster == Cluster::Local;
    if !cfg!(target_os = "linux") && local {
        say(format!(
            "left out: {ON_SERVERS} (they need Linux, or FAIRLEAD_CLUSTER=kubeconfig)"
        ));
        return Ok(());
    }
    if let Err(error) = tools::provide(environment) {
        tally.check("tools", Err(error));
        say(format!("left out: {ON_SERVERS}"));
        return Ok(());
    }
    let mut suites = "--workspace --lib --bins --test it -- --ignored".to_owned();
    let envoy = step("fetch Envoy", || bench::envoy(environment));
    if let Err(error) = &envoy {
        suites.push_str(" --skip envoy_accepts_every_golden");
        say(format!("left out: the goldens in a real Envoy: {error:#}"));
    }
    let envoy = envoy.ok();
    let name = "suites on a real API server and a real Envoy";
    tally.suite_with(name, &suites, envoy.map(|program| ("ENVOY", program)));
    let name = "build the operator and the command line";
    let mut command = cargo("build --workspace --bin fairlead-operator --bin fairlead");
    tally.check(name, step(name, || process::run(&mut command)));
    tally.suite(
        "the operator's own binary, and the command line's, on a real API server",
        // What is ignored there is a suite of its own: `cargo xtask suite`.
        "--workspace --test apiserver",
    );
    let is_root = process::output(Command::new("id").arg("--user"))?.trim() == "0";
    if local && !is_root {
        say("left out: cluster and stories (they need root, or FAIRLEAD_CLUSTER=kubeconfig)");
        return Ok(());
    }
    let built = image::build(environment, &[]);
    let images = built.is_ok();
    tally.check("images", built);
    if !images {
        say("left out: cluster and stories: there are no images");
        return Ok(());
    }
    if local {
        tally.suite(
            "the local cluster",
            "--workspace --test cluster -- --ignored --test-threads=1",
        );
    }
    tally.suite("stories", "--workspace --test e2e");
    Ok(())
}

/// Cargo in this checkout, with arguments that have no spaces of their own.
///
/// Always with the whole workspace: a part of it asks for fewer features of what it depends on, and
/// all of that would be built once more.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = lifetime::bound("cargo");
    command
        .args(arguments.split(' '))
        .current_dir(cache::workspace());
    command
}

impl Tally {
    fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.counts.passed += 1,
            Err(error) => self.fail(name, &error),
        }
    }

    fn fail(&mut self, name: &str, error: &Error) {
        self.counts.failed += 1;
        say(format!("    {error:#}"));
        self.failures.push(format!("{name}: {error:#}"));
    }

    /// Runs `cargo test`, shows its output and counts its tests.
    fn suite(&mut self, name: &str, arguments: &str) {
        self.suite_with(name, arguments, None);
    }

    /// As [`Self::suite`], with a program that the tests find by this variable.
    fn suite_with(&mut self, name: &str, arguments: &str, program: Option<(&str, PathBuf)>) {
        let mut found = Counts::default();
        let failures = &mut self.failures;
        let outcome = step(name, || {
            let mut child = cargo(&format!("test --no-fail-fast {arguments}"))
                .envs(program)
                .stdout(Stdio::piped())
                .spawn()
                .context("failed to start cargo")?;
            let stdout = child.stdout.take().context("cargo has no output")?;
            for line in BufReader::new(stdout).lines() {
                let line = line?;
                if let Some(result) = parse_result(&line) {
                    found.passed += result.passed;
                    found.failed += result.failed;
                }
                if let Some(test) = parse_failure(&line) {
                    failures.push(format!("{name}: {test}"));
                }
                say(line);
            }
            let status = child.wait()?;
            ensure!(status.success(), "cargo test ended with {status}");
            Ok(())
        });
        self.counts.passed += found.passed;
        self.counts.failed += found.failed;
        match outcome {
            // It ended before it could count: a build error, or a crash.
            Err(error) if found.failed == 0 => self.fail(name, &error),
            Err(error) => say(format!("    {error:#}")),
            Ok(()) => {}
        }
    }
}

/// Reads the name from `test name ... FAILED`.
fn parse_failure(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// Reads `test result: ok. 12 passed; 0 failed; …`.
fn parse_result(line: &str) -> Option<Counts> {
    let counts = line
        .trim_start()
        .strip_prefix("test result: ")?
        .split_once(". ")?
        .1;
    let count = |word: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Counts {
        passed: count("passed")?,
        failed: count("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_failed_test_is_read() {
        let failed = "test look::tests::it_holds ... FAILED";
        assert_eq!(parse_failure(failed), Some("look::tests::it_holds"));
        assert_eq!(parse_failure("test look::tests::it_holds ... ok"), None);
    }

    #[test]
    fn results_are_read_whether_tests_failed_or_not() {
        let ok = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            parse_result(ok),
            Some(Counts {
                passed: 12,
                failed: 0
            })
        );
        let failed = "test result: FAILED. 1 passed; 2 failed; 0 ignored";
        assert_eq!(
            parse_result(failed),
            Some(Counts {
                passed: 1,
                failed: 2
            })
        );
        assert_eq!(parse_result("test result_is_read ... ok"), None);
    }
}
