//! Control groups of a cluster: made before its kubelet starts, removed after its last process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use walkdir::WalkDir;

/// Killed processes leave their groups within milliseconds; a loaded machine may take longer.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// Creates a group in every hierarchy that has controllers.
pub(super) fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.path.join(name);
        create_dir(&group)?;
        if hierarchy.kind == Kind::Unified {
            delegate_controllers(&hierarchy.path)?;
            delegate_controllers(&group)?;
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // Empty in a new group of version 1, and then it takes no process.
            let inherited = hierarchy.path.join(file);
            if hierarchy.kind == Kind::Single && inherited.exists() {
                fs::write(group.join(file), fs::read(inherited)?)?;
            }
        }
    }
    Ok(())
}

/// Removes a group with all groups below it, leaves first.
pub(super) fn remove(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        remove_tree(&hierarchy.path.join(name))?;
    }
    Ok(())
}

/// The folders of a group that exist.
pub fn find(name: &str) -> Result<Vec<PathBuf>> {
    let folders = hierarchies()?
        .into_iter()
        .map(|hierarchy| hierarchy.path.join(name));
    Ok(folders.filter(|folder| folder.exists()).collect())
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// Version 1: a hierarchy for some controllers.
    Single,
    /// Version 2, with controllers.
    Unified,
    /// Version 2 beside version 1: for grouping processes only.
    Bare,
}

struct Hierarchy {
    path: PathBuf,
    kind: Kind,
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("failed to read the mounts")?;
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(path), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = PathBuf::from(path);
        let kind = match kind {
            "cgroup" => Kind::Single,
            "cgroup2" if controllers(&path)?.is_empty() => Kind::Bare,
            "cgroup2" => Kind::Unified,
            _ => continue,
        };
        found.push(Hierarchy { path, kind });
    }
    Ok(found)
}

fn controllers(group: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(group.join("cgroup.controllers"))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn delegate_controllers(group: &Path) -> Result<()> {
    for controller in controllers(group)? {
        fs::write(
            group.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .with_context(|| format!("failed to delegate `{controller}`"))?;
    }
    Ok(())
}

fn create_dir(group: &Path) -> Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("failed to create `{}`", group.display()))
        }
        _ => Ok(()),
    }
}

fn remove_tree(group: &Path) -> Result<()> {
    let folders: Vec<PathBuf> = WalkDir::new(group)
        .contents_first(true)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
        .collect();
    for folder in folders {
        super::retry(EMPTY_WITHIN, || match fs::remove_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    Ok(())
}
