//! Matching of one header.

use serde::Serialize;

use crate::request::Request;
use crate::text::{InvalidRegex, StringMatch, TextMatcher};

/// What one header must be, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct HeaderMatch {
    /// The header's name in lower case, or a pseudo-header such as `:method`.
    pub name: String,
    /// What is asked of its value.
    pub value: HeaderValueMatch,
    /// Take the opposite of the result.
    pub invert: bool,
    /// A header that is not there counts as one with an empty value.
    pub missing_as_empty: bool,
}

/// What is asked of a header's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum HeaderValueMatch {
    /// The header is there (`true`) or is not (`false`), whatever its value.
    Present(bool),
    /// The value looks like this.
    Text(StringMatch),
    /// The value is a decimal integer in `start..end`.
    Range {
        /// The smallest integer that matches.
        start: i64,
        /// The first integer after the range.
        end: i64,
    },
}

/// A compiled [`HeaderMatch`].
#[derive(Clone, Debug)]
pub(crate) struct HeaderMatcher {
    name: Box<str>,
    value: ValueMatcher,
    invert: bool,
    missing_as_empty: bool,
}

#[derive(Clone, Debug)]
enum ValueMatcher {
    Present(bool),
    Text(TextMatcher),
    Range { start: i64, end: i64 },
}

impl HeaderMatch {
    /// Asks for a value, and for nothing else.
    pub fn text(name: impl Into<String>, value: StringMatch) -> Self {
        Self {
            name: name.into(),
            value: HeaderValueMatch::Text(value),
            invert: false,
            missing_as_empty: false,
        }
    }

    pub(crate) fn compile(&self) -> Result<HeaderMatcher, InvalidRegex> {
        Ok(HeaderMatcher {
            name: self.name.to_ascii_lowercase().into(),
            value: match &self.value {
                HeaderValueMatch::Present(wanted) => ValueMatcher::Present(*wanted),
                HeaderValueMatch::Text(text) => ValueMatcher::Text(text.compile()?),
                HeaderValueMatch::Range { start, end } => ValueMatcher::Range {
                    start: *start,
                    end: *end,
                },
            },
            invert: self.invert,
            missing_as_empty: self.missing_as_empty,
        })
    }
}

impl HeaderMatcher {
    pub(crate) fn is_match(&self, request: &impl Request) -> bool {
        let value = request.header(&self.name);
        if let ValueMatcher::Present(wanted) = self.value {
            return ((value.is_some() || self.missing_as_empty) == wanted) != self.invert;
        }
        let value = match &value {
            Some(value) => value.as_ref(),
            None if self.missing_as_empty => &[],
            // Envoy: a header that is not there matches no value, and no inverted one either.
            None => return false,
        };
        let matched = match &self.value {
            ValueMatcher::Present(_) => true,
            ValueMatcher::Text(text) => text.is_match(value),
            ValueMatcher::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
        };
        matched != self.invert
    }
}
