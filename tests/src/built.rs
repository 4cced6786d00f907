//! The binaries that were built with the tests.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The binary `name`: beside this program, or beside the folder of the tests.
pub fn binary(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("failed to find this program's path")?;
    let folders = this.ancestors().skip(1).take(2);
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| program.exists()).with_context(|| {
        format!(
            "no `{name}` beside `{}`: build it first, with `cargo build --bin {name}`",
            this.display()
        )
    })
}
