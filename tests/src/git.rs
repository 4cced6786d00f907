//! A working copy that pushes commits as a developer does.

use std::path::Path;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::Command;

/// A clone of the repository under test.
#[derive(Debug)]
pub struct WorkingCopy {
    folder: TempDir,
}

impl WorkingCopy {
    /// An empty working copy whose `origin` is `url`.
    pub async fn new(url: &str) -> anyhow::Result<Self> {
        let copy = Self {
            folder: tempfile::tempdir()?,
        };
        copy.git(&["init", "--quiet", "--initial-branch=main"])
            .await?;
        copy.git(&["remote", "add", "origin", url]).await?;
        Ok(copy)
    }

    /// The folder to change files in.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Copies every file below `from` to the folder `to` of the working copy.
    pub fn copy_from(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        let target = self.path().join(to);
        std::fs::create_dir_all(&target)?;
        for entry in std::fs::read_dir(from)
            .with_context(|| format!("failed to list `{}`", from.display()))?
        {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), target.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Writes one file.
    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path().join(file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
    }

    /// Commits all and pushes with these push options; returns the commit's id.
    pub async fn push(&self, message: &str, options: &[&str]) -> anyhow::Result<String> {
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--message", message])
            .await?;
        let mut push = vec!["push", "--quiet", "--force"];
        push.extend(options.iter().flat_map(|option| ["--push-option", option]));
        push.extend(["origin", "main"]);
        self.git(&push).await?;
        self.git(&["rev-parse", "HEAD"]).await
    }

    async fn git(&self, args: &[&str]) -> anyhow::Result<String> {
        let identity = [
            "-c",
            "user.name=Developer",
            "-c",
            "user.email=developer@example.com",
        ];
        let output = Command::new("git")
            .current_dir(self.path())
            .args(identity)
            .args(args)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .await
            .context("failed to run git")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "git {args:?}: {}", errors.trim());
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}
