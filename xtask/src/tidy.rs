//! `cargo xtask tidy`: the rules of the tree that no compiler checks.
//!
//! The checks are pure functions over what was read here; each tells all that it finds.

mod layering;
mod source;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::MetadataCommand;

use crate::report::say;
use crate::{cache, process};

/// Something that breaks a rule, or is worth a look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    /// A rule is broken.
    Broken(String),
    /// A number points here; a reader decides.
    Look(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(what) => write!(f, "error: {what}"),
            Self::Look(what) => write!(f, "look: {what}"),
        }
    }
}

/// A file of the project, by its path below the workspace.
struct File {
    path: PathBuf,
    text: String,
}

/// Runs all checks; fails when a rule is broken.
pub(crate) fn run() -> Result<()> {
    let workspace = cache::workspace();
    let metadata = MetadataCommand::new()
        .current_dir(&workspace)
        .no_deps()
        .exec()
        .context("failed to read the workspace")?;
    let paths = list(&workspace)?;
    let files = read(&workspace, &paths)?;
    let mut findings = layering::check(&layering::members(&metadata));
    findings.extend(tree::check(&paths));
    findings.extend(files.iter().flat_map(source::check));
    findings.sort();
    for finding in &findings {
        say(finding.to_string());
    }
    let broken = findings
        .iter()
        .filter(|finding| matches!(finding, Finding::Broken(_)))
        .count();
    ensure!(broken == 0, "{broken} rules of the tree are broken");
    say(format!("tidy: {} files keep the rules", files.len()));
    Ok(())
}

/// All files that are or could be committed.
fn list(workspace: &Path) -> Result<Vec<PathBuf>> {
    let listing = process::output(
        Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(workspace),
    )?;
    Ok(listing
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        // Deleted, but not yet for git.
        .filter(|path| workspace.join(path).is_file())
        .collect())
}

/// The files that are text.
fn read(workspace: &Path, paths: &[PathBuf]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths {
        let bytes = std::fs::read(workspace.join(path))
            .with_context(|| format!("failed to read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File {
                path: path.clone(),
                text,
            });
        }
    }
    Ok(files)
}
