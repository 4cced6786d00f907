//! Finding and removing what a cluster has on this machine, whoever started it and however it ended.
//!
//! The process table and the folder are the truth: no file has to be up to date for this to work.

use std::fs::{self, File};
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control_group;
use super::layout::{Layout, ROOT};

/// How long the kernel may take to end every process of a namespace and to unmount its mounts.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Folders of the machine on which `setup.sh` mounts; removed when empty.
const MOUNT_POINTS: [&str; 2] = ["/var/lib/cni", "/var/lib/kubelet"];

/// Ends a cluster and removes all that it has; does nothing when there is nothing.
///
/// # Errors
/// When something stays, with its name.
pub fn remove(layout: &Layout) -> Result<()> {
    for pid in holders(layout)? {
        match kill(pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("failed to end process {pid}"));
            }
        }
    }
    super::retry(GONE_WITHIN, || match holders(layout) {
        Ok(left) if left.is_empty() => Ok(()),
        Ok(left) => Err(io::Error::other(format!("{left:?} still run"))),
        Err(error) => Err(io::Error::other(error)),
    })?;
    control_group::remove(&layout.control_group())?;
    super::retry(GONE_WITHIN, || match fs::remove_dir_all(layout.folder()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
    .with_context(|| format!("failed to remove `{}`", layout.folder().display()))?;
    if all()?.is_empty() {
        // While another cluster is there they stay: removing a folder takes away what is mounted
        // on it in any namespace.
        for mount_point in MOUNT_POINTS {
            // Not empty means that they are somebody's; missing is what we want.
            let _ = fs::remove_dir(mount_point);
        }
    }
    Ok(())
}

/// Removes every cluster that has no owner any more, unless it runs because somebody keeps it.
///
/// # Errors
/// When one of them cannot be removed.
pub fn sweep() -> Result<()> {
    for layout in all()? {
        if layout.kept().exists() && !holders(&layout)?.is_empty() {
            continue;
        }
        // Whoever owns the cluster holds the lock until its process ends.
        if let Some(_lock) = try_lock(&layout)? {
            remove(&layout)?;
        }
    }
    Ok(())
}

/// The clusters with a folder on this machine.
///
/// # Errors
/// When the folder of clusters cannot be read.
pub fn all() -> Result<Vec<Layout>> {
    let entries = match fs::read_dir(ROOT) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("failed to read `{ROOT}`")),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // A name that is none of ours is not ours to remove.
            found.extend(Layout::new(&entry.file_name().to_string_lossy()));
        }
    }
    Ok(found)
}

/// Takes the lock of a cluster's owner; `None` when another process has it.
pub(super) fn try_lock(layout: &Layout) -> Result<Option<File>> {
    fs::create_dir_all(ROOT)?;
    let path = layout.lock();
    let file =
        File::create(&path).with_context(|| format!("failed to open `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Processes of the machine's own process namespace that hold a cluster.
pub fn holders(layout: &Layout) -> Result<Vec<Pid>> {
    Ok(processes()?
        .into_iter()
        .filter(|(_, argv)| is_holder(argv, layout))
        .map(|(p, _)| p)
        .collect())
}

/// The process to enter for a cluster's namespaces.
pub(super) fn first_process(layout: &Layout) -> Result<Option<Pid>> {
    let inner = |argv: &[String]| is_holder(argv, layout) && argv.len() == 3;
    Ok(processes()?
        .into_iter()
        .find(|(_, argv)| inner(argv))
        .map(|(pid, _)| pid))
}

/// The command lines of all processes that this one sees.
///
/// # Errors
/// When the process table cannot be read.
pub fn command_lines() -> Result<Vec<String>> {
    Ok(processes()?
        .into_iter()
        .map(|(_, argv)| argv.join(" "))
        .collect())
}

fn is_holder(argv: &[String], layout: &Layout) -> bool {
    let folder = layout.folder().to_string_lossy();
    matches!(argv, [.., verb, last] if verb == "hold" && *last == folder)
}

fn processes() -> Result<Vec<(Pid, Vec<String>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to read the process table")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end between the two reads.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let argv = line
            .split(|&b| b == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned());
        let mut argv: Vec<String> = argv.collect();
        argv.pop();
        found.push((Pid::from_raw(pid), argv));
    }
    Ok(found)
}
