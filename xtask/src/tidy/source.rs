//! What single files must hold, and how long they may be.
//!
//! Pure.

use std::path::Path;

use super::{File, Finding};

/// Lines before its tests from which a file is worth a look.
const LONG: usize = 400;
/// Lines before its tests that no file has.
const TOO_LONG: usize = 600;
/// The one file that may name what lies beside the checkout.
const MAY_LOOK_OUTSIDE: &str = ".ci/run";

/// Words by which people mark what they put off; in two parts, so that this file has none.
const REMINDERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Checks one file.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_rust(&file.path) {
        findings.extend(check_start(file));
        findings.extend(check_length(file));
    }
    findings.extend(check_reminders(file));
    findings.extend(check_outside(file));
    findings
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn check_start(file: &File) -> Option<Finding> {
    (!file.text.starts_with("//! ")).then(|| {
        Finding::Broken(format!(
            "{} does not start with `//!` and what it is",
            file.path.display()
        ))
    })
}

fn check_length(file: &File) -> Option<Finding> {
    let is_for_tests = file.path.file_stem().is_some_and(|stem| stem == "tests")
        || file
            .path
            .components()
            .any(|part| part.as_os_str() == "tests");
    if is_for_tests {
        return None;
    }
    let lines = file
        .text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count();
    let what = format!("{} has {lines} lines before its tests", file.path.display());
    if lines > TOO_LONG {
        Some(Finding::Broken(format!("{what}: more than {TOO_LONG}")))
    } else {
        (lines > LONG).then_some(Finding::Look(what))
    }
}

/// A reminder in a comment names the issue that it waits for.
fn check_reminders(file: &File) -> Vec<Finding> {
    let comment = if is_rust(&file.path) { "//" } else { "" };
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let Some((_, comment)) = line.split_once(comment) else {
            continue;
        };
        let open = REMINDERS.iter().any(|mark| {
            comment.match_indices(mark).any(|(at, mark)| {
                let is_word = !comment[..at].ends_with(char::is_alphanumeric)
                    && !comment[at + mark.len()..].starts_with(char::is_alphanumeric);
                is_word && !names_issue(&comment[at + mark.len()..])
            })
        });
        if open {
            findings.push(Finding::Broken(format!(
                "{}:{}: a reminder names its issue, as in `TODO(#12)`",
                file.path.display(),
                number + 1
            )));
        }
    }
    findings
}

/// Whether the text goes on with `(#12)`.
fn names_issue(rest: &str) -> bool {
    rest.strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(number, _)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// The checkout stands alone.
fn check_outside(file: &File) -> Option<Finding> {
    let outside = concat!("../", "shared");
    (file.text.contains(outside) && file.path != Path::new(MAY_LOOK_OUTSIDE)).then(|| {
        Finding::Broken(format!(
            "{} names `{outside}`; only {MAY_LOOK_OUTSIDE} may",
            file.path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = File {
            path: PathBuf::from(path),
            text: text.to_owned(),
        };
        check(&file).iter().map(ToString::to_string).collect()
    }

    fn lines(count: usize) -> String {
        format!("//! A file.\n{}", "let a = 1;\n".repeat(count - 1))
    }

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        let expected = "error: a/src/b.rs does not start with `//!` and what it is";
        assert_eq!(found("a/src/b.rs", "use std::fmt;\n"), [expected]);
        assert_eq!(found("a/src/b.rs", "//! A file.\n"), [""; 0]);
    }

    #[test]
    fn a_long_file_is_pointed_at_and_a_longer_one_is_refused() {
        assert_eq!(found("a/src/b.rs", &lines(400)), [""; 0]);
        let look = "look: a/src/b.rs has 401 lines before its tests";
        assert_eq!(found("a/src/b.rs", &lines(401)), [look]);
        let broken = "error: a/src/b.rs has 601 lines before its tests: more than 600";
        assert_eq!(found("a/src/b.rs", &lines(601)), [broken]);
    }

    #[test]
    fn tests_do_not_count_for_length() {
        let text = format!("{}#[cfg(test)]\n{}", lines(400), lines(400));
        assert_eq!(found("a/src/b.rs", &text), [""; 0]);
        assert_eq!(found("a/tests/it/b.rs", &lines(900)), [""; 0]);
        assert_eq!(found("a/src/b/tests.rs", &lines(900)), [""; 0]);
    }

    #[test]
    fn a_reminder_without_an_issue_is_found() {
        let reminder = |rest: &str| format!("//! A file.\n// {}{rest}\n", REMINDERS[0]);
        let expected = "error: a/src/b.rs:2: a reminder names its issue, as in `TODO(#12)`";
        for rest in ["", ": later", "(me)", "(#)"] {
            assert_eq!(found("a/src/b.rs", &reminder(rest)), [expected], "{rest}");
        }
        assert_eq!(found("a/src/b.rs", &reminder("(#12): later")), [""; 0]);
        assert_eq!(found("a/b.toml", &format!("# {}\n", REMINDERS[1])).len(), 1);
    }

    #[test]
    fn a_look_outside_the_checkout_is_found() {
        let text = format!("cat {}/x\n", concat!("../", "shared"));
        assert_eq!(found("Makefile", &text).len(), 1);
        assert_eq!(found(".ci/run", &text), [""; 0]);
    }
}
