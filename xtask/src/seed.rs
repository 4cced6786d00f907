//! What cargo built of the registry's crates, kept outside the checkout for the next clone.
//!
//! Two checkouts never share a target folder: cargo would run the wrong one's binaries. Instead a
//! unit (one crate with one set of features and one profile, which cargo names by a hash) that the
//! clone lacks is linked into its own target folder. The workspace's own units never are.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use cargo_metadata::MetadataCommand;
use walkdir::WalkDir;

use crate::report::say;
use crate::{Environment, cache, process};

/// Target folders of the profiles that the tasks build with.
const PROFILES: [&str; 2] = ["debug", "quick"];
/// Seeds of other pins that stay: a developer's branches have a few.
const KEPT: usize = 3;

/// Gives this checkout the units that it lacks.
pub(crate) fn restore(environment: &Environment) -> Result<()> {
    let seed = folder(environment)?;
    let target = cache::workspace().join("target");
    let mut units = 0;
    for profile in PROFILES {
        units += transfer(&seed.join(profile), &target.join(profile), |_| true)?;
    }
    if units > 0 {
        say(format!(
            "    {units} crates were built before: taken from {}",
            seed.display()
        ));
    }
    Ok(())
}

/// Keeps the units of the registry's crates that this checkout has built.
pub(crate) fn store(environment: &Environment) -> Result<()> {
    let seed = folder(environment)?;
    let target = cache::workspace().join("target");
    let external = external_packages()?;
    for profile in PROFILES {
        let is_external = |unit: &str| {
            unit.rsplit_once('-')
                .is_some_and(|(package, _)| external.contains(package))
        };
        transfer(&target.join(profile), &seed.join(profile), is_external)?;
    }
    remove_old(&seed)
}

/// The seed of these pins and this compiler.
fn folder(environment: &Environment) -> Result<PathBuf> {
    let lock = fs::read(cache::workspace().join("Cargo.lock"))?;
    let compiler = process::output(Command::new("rustc").arg("-vV"))?;
    let key = cache::hash(&[&lock, compiler.as_bytes()]);
    Ok(cache::folder(environment)?.join("seeds").join(key))
}

/// Names of packages that come from a registry.
fn external_packages() -> Result<HashSet<String>> {
    let metadata = MetadataCommand::new()
        .current_dir(cache::workspace())
        .exec()
        .context("failed to read cargo's metadata")?;
    let external = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some());
    Ok(external.map(|package| package.name.to_string()).collect())
}

/// Links the wanted units that `to` lacks; how many there were.
fn transfer(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<usize> {
    let mut units = Vec::new();
    for unit in names(&from.join(".fingerprint"))? {
        let is_there = to.join(".fingerprint").join(&unit).exists();
        if wanted(&unit) && !is_there && is_complete(&from.join(".fingerprint").join(&unit))? {
            units.push(unit);
        }
    }
    let hashes: HashSet<&str> = units
        .iter()
        .filter_map(|unit| Some(unit.rsplit_once('-')?.1))
        .collect();
    let deps = to.join("deps");
    fs::create_dir_all(&deps)?;
    for file in names(&from.join("deps"))? {
        if unit_hash(&file).is_some_and(|hash| hashes.contains(hash)) {
            link(&from.join("deps").join(&file), &deps.join(&file))?;
        }
    }
    // A unit is there when its fingerprint is: that comes last, and whole.
    for unit in &units {
        copy_folder(&from.join("build").join(unit), &to.join("build").join(unit))?;
        let partial = to.join(".fingerprint").join(format!(".{unit}"));
        copy_folder(&from.join(".fingerprint").join(unit), &partial)?;
        match fs::rename(&partial, to.join(".fingerprint").join(unit)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                // Another process was as fast.
                fs::remove_dir_all(&partial)?;
            }
            outcome => outcome?,
        }
    }
    Ok(units.len())
}

/// Cargo writes a unit's fingerprint, with a JSON twin, when its compiler has succeeded.
fn is_complete(fingerprint: &Path) -> Result<bool> {
    Ok(names(fingerprint)?.iter().any(|file| {
        Path::new(file)
            .extension()
            .is_some_and(|extension| extension == "json")
    }))
}

/// The hash in `lib<crate>-<hash>.rlib`.
fn unit_hash(file: &str) -> Option<&str> {
    file.rsplit_once('-')?.1.split('.').next()
}

/// Names in a folder; none when it does not exist.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    // A hidden one is another process's unfinished work.
    names
        .filter(|name| name.as_ref().map_or(true, |name| !name.starts_with('.')))
        .collect()
}

/// Copies cargo's small notes, which it rewrites in place, and links what compilers wrote.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in WalkDir::new(from) {
        let Ok(entry) = entry else { continue };
        let path = entry.path().strip_prefix(from)?;
        let target = to.join(path);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target)?;
        } else if path.starts_with("out") || path.to_string_lossy().contains("build_script") {
            link(entry.path(), &target)?;
        } else {
            copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // The cache may be on another disk.
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(from, to),
        outcome => outcome.with_context(|| format!("failed to link `{}`", to.display())),
    }
}

/// Copies a file with its time: cargo compares times to find what is stale.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("failed to copy `{}`", from.display()))?;
    let modified = fs::metadata(from)?.modified()?;
    Ok(File::options()
        .write(true)
        .open(to)?
        .set_times(FileTimes::new().set_modified(modified))?)
}

/// Removes all but this and the newest few other seeds.
fn remove_old(current: &Path) -> Result<()> {
    let parent = current.parent().context("a seed has a folder")?;
    let mut others = Vec::new();
    for name in names(parent)? {
        let folder = parent.join(name);
        if folder != current {
            others.push((fs::metadata(&folder)?.modified()?, folder));
        }
    }
    others.sort();
    for (_, folder) in others.iter().rev().skip(KEPT) {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_unit_is_found_in_every_kind_of_file() {
        for file in [
            "libserde_json-0f9684a7c3a87893.rmeta",
            "serde_json-0f9684a7c3a87893.d",
        ] {
            assert_eq!(unit_hash(file), Some("0f9684a7c3a87893"));
        }
        assert_eq!(unit_hash("build"), None);
    }

    #[test]
    fn only_wanted_units_are_transferred_and_keep_their_times() {
        let root = std::env::temp_dir().join(format!("fairlead-seed-{}", std::process::id()));
        let (from, to) = (root.join("from"), root.join("to"));
        for unit in ["serde-11", "ours-22"] {
            fs::create_dir_all(from.join(".fingerprint").join(unit)).unwrap();
            fs::write(from.join(".fingerprint").join(unit).join("lib.json"), unit).unwrap();
        }
        fs::create_dir_all(from.join("deps")).unwrap();
        fs::write(from.join("deps/libserde-11.rlib"), "").unwrap();
        fs::write(from.join("deps/libours-22.rlib"), "").unwrap();
        assert_eq!(
            transfer(&from, &to, |unit| unit.starts_with("serde")).unwrap(),
            1
        );
        assert!(to.join("deps/libserde-11.rlib").exists());
        assert!(!to.join("deps/libours-22.rlib").exists());
        let time = |root: &Path| {
            let file = root.join(".fingerprint/serde-11/lib.json");
            fs::metadata(file).unwrap().modified().unwrap()
        };
        assert_eq!(time(&from), time(&to));
        fs::remove_dir_all(root).unwrap();
    }
}
