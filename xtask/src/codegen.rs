//! `cargo xtask codegen`: writes the files that are made from Rust types, or with `--check` says
//! which of them are out of date.
//!
//! The types are read by a program of their own package, so that this one needs no Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::MetadataCommand;

use crate::report::say;
use crate::{cache, process};

/// Folders, below the workspace, whose YAML is all generated.
const CRDS: &str = "crds";
const CHART_CRDS: &str = "charts/fairlead/templates/crds";

/// What to do with files that are out of date.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say which files are out of date, and fail when there are some.
    #[arg(long)]
    check: bool,
}

/// Writes or checks all generated files.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = cache::workspace();
    let mut wanted = BTreeMap::new();
    for (name, crd) in generate()? {
        wanted.insert(
            Path::new(CHART_CRDS).join(&name),
            chart_template(&name, &crd)?,
        );
        wanted.insert(Path::new(CRDS).join(&name), crd);
    }
    let mut present = BTreeMap::new();
    for folder in [CRDS, CHART_CRDS] {
        for (name, text) in read_yaml(&workspace.join(folder))? {
            present.insert(Path::new(folder).join(name), text);
        }
    }
    let stale = compare(&wanted, &present);
    for path in &stale {
        say(format!("out of date: {}", path.display()));
    }
    if args.check {
        ensure!(
            stale.is_empty(),
            "generated files are out of date: run `cargo xtask codegen`"
        );
        return Ok(());
    }
    for path in stale {
        let file = workspace.join(&path);
        match wanted.get(&path) {
            Some(text) => write(&file, text)?,
            None => std::fs::remove_file(&file)
                .with_context(|| format!("failed to remove {}", file.display()))?,
        }
    }
    Ok(())
}

/// File names and contents, as the types have them now.
fn generate() -> Result<BTreeMap<String, String>> {
    let metadata = MetadataCommand::new()
        .current_dir(cache::workspace())
        .no_deps()
        .exec()
        .context("failed to read the workspace")?;
    let folder = metadata.target_directory.join("codegen");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("failed to empty {folder}"))?;
    }
    process::run(
        Command::new("cargo")
            .args([
                "run",
                "--quiet",
                "--package",
                "fairlead-crds",
                "--bin",
                "generate-crds",
                "--",
            ])
            .arg(&folder)
            .current_dir(cache::workspace()),
    )?;
    read_yaml(folder.as_std_path())
}

/// The YAML files of a folder; none when it is not there.
fn read_yaml(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    if !folder.exists() {
        return Ok(files);
    }
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            files.insert(name.to_owned(), text);
        }
    }
    Ok(files)
}

/// The paths whose content is wrong, missing, or has nothing to do there.
fn compare(
    wanted: &BTreeMap<PathBuf, String>,
    present: &BTreeMap<PathBuf, String>,
) -> BTreeSet<PathBuf> {
    wanted
        .keys()
        .chain(present.keys())
        .filter(|path| wanted.get(*path) != present.get(*path))
        .cloned()
        .collect()
}

/// A CRD as a template of the chart: behind a switch, and kept when the release is uninstalled,
/// since all objects of the kind would go with it.
fn chart_template(name: &str, crd: &str) -> Result<String> {
    ensure!(
        !crd.contains("{{"),
        "{name} holds `{{{{`, which Helm would take for a template"
    );
    let (head, tail) = crd
        .split_once("\nmetadata:\n")
        .with_context(|| format!("{name} has no metadata"))?;
    Ok(format!(
        "{{{{- if .Values.crds.install }}}}\n{head}\nmetadata:\n  annotations:\n    \
         helm.sh/resource-policy: keep\n{tail}{{{{- end }}}}\n"
    ))
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
    }
    std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        list.iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn finds_what_differs_is_missing_or_is_too_much() {
        let wanted = files(&[("same", "1"), ("differs", "1"), ("missing", "1")]);
        let present = files(&[("same", "1"), ("differs", "2"), ("leftover", "1")]);
        let stale: Vec<_> = compare(&wanted, &present).into_iter().collect();
        assert_eq!(stale, ["differs", "leftover", "missing"].map(PathBuf::from));
    }

    #[test]
    fn a_chart_keeps_its_crds() {
        let crd = "# note\nkind: CustomResourceDefinition\nmetadata:\n  name: a\nspec: {}\n";
        assert_eq!(
            chart_template("a.yaml", crd).unwrap(),
            "{{- if .Values.crds.install }}\n# note\nkind: CustomResourceDefinition\nmetadata:\n  \
             annotations:\n    helm.sh/resource-policy: keep\n  name: a\nspec: {}\n{{- end }}\n"
        );
    }

    #[test]
    fn refuses_what_helm_would_evaluate() {
        let crd = "kind: A\nmetadata:\n  name: a\nspec: \"{{ bad }}\"\n";
        chart_template("a.yaml", crd).unwrap_err();
    }
}
