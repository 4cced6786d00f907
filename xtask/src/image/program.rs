//! The programs that images run: built once, all in one call of cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::Message;

use super::recipe::{Program, Recipe};
use crate::debian::Unpacked;
use crate::{cache, process, tools};

/// Paths of built programs.
#[derive(Debug)]
pub(super) struct Programs {
    cargo: BTreeMap<String, PathBuf>,
    tools: tools::Index,
    pause: Option<PathBuf>,
}

impl Programs {
    /// Builds what the recipes need.
    pub(super) fn build(recipes: &[&Recipe], tools: &tools::Index) -> Result<Self> {
        let wants_pause = recipes
            .iter()
            .any(|recipe| recipe.program == Program::Pause);
        Ok(Self {
            cargo: build_workspace(recipes)?,
            tools: tools.clone(),
            pause: if wants_pause {
                Some(build_pause()?)
            } else {
                None
            },
        })
    }

    /// A recipe's program.
    pub(super) fn find(&self, recipe: &Recipe) -> Option<&Path> {
        let found = match recipe.program {
            Program::Cargo { binary } => self.cargo.get(binary),
            Program::Tool { tool, .. } => self.tools.get(tool),
            Program::Pause => self.pause.as_ref(),
        };
        found.map(PathBuf::as_path)
    }
}

fn build_workspace(recipes: &[&Recipe]) -> Result<BTreeMap<String, PathBuf>> {
    let wanted: BTreeSet<&str> = recipes
        .iter()
        .filter_map(|recipe| match recipe.program {
            Program::Cargo { binary } => Some(binary),
            Program::Tool { .. } | Program::Pause => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut command = Command::new("cargo");
    command
        // The whole workspace, as the tasks do that come after: with the features of a part of it
        // all that it depends on would be built once more.
        .args(["build", "--profile", "quick", "--workspace"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(cache::workspace())
        .stdout(Stdio::piped());
    for binary in &wanted {
        command.args(["--bin", binary]);
    }
    let mut child = command.spawn().context("failed to start cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut built = BTreeMap::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message?
            && let Some(path) = artifact.executable
        {
            built.insert(artifact.target.name, path.into_std_path_buf());
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo build ended with {status}");
    for binary in wanted {
        ensure!(built.contains_key(binary), "cargo built no `{binary}`");
    }
    Ok(built)
}

fn build_pause() -> Result<PathBuf> {
    let folder = cache::workspace().join("target/images");
    fs::create_dir_all(&folder)?;
    let program = folder.join("pause");
    process::run(
        Command::new("cc")
            .args(["-static", "-Os", "-s", "-Wall", "-Werror", "-o"])
            .arg(&program)
            .arg(cache::workspace().join("tests/cluster/pause.c")),
    )?;
    Ok(program)
}

/// Refuses a program that needs a library which none of the image's packages has.
pub(super) fn check_libraries(program: &Path, packages: &[Unpacked]) -> Result<()> {
    let Some(loader) = find_loader(packages)? else {
        return Ok(());
    };
    let folders = packages.iter().flat_map(|package| {
        ["lib", "usr/lib"]
            .into_iter()
            .flat_map(|lib| library_folders(&package.folder.join(lib)))
    });
    let path: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
    let list = process::output(
        Command::new(loader)
            .args([
                "--inhibit-cache",
                "--library-path",
                &path.join(":"),
                "--list",
            ])
            .arg(program),
    )?;
    for line in list.lines() {
        // The machine's own libraries are found too; they are not in the image.
        let Some((name, found)) = line.trim().split_once(" => ") else {
            continue;
        };
        let is_packaged = packages
            .iter()
            .any(|package| found.starts_with(&package.folder.display().to_string()));
        ensure!(
            is_packaged,
            "`{}` needs `{name}`, which no package of it has",
            program.display()
        );
    }
    Ok(())
}

fn find_loader(packages: &[Unpacked]) -> Result<Option<PathBuf>> {
    for package in packages {
        for folder in library_folders(&package.folder.join("lib")) {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with("ld-linux") {
                    return Ok(Some(entry.path()));
                }
            }
        }
    }
    Ok(None)
}

/// `lib/<architecture>`, where Debian puts libraries.
fn library_folders(lib: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(lib) else {
        return Vec::new();
    };
    let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
    folders
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .collect()
}
