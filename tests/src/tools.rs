//! Where the programs are that `cargo xtask tools` provided; builds and downloads nothing itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The folder of this checkout.
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Programs by name, as `target/tools.json` lists them.
#[derive(Debug, Clone)]
pub struct Tools {
    programs: BTreeMap<String, PathBuf>,
}

impl Tools {
    /// Reads the list that `cargo xtask tools` wrote.
    pub fn read() -> Result<Self> {
        let index = workspace().join("target/tools.json");
        let text = std::fs::read(&index).with_context(|| {
            format!(
                "failed to read `{}`: run `cargo xtask tools` first",
                index.display()
            )
        })?;
        let programs = serde_json::from_slice(&text)
            .with_context(|| format!("failed to parse `{}`", index.display()))?;
        Ok(Self { programs })
    }

    /// The path of one program.
    pub fn path(&self, name: &str) -> Result<&Path> {
        self.programs
            .get(name)
            .map(PathBuf::as_path)
            .with_context(|| format!("`{name}` is not among the tools: run `cargo xtask tools`"))
    }
}
