//! Which commit a reference means, given what the server has. Pure.

use super::version_range::{Version, VersionRange};
use super::{Failed, FailureKind, Reference};

/// A reference of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Full name.
    pub(super) name: String,
    /// Hash of its commit; an annotated tag's is that of the commit it is for.
    pub(super) commit: String,
}

/// What to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// Hash of the commit.
    pub(super) commit: String,
    /// The reference whose tip it is, or through which to look for it.
    pub(super) through: Through,
    /// `main@sha1:…`.
    pub(super) revision: String,
}

/// How to get at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// It is the tip of this reference: one commit is enough.
    Tip(String),
    /// It is somewhere in the history of these references.
    History(Vec<String>),
}

/// Finds the commit, or says what the repository has instead.
pub(super) fn select(reference: &Reference, heads: &[Head]) -> Result<Selected, Failed> {
    if heads.is_empty() {
        return Err(missing("the repository is empty".to_owned()));
    }
    match reference {
        Reference::Branch(branch) => by_name(heads, &format!("refs/heads/{branch}"), branch)
            .ok_or_else(|| not_there("branch", branch, heads, "refs/heads/")),
        Reference::Tag(tag) => by_name(heads, &format!("refs/tags/{tag}"), tag)
            .ok_or_else(|| not_there("tag", tag, heads, "refs/tags/")),
        Reference::Name(name) => {
            by_name(heads, name, name).ok_or_else(|| not_there("reference", name, heads, "refs/"))
        }
        Reference::Semver(range) => by_version(heads, range),
        Reference::Commit { commit, branch } => by_commit(heads, commit, branch.as_deref()),
    }
}

fn by_name(heads: &[Head], name: &str, label: &str) -> Option<Selected> {
    let head = heads.iter().find(|head| head.name == name)?;
    Some(Selected {
        commit: head.commit.clone(),
        through: Through::Tip(head.name.clone()),
        revision: format!("{label}@sha1:{}", head.commit),
    })
}

fn by_version(heads: &[Head], text: &str) -> Result<Selected, Failed> {
    let range = VersionRange::parse(text).map_err(|error| Failed {
        kind: FailureKind::Request,
        message: format!("`{text}` is not a version range: {error}"),
    })?;
    let tags = heads
        .iter()
        .filter_map(|head| head.name.strip_prefix("refs/tags/"));
    let best = tags
        .filter_map(|tag| Some((Version::parse(tag)?, tag)))
        .filter(|(version, _)| range.contains(version))
        .max();
    best.and_then(|(_, tag)| by_name(heads, &format!("refs/tags/{tag}"), tag))
        .ok_or_else(|| missing(format!("no tag of the repository is in the range `{text}`")))
}

fn by_commit(heads: &[Head], commit: &str, branch: Option<&str>) -> Result<Selected, Failed> {
    let is_hash = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hash {
        let message = format!("`{commit}` is not a full commit hash of 40 hexadecimal digits");
        return Err(Failed {
            kind: FailureKind::Request,
            message,
        });
    }
    let commit = commit.to_ascii_lowercase();
    let revision = match branch {
        Some(branch) => format!("{branch}@sha1:{commit}"),
        None => format!("sha1:{commit}"),
    };
    let name = branch.map(|branch| format!("refs/heads/{branch}"));
    let searched = |head: &&Head| match &name {
        Some(name) => head.name == *name,
        None => head.name.starts_with("refs/heads/"),
    };
    let searched: Vec<&Head> = heads.iter().filter(searched).collect();
    if let (Some(branch), true) = (branch, searched.is_empty()) {
        return Err(not_there("branch", branch, heads, "refs/heads/"));
    }
    let through = match searched.iter().find(|head| head.commit == commit) {
        Some(head) => Through::Tip(head.name.clone()),
        None => Through::History(searched.iter().map(|head| head.name.clone()).collect()),
    };
    Ok(Selected {
        commit,
        through,
        revision,
    })
}

fn not_there(kind: &str, name: &str, heads: &[Head], prefix: &str) -> Failed {
    const SHOWN: usize = 5;
    let names: Vec<&str> = heads
        .iter()
        .filter_map(|head| head.name.strip_prefix(prefix))
        .collect();
    let shown = names
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join("`, `");
    missing(match names.len() {
        0 => format!("{kind} `{name}` is not in the repository, which has none"),
        1..=SHOWN => format!("{kind} `{name}` is not in the repository, which has `{shown}`"),
        more => format!("{kind} `{name}` is not in the repository, which has {more}: `{shown}`, …"),
    })
}

fn missing(message: String) -> Failed {
    Failed {
        kind: FailureKind::Reference,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<Head> {
        [
            ("refs/heads/main", "a"),
            ("refs/heads/dev", "b"),
            ("refs/tags/v1.2.0", "c"),
            ("refs/tags/1.10.0", "d"),
            ("refs/tags/v2.0.0-rc.1", "e"),
        ]
        .into_iter()
        .map(|(name, digit)| Head {
            name: name.to_owned(),
            commit: digit.repeat(40),
        })
        .collect()
    }

    fn check(reference: &Reference, revision: &str) {
        let selected = select(reference, &heads()).map(|selected| selected.revision);
        assert_eq!(selected.as_deref(), Ok(revision));
    }

    fn fails(reference: &Reference, message: &str) {
        assert_eq!(select(reference, &heads()).unwrap_err().message, message);
    }

    #[test]
    fn revisions_are_written_as_flux_writes_them() {
        check(
            &Reference::Branch("main".into()),
            &format!("main@sha1:{}", "a".repeat(40)),
        );
        check(
            &Reference::Tag("v1.2.0".into()),
            &format!("v1.2.0@sha1:{}", "c".repeat(40)),
        );
        check(
            &Reference::Name("refs/heads/dev".into()),
            &format!("refs/heads/dev@sha1:{}", "b".repeat(40)),
        );
        check(
            &Reference::Semver(">=1.0.0".into()),
            &format!("1.10.0@sha1:{}", "d".repeat(40)),
        );
        let commit = Reference::Commit {
            commit: "B".repeat(40),
            branch: None,
        };
        check(&commit, &format!("sha1:{}", "b".repeat(40)));
    }

    #[test]
    fn a_commit_is_looked_for_in_history_unless_it_is_a_tip() {
        let through = |commit: &str, branch: Option<&str>| {
            let reference = Reference::Commit {
                commit: commit.repeat(40),
                branch: branch.map(str::to_owned),
            };
            select(&reference, &heads()).unwrap().through
        };
        assert_eq!(through("b", None), Through::Tip("refs/heads/dev".into()));
        assert_eq!(
            through("f", Some("main")),
            Through::History(vec!["refs/heads/main".into()])
        );
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        fails(
            &Reference::Branch("x".into()),
            "branch `x` is not in the repository, which has `main`, `dev`",
        );
        fails(
            &Reference::Semver(">=3".into()),
            "no tag of the repository is in the range `>=3`",
        );
        fails(
            &Reference::Commit {
                commit: "abc".into(),
                branch: None,
            },
            "`abc` is not a full commit hash of 40 hexadecimal digits",
        );
    }
}
