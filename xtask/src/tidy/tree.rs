//! Where files may lie, and what they may be called.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Finding;

/// What stands at the top: what is deployed or handed to users, what they share, and what supports
/// building and proving.
const TOP: &[&str] = &[
    // Files
    ".dockerignore",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "STYLE.md",
    "clippy.toml",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    // Folders
    ".cargo",
    ".ci",
    "bench",
    "charts",
    "cli",
    "console",
    "control-plane",
    "crates",
    "crds",
    "docs",
    "examples",
    "gitops",
    "operator",
    "proxy",
    "tests",
    "xtask",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "base", "common", "data", "error", "errors", "helper", "helpers", "info", "manager", "misc",
    "mod", "types", "util", "utils",
];

/// Files of a folder from which it is worth a look.
const MANY: usize = 15;
/// Folders under `src/` from which a file is worth a look.
const DEEP: usize = 3;

/// Checks where all files lie.
pub(super) fn check(paths: &[PathBuf]) -> Vec<Finding> {
    let mut findings = check_top(paths);
    findings.extend(paths.iter().filter_map(|path| check_name(path)));
    findings.extend(check_folders(paths));
    findings.extend(paths.iter().filter_map(|path| check_depth(path)));
    findings
}

fn check_top(paths: &[PathBuf]) -> Vec<Finding> {
    let entries: BTreeSet<_> = paths.iter().filter_map(|path| path.iter().next()).collect();
    entries
        .into_iter()
        .filter(|entry| !TOP.iter().any(|known| *entry == *known))
        .map(|entry| {
            Finding::Broken(format!(
                "`{}` does not belong at the top of the tree (xtask/src/tidy/tree.rs)",
                entry.display()
            ))
        })
        .collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn check_name(path: &Path) -> Option<Finding> {
    let below = below_src(path)?;
    let empty = below
        .with_extension("")
        .iter()
        .any(|part| EMPTY_NAMES.iter().any(|name| part == *name));
    (is_rust(path) && empty).then(|| {
        Finding::Broken(format!(
            "{}: the name says nothing about what is inside",
            path.display()
        ))
    })
}

fn check_folders(paths: &[PathBuf]) -> Vec<Finding> {
    let mut counts = BTreeMap::<&Path, usize>::new();
    for path in paths.iter().filter(|path| is_rust(path)) {
        if let Some(folder) = path.parent() {
            *counts.entry(folder).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count > MANY)
        .map(|(folder, count)| Finding::Look(format!("{} has {count} files", folder.display())))
        .collect()
}

fn check_depth(path: &Path) -> Option<Finding> {
    let folders = below_src(path)?.iter().count() - 1;
    (is_rust(path) && folders >= DEEP).then(|| {
        Finding::Look(format!(
            "{} lies {folders} folders under src",
            path.display()
        ))
    })
}

/// The part of a path below `src/`.
fn below_src(path: &Path) -> Option<PathBuf> {
    let mut parts = path.iter();
    parts.find(|part| *part == "src")?;
    let below: PathBuf = parts.collect();
    (below.iter().count() > 0).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str]) -> Vec<String> {
        let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
        check(&paths).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_stray_entry_at_the_top_is_found_once() {
        let expected = "error: `scripts` does not belong at the top of the tree \
                        (xtask/src/tidy/tree.rs)";
        assert_eq!(
            found(&["scripts/a.sh", "scripts/b.sh", "Cargo.toml"]),
            [expected]
        );
    }

    #[test]
    fn an_empty_name_is_found_in_files_and_folders() {
        for path in [
            "proxy/src/utils.rs",
            "proxy/src/common/tls.rs",
            "proxy/src/tls/mod.rs",
        ] {
            assert_eq!(found(&[path]).len(), 1, "{path}");
        }
        assert_eq!(
            found(&["proxy/src/tls.rs", "proxy/src/tls/server.rs"]),
            [""; 0]
        );
    }

    #[test]
    fn a_crowded_folder_is_pointed_at() {
        let names: Vec<_> = (0..=MANY)
            .map(|n| format!("proxy/src/part{n}.rs"))
            .collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(found(&names), ["look: proxy/src has 16 files"]);
        assert_eq!(found(&names[1..]), [""; 0]);
    }

    #[test]
    fn a_deep_file_is_pointed_at() {
        assert_eq!(found(&["proxy/src/a/b/c/d.rs"]).len(), 1);
        assert_eq!(found(&["proxy/src/a/b/c.rs"]), [""; 0]);
    }
}
