//! Running the child process that talks to the git server, within the time that the spec allows.
//!
//! # Cancel safety
//! Dropping it kills the child and removes its folder.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::validate::ValidatedGitRepository;
use crate::fetch::{Answer, Failed, Fetched, MAX_FILE_BYTES, Request};

/// A child says one short line; more is a bug.
const MAX_ANSWER: u64 = 1 << 16;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The child could not be run.
    #[error("failed to run the fetching process")]
    Run(#[source] std::io::Error),
    /// The child ended without an answer.
    #[error("the fetching process ended with {status} and no answer")]
    Died {
        /// How it ended.
        status: ExitStatus,
    },
    /// The server sent more than a file may hold.
    #[error("the repository is larger than {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge,
    /// The server did not deliver in time.
    #[error("the git server did not deliver within {0:?}")]
    Timeout(Duration),
    /// Fetching failed.
    #[error("{0}")]
    Fetch(Failed),
}

/// What a fetch brought.
#[derive(Debug)]
pub enum Outcome {
    /// The revision is the known one.
    Unchanged,
    /// A new archive, in a folder that is removed with this value.
    New {
        /// Its revision, hash and size.
        fetched: Fetched,
        /// The archive.
        archive: PathBuf,
        /// The folder that holds it.
        folder: TempDir,
    },
}

/// Fetches what a GitRepository asks for, unless it is the known revision.
pub async fn fetch(
    program: &Path,
    scratch_root: &Path,
    repository: &ValidatedGitRepository,
    known_revision: Option<String>,
) -> Result<Outcome, Error> {
    let folder = tempfile::Builder::new()
        .prefix("fetch-")
        .tempdir_in(scratch_root)
        .map_err(Error::Run)?;
    let archive = folder.path().join("archive.tar.gz");
    let request = Request {
        url: repository.url.clone(),
        reference: repository.reference.clone(),
        credentials: repository.credentials.clone(),
        proxy: repository.proxy.clone(),
        known_revision,
        ignore: repository.ignore.clone(),
        directories: repository.directories.clone(),
        scratch: folder.path().to_owned(),
        archive: archive.clone(),
    };
    write_trust(folder.path(), repository).map_err(Error::Run)?;
    let child = run(program, &request, repository);
    let answer = match tokio::time::timeout(repository.timeout, child).await {
        Ok(answer) => answer?,
        Err(_elapsed) => return Err(Error::Timeout(repository.timeout)),
    };
    match answer {
        Answer::Unchanged { .. } => Ok(Outcome::Unchanged),
        Answer::Fetched(fetched) => Ok(Outcome::New {
            fetched,
            archive,
            folder,
        }),
        Answer::Failed(failed) => Err(Error::Fetch(failed)),
    }
}

/// The files by which libgit2's libraries know whom to trust: they read them at fixed places only.
fn write_trust(home: &Path, repository: &ValidatedGitRepository) -> std::io::Result<()> {
    if let Some(known_hosts) = &repository.known_hosts {
        std::fs::create_dir(home.join(".ssh"))?;
        std::fs::write(home.join(".ssh/known_hosts"), known_hosts)?;
    }
    match &repository.certificate_authority {
        Some(certificates) => std::fs::write(authority_file(home), certificates),
        None => Ok(()),
    }
}

fn authority_file(home: &Path) -> PathBuf {
    home.join("ca.crt")
}

async fn run(
    program: &Path,
    request: &Request,
    repository: &ValidatedGitRepository,
) -> Result<Answer, Error> {
    let mut command = Command::new(program);
    command
        .arg("fetch")
        .env_clear()
        .env("HOME", &request.scratch)
        .current_dir(&request.scratch);
    if repository.certificate_authority.is_some() {
        command.env("SSL_CERT_FILE", authority_file(&request.scratch));
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::Run)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let text = serde_json::to_vec(request).map_err(|error| Error::Run(error.into()))?;
    if let Some(mut input) = input {
        // A child that dies early says so by its exit.
        let _ = input.write_all(&text).await;
    }
    let mut answer = Vec::new();
    if let Some(output) = output {
        output
            .take(MAX_ANSWER)
            .read_to_end(&mut answer)
            .await
            .map_err(Error::Run)?;
    }
    let status = child.wait().await.map_err(Error::Run)?;
    if status.signal() == Some(Signal::SIGXFSZ as i32) {
        return Err(Error::TooLarge);
    }
    serde_json::from_slice(&answer).map_err(|_incomplete| Error::Died { status })
}
