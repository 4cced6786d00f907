//! Matching of one piece of text: exact, prefix, suffix, contained, or a regular expression that
//! must match the whole of it.
//!
//! Bytes, not `str`: header values and paths need not be UTF-8.

use regex::bytes::Regex;
use serde::Serialize;

/// How a text must look, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct StringMatch {
    /// What is compared.
    pub pattern: Pattern,
    /// Compare without regard to ASCII case; a regular expression ignores this, as in Envoy.
    pub ignore_case: bool,
}

/// The pattern of a [`StringMatch`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Pattern {
    /// The whole text.
    Exact(String),
    /// The beginning of the text.
    Prefix(String),
    /// The end of the text.
    Suffix(String),
    /// Any part of the text.
    Contains(String),
    /// A regular expression that must match the whole text.
    Regex(String),
}

impl StringMatch {
    /// Matches exactly `text`.
    pub fn exact(text: impl Into<String>) -> Self {
        Self {
            pattern: Pattern::Exact(text.into()),
            ignore_case: false,
        }
    }

    /// Matches what begins with `text`.
    pub fn prefix(text: impl Into<String>) -> Self {
        Self {
            pattern: Pattern::Prefix(text.into()),
            ignore_case: false,
        }
    }

    /// Matches what ends with `text`.
    pub fn suffix(text: impl Into<String>) -> Self {
        Self {
            pattern: Pattern::Suffix(text.into()),
            ignore_case: false,
        }
    }

    /// Matches what the regular expression matches as a whole.
    pub fn regex(text: impl Into<String>) -> Self {
        Self {
            pattern: Pattern::Regex(text.into()),
            ignore_case: false,
        }
    }

    /// Makes the matcher of the hot path.
    ///
    /// # Errors
    /// When the regular expression is not valid.
    pub fn compile(&self) -> Result<TextMatcher, InvalidRegex> {
        let bytes = |text: &str| Box::<[u8]>::from(text.as_bytes());
        let kind = match &self.pattern {
            Pattern::Exact(text) => Kind::Exact(bytes(text)),
            Pattern::Prefix(text) => Kind::Prefix(bytes(text)),
            Pattern::Suffix(text) => Kind::Suffix(bytes(text)),
            Pattern::Contains(text) => Kind::Contains(bytes(text)),
            Pattern::Regex(text) => Kind::Regex(full_match(text)?),
        };
        Ok(TextMatcher {
            kind,
            ignore_case: self.ignore_case,
        })
    }
}

/// A regular expression that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("regular expression `{pattern}` is not valid")]
pub struct InvalidRegex {
    /// The expression as it was written.
    pub pattern: String,
    /// Why it was refused.
    #[source]
    pub source: regex::Error,
}

/// Compiles `pattern` so that it matches whole texts only.
///
/// # Errors
/// When the expression is not valid by itself, so that `a)(b` is not made valid by the anchors.
pub fn full_match(pattern: &str) -> Result<Regex, InvalidRegex> {
    search(pattern)?;
    search(&format!("^(?:{pattern})$"))
        // An expression in verbose mode may end in a comment that swallows the bracket.
        .or_else(|_| search(&format!("^(?:{pattern}\n)$")))
}

/// Compiles `pattern` for a search anywhere in a text.
///
/// # Errors
/// When the expression is not valid.
pub fn search(pattern: &str) -> Result<Regex, InvalidRegex> {
    Regex::new(pattern).map_err(|source| InvalidRegex {
        pattern: pattern.to_owned(),
        source,
    })
}

/// The expression that matches `text` and nothing else.
pub fn escape(text: &str) -> String {
    regex::escape(text)
}

/// A compiled [`StringMatch`].
#[derive(Clone, Debug)]
pub struct TextMatcher {
    kind: Kind,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    Regex(Regex),
}

impl TextMatcher {
    /// Whether `text` looks as the specification asks.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.kind {
            Kind::Exact(wanted) => self.is_same(text, wanted),
            Kind::Prefix(wanted) => text
                .get(..wanted.len())
                .is_some_and(|head| self.is_same(head, wanted)),
            Kind::Suffix(wanted) => text
                .len()
                .checked_sub(wanted.len())
                .and_then(|from| text.get(from..))
                .is_some_and(|tail| self.is_same(tail, wanted)),
            Kind::Contains(wanted) => {
                wanted.is_empty()
                    || text
                        .windows(wanted.len())
                        .any(|window| self.is_same(window, wanted))
            }
            Kind::Regex(regex) => regex.is_match(text),
        }
    }

    fn is_same(&self, text: &[u8], wanted: &[u8]) -> bool {
        if self.ignore_case {
            text.eq_ignore_ascii_case(wanted)
        } else {
            text == wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &StringMatch, text: &str, expected: bool) {
        let matcher = spec.compile().unwrap();
        assert_eq!(
            matcher.is_match(text.as_bytes()),
            expected,
            "{spec:?} on {text:?}"
        );
    }

    #[test]
    fn a_regex_matches_the_whole_text_only() {
        check(&StringMatch::regex("a|bc"), "a", true);
        check(&StringMatch::regex("a|bc"), "bc", true);
        check(&StringMatch::regex("a|bc"), "abc", false);
        check(&StringMatch::regex("/v[0-9]+/.*"), "/v1/x", true);
        check(&StringMatch::regex("/v[0-9]+"), "/v1/x", false);
    }

    #[test]
    fn a_regex_that_only_the_anchors_would_make_valid_is_refused() {
        StringMatch::regex("a)(b").compile().unwrap_err();
    }

    #[test]
    fn a_regex_in_verbose_mode_may_end_in_a_comment() {
        check(&StringMatch::regex("(?x) ab # two letters"), "ab", true);
        check(&StringMatch::regex("(?x) ab # two letters"), "abc", false);
    }

    #[test]
    fn case_is_ignored_where_asked() {
        let spec = StringMatch {
            ignore_case: true,
            ..StringMatch::prefix("/API")
        };
        check(&spec, "/api/x", true);
        check(&spec, "/ap", false);
        check(&StringMatch::prefix("/API"), "/api/x", false);
    }

    #[test]
    fn bytes_that_are_not_text_do_not_match_and_do_not_panic() {
        let matcher = StringMatch::regex("a.c").compile().unwrap();
        assert!(!matcher.is_match(&[b'a', 0xff, b'c']));
    }
}
