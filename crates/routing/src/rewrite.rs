//! Rewriting of the path.

use regex::bytes::Regex;
use serde::Serialize;

use crate::path::PathMatch;
use crate::text::{InvalidRegex, search};

/// How the path changes on the way to the upstream, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum PathRewrite {
    /// The part that the route's path match took (all of it for an exact match) becomes this.
    Prefix(String),
    /// What a regular expression matches is substituted.
    Regex(RegexRewrite),
}

/// Substitution of all that a regular expression matches in the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RegexRewrite {
    /// The expression, searched anywhere in the path.
    pub pattern: String,
    /// What takes its place; `\1` names a group, as in RE2.
    pub substitution: String,
}

/// A compiled [`PathRewrite`].
#[derive(Clone, Debug)]
pub enum Rewriter {
    /// Replaces the first `matched` bytes of the path.
    Prefix {
        /// Length of what is replaced.
        matched: usize,
        /// What takes its place.
        replacement: Box<str>,
    },
    /// Replaces what the expression matches.
    Regex {
        /// The expression.
        regex: Regex,
        /// The substitution in the syntax of the `regex` crate.
        substitution: Box<[u8]>,
    },
}

impl PathRewrite {
    /// Makes the rewriter of a route that matches by `matched`.
    ///
    /// # Errors
    /// When the regular expression is not valid.
    pub fn compile(&self, matched: &PathMatch) -> Result<Rewriter, InvalidRegex> {
        Ok(match self {
            Self::Prefix(replacement) => Rewriter::Prefix {
                matched: match matched {
                    PathMatch::Exact(path)
                    | PathMatch::Prefix(path)
                    | PathMatch::SeparatedPrefix(path) => path.len(),
                    // Envoy replaces the whole path where a regular expression matched it.
                    PathMatch::Regex(_) => usize::MAX,
                },
                replacement: replacement.as_str().into(),
            },
            Self::Regex(rewrite) => Rewriter::Regex {
                regex: search(&rewrite.pattern)?,
                substitution: group_references(&rewrite.substitution).into_bytes().into(),
            },
        })
    }
}

impl Rewriter {
    /// The new `:path` of a request that the route matched; the query stays as it is.
    pub fn rewrite(&self, path: &str) -> String {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (path, query) = path.split_at_checked(end).unwrap_or((path, ""));
        let mut rewritten = match self {
            Self::Prefix {
                matched,
                replacement,
            } => {
                let rest = path.get((*matched).min(path.len())..).unwrap_or_default();
                format!("{replacement}{rest}")
            }
            Self::Regex {
                regex,
                substitution,
            } => {
                let bytes = regex.replace_all(path.as_bytes(), &**substitution);
                // The path is text and so is the substitution; only an expression that splits a
                // character could break it, and then the original is the safe choice.
                String::from_utf8(bytes.into_owned()).unwrap_or_else(|_| path.to_owned())
            }
        };
        rewritten.push_str(query);
        rewritten
    }
}

/// Turns RE2's `\1` into `${1}` and escapes what the `regex` crate would read as a reference.
fn group_references(substitution: &str) -> String {
    let mut out = String::with_capacity(substitution.len());
    let mut chars = substitution.chars();
    while let Some(char) = chars.next() {
        match char {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rewrite: &PathRewrite, matched: &PathMatch, path: &str, expected: &str) {
        assert_eq!(rewrite.compile(matched).unwrap().rewrite(path), expected);
    }

    #[test]
    fn the_matched_part_is_replaced_and_the_query_stays() {
        let rewrite = PathRewrite::Prefix("/v2".into());
        check(
            &rewrite,
            &PathMatch::Prefix("/v1".into()),
            "/v1/a?b=/v1",
            "/v2/a?b=/v1",
        );
        check(&rewrite, &PathMatch::Exact("/v1".into()), "/v1?x", "/v2?x");
        check(
            &rewrite,
            &PathMatch::Regex("/v./.*".into()),
            "/v1/a/b?x",
            "/v2?x",
        );
        check(
            &rewrite,
            &PathMatch::SeparatedPrefix("/v1".into()),
            "/v1",
            "/v2",
        );
    }

    #[test]
    fn a_regex_rewrite_substitutes_every_match_with_groups() {
        let rewrite = PathRewrite::Regex(RegexRewrite {
            pattern: "^/service/([^/]+)(/.*)$".into(),
            substitution: r"\2/instance/\1$".into(),
        });
        let matched = PathMatch::Prefix("/".into());
        check(
            &rewrite,
            &matched,
            "/service/foo/v1/api?q",
            "/v1/api/instance/foo$?q",
        );
    }
}
