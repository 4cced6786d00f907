//! `cargo xtask demo`: sets up what the demo needs, then tells its story; `demo-down` removes it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::report::step;
use crate::{Environment, bench, cache, image, lifetime, process};

/// The demo, the program that becomes its cluster's first process, the one that measures, and the
/// command line that its farewell names.
const PROGRAMS: [&str; 4] = ["demo", "cluster", "fairlead-bench", "fairlead"];

/// Tools, images, then the demo itself.
pub(crate) fn run(environment: &Environment) -> Result<()> {
    image::build(environment, &[])?;
    step("build the demo", || build(&PROGRAMS))?;
    let mut demo = lifetime::bound(program());
    let bench = cache::workspace().join("target/quick/fairlead-bench");
    demo.env("FAIRLEAD_BENCH", bench);
    bench::with_envoy(environment, &mut demo);
    process::run(demo.arg("up"))
}

/// Removes what the demo made, whether or not it came to its end.
pub(crate) fn down() -> Result<()> {
    // Whoever wants to be rid of it does not wait for a build of what is there.
    if !program().exists() {
        step("build the demo, which removes what it made", || {
            build(&["demo", "cluster"])
        })?;
    }
    step("remove what the demo made", || {
        process::run(lifetime::bound(program()).arg("down"))
    })
}

/// Builds programs of the workspace.
fn build(programs: &[&str]) -> Result<()> {
    let programs = programs.iter().flat_map(|program| ["--bin", program]);
    process::run(
        Command::new("cargo")
            // As the images are built: see there.
            .args(["build", "--profile", "quick", "--workspace"])
            .args(programs)
            .current_dir(cache::workspace()),
    )
}

/// The harness's demo; the program of its cluster stands beside it.
fn program() -> PathBuf {
    cache::workspace().join("target/quick/demo")
}
