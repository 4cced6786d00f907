//! `cargo xtask demo`: sets up what the demo needs, then tells its story; `demo-down` removes it.

use std::process::Command;

use anyhow::Result;

use crate::report::step;
use crate::{Environment, bench, cache, image, lifetime, process};

/// Tools, images, then the demo itself.
pub(crate) fn run(environment: &Environment) -> Result<()> {
    image::build(environment, &[])?;
    step("build the demo", build)?;
    let mut demo = demo();
    let bench = cache::workspace().join("target/quick/fairlead-bench");
    demo.env("FAIRLEAD_BENCH", bench);
    bench::with_envoy(environment, &mut demo);
    process::run(demo.arg("up"))
}

/// Removes what the demo made, whether or not it came to its end.
pub(crate) fn down() -> Result<()> {
    step("remove what the demo made", || {
        build()?;
        process::run(demo().arg("down"))
    })
}

/// The demo, the program that becomes its cluster's first process, and the one that measures.
fn build() -> Result<()> {
    process::run(
        Command::new("cargo")
            // As the images are built: see there.
            .args(["build", "--profile", "quick", "--workspace"])
            .args([
                "--bin",
                "demo",
                "--bin",
                "cluster",
                "--bin",
                "fairlead-bench",
            ])
            .current_dir(cache::workspace()),
    )
}

/// The harness's demo; the program of its cluster stands beside it.
fn demo() -> Command {
    let program = cache::workspace().join("target/quick/demo");
    lifetime::bound(program)
}
