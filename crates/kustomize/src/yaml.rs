//! YAML streams as JSON values with the line of each document, and back.
//!
//! Reads what Kubernetes tools read: YAML 1.2 with the YAML 1.1 numbers (`0644` is an octal).
//! Duplicate keys, deep nesting and alias bombs are errors, so hostile input costs little.
//! No IO.

mod emit;
mod scalar;

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Value};

pub use self::emit::to_string;

/// Deeper nesting than any manifest has; it bounds the recursion.
const MAX_DEPTH: usize = 128;

/// Values that one stream may hold after its aliases are expanded.
const MAX_NODES: usize = 1_000_000;

/// How many times its own length a stream's anchors and aliases may add to it.
const MAX_GROWTH: usize = 10;

/// What they may add to any stream, however short.
const FREE_GROWTH: usize = 16 << 10;

/// What is wrong with a YAML stream, and on which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Error {
    /// The line in the stream, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// The kinds of mistakes in a YAML stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is not YAML.
    #[error("not YAML: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// One mapping has the same key twice.
    #[error("key `{key}` stands twice in the same mapping")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A mapping's key is not a scalar.
    #[error("a key of a mapping must be a scalar")]
    ComplexKey,
    /// The nesting is deeper than anything meant.
    #[error("nesting is deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The stream, or what its aliases expand to, is too large.
    #[error("stream expands to more than {MAX_NODES} values")]
    TooLarge,
    /// Its aliases repeat too much text.
    #[error("aliases make the stream more than {MAX_GROWTH} times as long")]
    TooMuchRepeated,
    /// An alias names an anchor that is not there.
    #[error("alias to an unknown anchor")]
    UnknownAlias,
    /// A scalar does not fit its explicit tag, or JSON cannot hold it.
    #[error("scalar `{text}` is not a {kind}")]
    Scalar {
        /// The scalar as written.
        text: String,
        /// What it should have been.
        kind: &'static str,
    },
    /// `<<` is followed by something that is not a mapping.
    #[error("a merge key needs a mapping or a list of mappings")]
    MergeKey,
}

/// One document of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its position among the documents of the stream, counted from 1; empty ones count too.
    pub number: usize,
    /// The line of its first value, counted from 1.
    pub line: usize,
    /// What it holds.
    pub value: Value,
}

/// Reads every document of a stream; documents without a value are left out.
pub fn parse_documents(text: &str) -> Result<Vec<Document>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = Loader {
        parser: Parser::new_from_str(text).keep_tags(false),
        anchors: BTreeMap::new(),
        nodes: 0,
        bytes: 0,
        growth: MAX_GROWTH * text.len() + FREE_GROWTH,
    };
    let mut documents = Vec::new();
    let mut number = 0;
    loop {
        let (event, span) = loader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                number += 1;
                let (first, span) = loader.next()?;
                let line = span.start.line();
                let value = loader.value(first, span, 0)?;
                if !value.is_null() {
                    documents.push(Document {
                        number,
                        line,
                        value,
                    });
                }
            }
            _ => debug_assert!(span.start.line() > 0, "lines count from 1"),
        }
    }
}

/// Reads a stream of exactly one value; an empty stream is `null`.
pub fn parse_one(text: &str) -> Result<Value, Error> {
    let mut documents = parse_documents(text)?;
    if documents.len() > 1 {
        let line = documents[1].line;
        let reason = "expected a single document".to_owned();
        return Err(Error {
            line,
            problem: Problem::Syntax { reason },
        });
    }
    Ok(documents
        .pop()
        .map_or(Value::Null, |document| document.value))
}

struct Loader<'input> {
    parser: Parser<'input, StrInput<'input>>,
    anchors: BTreeMap<usize, Anchored>,
    /// Values so far.
    nodes: usize,
    /// Bytes of their texts.
    bytes: usize,
    /// Bytes that copies may still have.
    growth: usize,
}

/// A value that aliases stand for.
#[derive(Clone)]
struct Anchored {
    value: Value,
    nodes: usize,
    bytes: usize,
}

impl<'input> Loader<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Span), Error> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Error {
                line: error.marker().line(),
                problem: Problem::Syntax {
                    reason: error.info().to_owned(),
                },
            }),
            None => Err(Error {
                line: 1,
                problem: Problem::Syntax {
                    reason: "the stream ends early".to_owned(),
                },
            }),
        }
    }

    fn value(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Value, Error> {
        let line = span.start.line();
        let fail = |problem| Err(Error { line, problem });
        if depth > MAX_DEPTH {
            return fail(Problem::TooDeep);
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return fail(Problem::TooLarge);
        }
        let (nodes, bytes) = (self.nodes - 1, self.bytes);
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                return self
                    .expand(anchor)
                    .map_err(|problem| Error { line, problem });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.bytes += text.len();
                let tag = tag.as_deref().and_then(core_tag);
                let value = scalar::resolve(&text, style, tag)
                    .map_err(|problem| Error { line, problem })?;
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            // The parser puts an empty scalar where a value is missing.
            _ => (Value::Null, 0),
        };
        if anchor > 0 {
            let (nodes, bytes) = (self.nodes - nodes, self.bytes - bytes);
            self.grow(nodes, bytes)
                .map_err(|problem| Error { line, problem })?;
            let value = value.clone();
            self.anchors.insert(
                anchor,
                Anchored {
                    value,
                    nodes,
                    bytes,
                },
            );
        }
        Ok(value)
    }

    /// The value that an alias stands for.
    fn expand(&mut self, anchor: usize) -> Result<Value, Problem> {
        let Some(Anchored { nodes, bytes, .. }) = self.anchors.get(&anchor) else {
            return Err(Problem::UnknownAlias);
        };
        let (nodes, bytes) = (*nodes, *bytes);
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MAX_NODES {
            return Err(Problem::TooLarge);
        }
        self.grow(nodes, bytes)?;
        let anchored = self.anchors.get(&anchor);
        anchored
            .map(|anchored| anchored.value.clone())
            .ok_or(Problem::UnknownAlias)
    }

    /// Counts a copy before it is made. A value is at least two bytes of a stream.
    fn grow(&mut self, nodes: usize, bytes: usize) -> Result<(), Problem> {
        let left = self.growth.checked_sub(2 * nodes + bytes);
        self.growth = left.ok_or(Problem::TooMuchRepeated)?;
        Ok(())
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.value(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Error> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => {
                    self.bytes += text.len();
                    text.into_owned()
                }
                Event::Alias(_) => match self.value(event, span, depth + 1)? {
                    Value::String(text) => text,
                    _ => {
                        return Err(Error {
                            line,
                            problem: Problem::ComplexKey,
                        });
                    }
                },
                _ => {
                    return Err(Error {
                        line,
                        problem: Problem::ComplexKey,
                    });
                }
            };
            let (event, span) = self.next()?;
            let value = self.value(event, span, depth + 1)?;
            if is_merge {
                merged.push((value, line));
            } else if map.insert(key.clone(), value).is_some() {
                return Err(Error {
                    line,
                    problem: Problem::DuplicateKey { key },
                });
            }
        }
        for (value, line) in merged {
            merge(&mut map, value).map_err(|problem| Error { line, problem })?;
        }
        Ok(Value::Object(map))
    }
}

/// YAML 1.1's `<<`: keys that the mapping does not have itself, the first source wins.
fn merge(map: &mut Map<String, Value>, source: Value) -> Result<(), Problem> {
    match source {
        Value::Object(source) => {
            for (key, value) in source {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(sources) => sources.into_iter().try_for_each(|source| match source {
            Value::Object(_) => merge(map, source),
            _ => Err(Problem::MergeKey),
        }),
        _ => Err(Problem::MergeKey),
    }
}

fn core_tag(tag: &Tag) -> Option<&str> {
    match tag.handle.as_str() {
        "tag:yaml.org,2002:" | "!!" => Some(tag.suffix.as_str()),
        "!" if tag.suffix.is_empty() => Some("str"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
