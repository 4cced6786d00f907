//! `cargo xtask demo`: sets up what the demo needs, then tells its story; `demo-down` removes it.

use std::process::Command;

use anyhow::Result;

use crate::report::step;
use crate::{Environment, bench, cache, image, lifetime, process};

/// Tools, images, then the demo itself.
pub(crate) fn run(environment: &Environment) -> Result<()> {
    image::build(environment, &[])?;
    step("build the demo", || {
        process::run(
            Command::new("cargo")
                .args(["build", "--quiet", "--profile", "quick"])
                .args(["--package", "fairlead-tests", "--package", "fairlead-bench"])
                .arg("--bins")
                .current_dir(cache::workspace()),
        )
    })?;
    let mut demo = demo();
    demo.env(
        "FAIRLEAD_BENCH",
        cache::workspace().join("target/quick/fairlead-bench"),
    );
    bench::with_envoy(environment, &mut demo);
    process::run(demo.arg("up"))
}

/// Removes what the demo made, whether or not it came to its end.
pub(crate) fn down() -> Result<()> {
    step("remove what the demo made", || {
        process::run(demo().arg("down"))
    })
}

/// The harness's demo; the program that becomes its cluster's first process stands beside it.
fn demo() -> Command {
    let mut command = lifetime::bound("cargo");
    command
        .args([
            "run",
            "--quiet",
            "--profile",
            "quick",
            "--package",
            "fairlead-tests",
        ])
        .args(["--bin", "demo", "--"])
        .current_dir(cache::workspace());
    command
}
