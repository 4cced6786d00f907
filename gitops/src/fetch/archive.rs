//! A commit's files as a tar file that is the same, byte for byte, whenever it is made.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use git2::{Blob, ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};
use sha2::{Digest as _, Sha256};

use super::exclude::{self, Rules};
use super::remote::failed;
use super::{Failed, FailureKind, Request};

/// More than any set of manifests; the whole is held in memory by those who build it.
const MAX_BYTES: usize = 100 << 20;

/// What bounds the time that a walk takes.
const MAX_FILES: usize = 100_000;

/// git's mode of an executable file.
const EXECUTABLE: i32 = 0o100_755;

/// git's mode of a regular file.
const REGULAR: i32 = 0o100_644;

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) sha256: String,
    pub(super) size: u64,
}

struct Entry {
    path: String,
    id: git2::Oid,
    mode: i32,
}

/// Writes the files of a tree that no rule leaves out.
pub(super) fn write(
    repository: &Repository,
    tree: &Tree<'_>,
    request: &Request,
) -> Result<Written, Failed> {
    let entries = files(tree)?;
    let mut patterns = Vec::new();
    for entry in &entries {
        let (directory, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name == exclude::FILE {
            let blob = read(repository, entry, MAX_BYTES)?;
            let text = String::from_utf8_lossy(blob.content()).into_owned();
            patterns.push((directory.to_owned(), text));
        }
    }
    let rules = Rules::new(&patterns, request.ignore.as_deref())?;
    let taken = entries.iter().filter(|entry| {
        is_below_any(&entry.path, &request.directories) && !rules.excludes(&entry.path)
    });
    let file = File::create(&request.archive).map_err(|error| storage(&error))?;
    let output = Counted {
        inner: BufWriter::new(file),
        hash: Sha256::new(),
        size: 0,
    };
    let mut archive = tar::Builder::new(GzEncoder::new(output, Compression::default()));
    let mut left = MAX_BYTES;
    for entry in taken {
        let blob = read(repository, entry, left)?;
        left = left.saturating_sub(blob.size());
        append(&mut archive, entry, blob.content()).map_err(|error| storage(&error))?;
    }
    let finish = || -> io::Result<Written> {
        let mut output = archive.into_inner()?.finish()?;
        output.flush()?;
        let Counted {
            hash,
            size,
            inner: _,
        } = output;
        Ok(Written {
            sha256: hex(&hash.finalize()),
            size,
        })
    };
    finish().map_err(|error| storage(&error))
}

/// The content of a file of at most `left` bytes; how long it is is known before it is unpacked,
/// and a short pack may hold a file that no memory does.
fn read<'r>(repository: &'r Repository, entry: &Entry, left: usize) -> Result<Blob<'r>, Failed> {
    let objects = repository.odb().map_err(failed)?;
    let (size, _) = objects.read_header(entry.id).map_err(failed)?;
    if size > left {
        return Err(too_large(&format!(
            "its files hold more than {} MiB",
            MAX_BYTES >> 20
        )));
    }
    repository.find_blob(entry.id).map_err(failed)
}

/// The regular files of a tree, by path. Links and submodules are left out.
fn files(tree: &Tree<'_>) -> Result<Vec<Entry>, Failed> {
    let mut entries = Vec::new();
    let mut problem = None;
    let walked = tree.walk(TreeWalkMode::PreOrder, |directory, entry| {
        let is_file = entry.kind() == Some(ObjectType::Blob);
        if !is_file || !matches!(entry.filemode(), REGULAR | EXECUTABLE) {
            return TreeWalkResult::Ok;
        }
        let Ok(name) = entry.name() else {
            problem = Some(too_large("a path in it is not UTF-8"));
            return TreeWalkResult::Abort;
        };
        if entries.len() == MAX_FILES {
            problem = Some(too_large(&format!("it holds more than {MAX_FILES} files")));
            return TreeWalkResult::Abort;
        }
        let path = format!("{directory}{name}");
        entries.push(Entry {
            path,
            id: entry.id(),
            mode: entry.filemode(),
        });
        TreeWalkResult::Ok
    });
    if let Some(problem) = problem {
        return Err(problem);
    }
    walked.map_err(failed)?;
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

fn is_below_any(path: &str, directories: &[String]) -> bool {
    let below = |directory: &String| {
        let directory = directory.trim_start_matches("./").trim_matches('/');
        path.strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/') || directory.is_empty())
    };
    directories.is_empty() || directories.iter().any(below)
}

fn append(archive: &mut tar::Builder<impl Write>, entry: &Entry, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(if entry.mode == EXECUTABLE {
        0o700
    } else {
        0o600
    });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, &entry.path, content)
}

/// Hashes and counts what is written through it.
struct Counted<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buf)?;
        self.hash.update(&buf[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn too_large(what: &str) -> Failed {
    let message = format!("the repository is refused: {what}");
    Failed {
        kind: FailureKind::Content,
        message,
    }
}

fn storage(error: &io::Error) -> Failed {
    Failed {
        kind: FailureKind::Transient,
        message: format!("failed to write the archive: {error}"),
    }
}
