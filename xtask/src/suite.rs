//! `cargo xtask suite NAME`: tests that take too long for every change, by name.

use anyhow::Result;
use clap::ValueEnum;

use crate::report::{say, step};
use crate::{Environment, cache, process, test, tools};

/// A suite of its own; each leaves `target/suite/NAME.json`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Stop the operator, or let the API server misbehave, at each write of every kind of rollout;
    /// the end must be the same.
    Interruptions,
}

/// Which suite, and which part of it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The suite.
    name: Name,
    /// Only cases whose names hold each of these words, such as `Weighted DaemonSet before`.
    #[arg(long, default_value = "")]
    only: String,
    /// One of so many cases.
    #[arg(long, default_value_t = 1)]
    pace: usize,
    /// Which of so many, counted from 0: a long suite in parts.
    #[arg(long, default_value_t = 0)]
    first: usize,
}

/// Runs a suite, and says how long it took and where its counts are.
pub(crate) fn run(environment: &Environment, args: &Args) -> Result<()> {
    tools::provide(environment)?;
    let (name, test) = match args.name {
        Name::Interruptions => ("interruptions", "every_interruption_leads_to_the_same_end"),
    };
    step("build the operator", || {
        process::run(&mut test::cargo(
            "build --profile quick --workspace --bin fairlead-operator",
        ))
    })?;
    step(name, || {
        let arguments = format!(
            "test --profile quick --workspace --test apiserver -- --ignored --nocapture {test}"
        );
        process::run(
            test::cargo(&arguments)
                .env("FAIRLEAD_SUITE_ONLY", &args.only)
                .env("FAIRLEAD_SUITE_PACE", args.pace.to_string())
                .env("FAIRLEAD_SUITE_FIRST", args.first.to_string()),
        )
    })?;
    let counts = cache::workspace().join(format!("target/suite/{name}.json"));
    say(format!("as JSON: {}", counts.display()));
    Ok(())
}
