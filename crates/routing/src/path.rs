//! Matching of the path, always without its query.

use regex::bytes::Regex;
use serde::Serialize;

use crate::text::{InvalidRegex, full_match};

/// Which paths a route takes, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum PathMatch {
    /// The path is this.
    Exact(String),
    /// The path begins with this, also in the middle of a segment; `/` takes every path.
    Prefix(String),
    /// The path is this, or continues after it with `/`.
    SeparatedPrefix(String),
    /// The regular expression matches the whole path.
    Regex(String),
}

/// A compiled [`PathMatch`].
#[derive(Clone, Debug)]
pub(crate) enum PathMatcher {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    SeparatedPrefix(Box<str>),
    Regex(Regex),
}

impl PathMatch {
    pub(crate) fn compile(&self) -> Result<PathMatcher, InvalidRegex> {
        Ok(match self {
            Self::Exact(path) => PathMatcher::Exact(path.as_str().into()),
            Self::Prefix(path) if path.is_empty() || path == "/" => PathMatcher::Any,
            Self::Prefix(path) => PathMatcher::Prefix(path.as_str().into()),
            Self::SeparatedPrefix(path) => PathMatcher::SeparatedPrefix(path.as_str().into()),
            Self::Regex(pattern) => PathMatcher::Regex(full_match(pattern)?),
        })
    }
}

impl PathMatcher {
    pub(crate) fn is_match(&self, path: &str, case_sensitive: bool) -> bool {
        let same = |text: &[u8], wanted: &[u8]| {
            if case_sensitive {
                text == wanted
            } else {
                text.eq_ignore_ascii_case(wanted)
            }
        };
        let bytes = path.as_bytes();
        match self {
            // An asterisk-form or authority-form target does not begin with a slash.
            Self::Any => path.starts_with('/'),
            Self::Exact(wanted) => same(bytes, wanted.as_bytes()),
            Self::Prefix(wanted) => bytes
                .get(..wanted.len())
                .is_some_and(|head| same(head, wanted.as_bytes())),
            Self::SeparatedPrefix(wanted) => {
                bytes
                    .get(..wanted.len())
                    .is_some_and(|head| same(head, wanted.as_bytes()))
                    && bytes.get(wanted.len()).is_none_or(|&next| next == b'/')
            }
            Self::Regex(regex) => regex.is_match(bytes),
        }
    }
}
