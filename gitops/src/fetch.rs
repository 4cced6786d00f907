//! Fetching a git repository in a process of its own: what goes in, what comes out.
//!
//! libgit2 blocks, has no time limit that safe code could set, and parses what strangers wrote.
//! So it runs as `fairlead-gitops fetch`: the request comes on standard input (credentials are
//! never arguments), the answer goes to standard output, and the parent kills it when its time is
//! over. Only this child links to a repository; the parent sees a tar file and a revision.

mod archive;
mod exclude;
mod remote;
mod select;
mod version_range;

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

/// What to fetch, with what rights, and where to put it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Request {
    /// URL with scheme `http`, `https` or `ssh`.
    pub url: String,
    /// Which commit.
    pub reference: Reference,
    /// How to prove who we are.
    pub credentials: Credentials,
    /// URL of an HTTP proxy, with its credentials.
    pub proxy: Option<String>,
    /// The revision that is stored already; the same one again is not fetched.
    pub known_revision: Option<String>,
    /// Patterns of files to leave out, as in `.gitignore`; none means the usual ones.
    pub ignore: Option<String>,
    /// The only directories to take, if not all.
    pub directories: Vec<String>,
    /// An empty directory for the child's own files.
    pub scratch: PathBuf,
    /// Where the archive goes.
    pub archive: PathBuf,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

/// Which commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reference {
    /// The tip of a branch.
    Branch(String),
    /// The commit of a tag.
    Tag(String),
    /// The commit of the highest tag in a range of versions.
    Semver(String),
    /// Any reference by its full name.
    Name(String),
    /// A commit, which a branch may help to find.
    Commit {
        /// The commit's hash.
        commit: String,
        /// A branch that it is on.
        branch: Option<String>,
    },
}

/// How to prove who we are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credentials {
    /// Not at all.
    None,
    /// By name and password.
    Basic {
        /// Name.
        username: String,
        /// Password or token.
        password: String,
    },
    /// By a token.
    Bearer {
        /// The token.
        token: String,
    },
    /// By an SSH key.
    Ssh {
        /// The private key.
        identity: String,
        /// The key's passphrase.
        passphrase: Option<String>,
    },
}

impl Credentials {
    /// Texts that no message may contain.
    fn secrets(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { password, .. } => vec![password],
            Self::Bearer { token } => vec![token],
            Self::Ssh {
                identity,
                passphrase,
            } => passphrase
                .iter()
                .map(String::as_str)
                .chain([identity.as_str()])
                .collect(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Bearer { .. } => "Bearer",
            Self::Ssh { .. } => "Ssh",
        })
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "result")]
pub enum Answer {
    /// The reference still means the known revision.
    Unchanged {
        /// The revision.
        revision: String,
    },
    /// The archive is written.
    Fetched(Fetched),
    /// It did not work.
    Failed(Failed),
}

/// A revision in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// `main@sha1:…`.
    pub revision: String,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: String,
    /// Bytes of the archive.
    pub size: u64,
    /// The first line of the commit's message.
    pub summary: String,
}

/// Why nothing was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    /// Whose mistake it is.
    pub kind: FailureKind,
    /// What happened, without secrets.
    pub message: String,
}

/// Classes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// The server wants other credentials, or proved to be another one.
    Authentication,
    /// The repository has no such reference.
    Reference,
    /// The repository is larger than allowed, or malformed.
    Content,
    /// The request itself makes no sense.
    Request,
    /// Anything that may be better next time.
    Transient,
}

/// No file that a fetch makes may be larger, a pack included: a server could send without end.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The child's whole life: reads a request, does it, writes the answer.
///
/// It limits the size of the files that its own process may write, so call it in a child only.
///
/// # Errors
/// Only when standard input or output is broken; everything else is an [`Answer::Failed`].
pub fn run_child(mut input: impl Read, mut output: impl Write) -> std::io::Result<()> {
    setrlimit(Resource::RLIMIT_FSIZE, MAX_FILE_BYTES, MAX_FILE_BYTES)?;
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let answer = match serde_json::from_str::<Request>(&text) {
        Ok(request) => answer(&request),
        Err(error) => Answer::Failed(Failed {
            kind: FailureKind::Request,
            // The place in the text, not the text: it holds credentials.
            message: format!("malformed request at line {}", error.line()),
        }),
    };
    serde_json::to_writer(&mut output, &answer)?;
    output.flush()
}

fn answer(request: &Request) -> Answer {
    match fetch(request) {
        Ok(answer) => answer,
        Err(mut failed) => {
            for secret in request.credentials.secrets() {
                if !secret.is_empty() {
                    failed.message = failed.message.replace(secret, "***");
                }
            }
            Answer::Failed(failed)
        }
    }
}

fn fetch(request: &Request) -> Result<Answer, Failed> {
    let session = remote::Session::open(request)?;
    let mut connection = session.connect()?;
    let heads = connection.heads()?;
    let selected = select::select(&request.reference, &heads)?;
    if request.known_revision.as_ref() == Some(&selected.revision) {
        return Ok(Answer::Unchanged {
            revision: selected.revision,
        });
    }
    let commit = connection.download(&selected, &heads)?;
    let tree = commit.tree().map_err(remote::failed)?;
    let written = archive::write(&session.repository, &tree, request)?;
    let summary = commit
        .summary()
        .ok()
        .flatten()
        .unwrap_or_default()
        .chars()
        .take(72)
        .collect();
    Ok(Answer::Fetched(Fetched {
        revision: selected.revision,
        sha256: written.sha256,
        size: written.size,
        summary,
    }))
}
