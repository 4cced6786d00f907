//! Which files of a repository stay out of its archive. Pure.
//!
//! Files of version control always stay out. A `.sourceignore` in any directory holds patterns as
//! a `.gitignore` does; the patterns of the spec come last and may take files back in with `!`.
//! Where neither says anything, media, archives and CI files stay out.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::{Failed, FailureKind};

/// The file with patterns.
pub(super) const FILE: &str = ".sourceignore";

const ALWAYS: [&str; 4] = [".git/", ".gitignore", ".gitmodules", ".gitattributes"];

const USUAL: [&str; 24] = [
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.png",
    "*.wmv",
    "*.flv",
    "*.tar.gz",
    "*.zip",
    ".github/",
    ".circleci/",
    ".travis.yml",
    ".gitlab-ci.yml",
    "appveyor.yml",
    ".drone.yml",
    "cloudbuild.yaml",
    "codeship-services.yml",
    "codeship-steps.yml",
    "**/.goreleaser.yml",
    "**/.sops.yaml",
    "**/.flux.yaml",
    "**/.goreleaser.yaml",
    "**/.sops.yml",
    "**/.flux.yml",
    ".sourceignore",
];

/// The patterns of a repository.
#[derive(Debug)]
pub(super) struct Rules {
    /// From the weakest to the strongest.
    layers: Vec<Gitignore>,
}

impl Rules {
    /// Builds the rules of the files named [`FILE`] (directory and content) and the spec's.
    pub(super) fn new(files: &[(String, String)], spec: Option<&str>) -> Result<Self, Failed> {
        let mut layers = Vec::new();
        if files.is_empty() && spec.is_none() {
            layers.push(layer("", USUAL.into_iter(), "built-in patterns")?);
        }
        for (directory, text) in files {
            layers.push(layer(
                directory,
                text.lines(),
                &format!("{directory}/{FILE}"),
            )?);
        }
        if let Some(text) = spec {
            layers.push(layer("", text.lines(), "spec.ignore")?);
        }
        layers.push(layer("", ALWAYS.into_iter(), "built-in patterns")?);
        Ok(Self { layers })
    }

    /// Whether a file stays out.
    pub(super) fn excludes(&self, path: &str) -> bool {
        let path = format!("/{path}");
        let verdict = self.layers.iter().rev().find_map(|layer| {
            if !std::path::Path::new(&path).starts_with(layer.path()) {
                return None;
            }
            match layer.matched_path_or_any_parents(&path, false) {
                Match::Ignore(_) => Some(true),
                Match::Whitelist(_) => Some(false),
                Match::None => None,
            }
        });
        verdict.unwrap_or(false)
    }
}

fn layer<'a>(
    directory: &str,
    patterns: impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<Gitignore, Failed> {
    let fail = |error: ignore::Error| Failed {
        kind: FailureKind::Request,
        message: format!("malformed pattern in {name}: {error}"),
    };
    let mut builder = GitignoreBuilder::new(format!("/{directory}"));
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(fail)?;
    }
    builder.build().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], spec: Option<&str>, out: &[&str], inside: &[&str]) {
        let files: Vec<_> = files
            .iter()
            .map(|(d, t)| ((*d).to_owned(), (*t).to_owned()))
            .collect();
        let rules = Rules::new(&files, spec).unwrap();
        for path in out {
            assert!(rules.excludes(path), "{path} stays out");
        }
        for path in inside {
            assert!(!rules.excludes(path), "{path} is taken");
        }
    }

    #[test]
    fn without_patterns_the_usual_files_stay_out() {
        check(
            &[],
            None,
            &["a/b.png", ".github/workflows/x.yaml", ".gitignore"],
            &["a/b.yaml"],
        );
    }

    #[test]
    fn patterns_replace_the_usual_ones_but_not_version_control() {
        check(
            &[],
            Some("/docs\n"),
            &["docs/a.yaml", ".gitmodules"],
            &["b.png", "x/docs/a.yaml"],
        );
    }

    #[test]
    fn a_file_counts_below_its_directory_and_the_spec_wins() {
        check(
            &[("apps", "*.md\nsecret/\n")],
            Some("!apps/keep.md"),
            &["apps/a.md", "apps/secret/x.yaml"],
            &["a.md", "apps/keep.md", "apps/a.yaml"],
        );
    }
}
