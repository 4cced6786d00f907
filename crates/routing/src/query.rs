//! Matching of one query parameter: its first occurrence, not decoded, as in Envoy.

use serde::Serialize;

use crate::text::{InvalidRegex, StringMatch, TextMatcher};

/// What one query parameter must be, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct QueryMatch {
    /// The parameter's name.
    pub name: String,
    /// What its value must look like; `None` asks only that it is there.
    pub value: Option<StringMatch>,
}

/// A compiled [`QueryMatch`].
#[derive(Clone, Debug)]
pub(crate) struct QueryMatcher {
    name: Box<str>,
    value: Option<TextMatcher>,
}

impl QueryMatch {
    pub(crate) fn compile(&self) -> Result<QueryMatcher, InvalidRegex> {
        Ok(QueryMatcher {
            name: self.name.as_str().into(),
            value: self.value.as_ref().map(StringMatch::compile).transpose()?,
        })
    }
}

impl QueryMatcher {
    pub(crate) fn is_match(&self, query: &str) -> bool {
        let value = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find_map(|(name, value)| (name == &*self.name).then_some(value));
        match (value, &self.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(value), Some(matcher)) => matcher.is_match(value.as_bytes()),
        }
    }
}
