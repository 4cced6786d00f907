//! Header changes of routes, compiled; no IO.

use fairlead_xds::resource::route::{AddMode, HeaderAdd, HeaderMutations};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Error;

/// The changes that one route makes, of all levels, the most specific first.
#[derive(Debug, Clone, Default)]
pub struct Mutations {
    /// On the request.
    pub request: Changes,
    /// On the response.
    pub response: Changes,
}

impl Mutations {
    /// Compiles `levels`, the most specific first.
    pub fn compile<'m>(
        levels: impl IntoIterator<Item = &'m HeaderMutations>,
    ) -> Result<Self, Error> {
        let mut mutations = Self::default();
        for level in levels {
            mutations
                .request
                .push(&level.request_add, &level.request_remove)?;
            mutations
                .response
                .push(&level.response_add, &level.response_remove)?;
        }
        Ok(mutations)
    }
}

/// Changes in the order in which they are made.
#[derive(Debug, Clone, Default)]
pub struct Changes(Vec<Change>);

#[derive(Debug, Clone)]
enum Change {
    Add {
        name: HeaderName,
        value: Value,
        mode: AddMode,
    },
    Remove(HeaderName),
}

#[derive(Debug, Clone)]
enum Value {
    Literal(HeaderValue),
    Template(Vec<Part>),
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Header(HeaderName),
    RemoteAddress,
}

/// What templates of header values can mention.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Address of the downstream, without its port.
    pub remote: std::net::IpAddr,
}

impl Changes {
    fn push(&mut self, add: &[HeaderAdd], remove: &[String]) -> Result<(), Error> {
        for HeaderAdd { name, value, mode } in add {
            let value = Value::compile(name, value)?;
            self.0.push(Change::Add {
                name: parse_name(name)?,
                value,
                mode: *mode,
            });
        }
        for name in remove {
            self.0.push(Change::Remove(parse_name(name)?));
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes the changes. A new `host` is returned and not set: it is not a header in HTTP/2.
    pub fn apply(&self, headers: &mut HeaderMap, facts: Option<Facts>) -> Option<HeaderValue> {
        let mut host = None;
        for change in &self.0 {
            match change {
                Change::Remove(name) => {
                    headers.remove(name);
                }
                Change::Add { name, value, mode } => {
                    let value = match value {
                        Value::Literal(value) => Some(value.clone()),
                        Value::Template(parts) => expand(parts, headers, facts),
                    };
                    let Some(value) = value else { continue };
                    if *name == http::header::HOST {
                        host = Some(value);
                        continue;
                    }
                    match mode {
                        AddMode::Append => {
                            headers.append(name, value);
                        }
                        AddMode::IfAbsent => {
                            headers.entry(name).or_insert(value);
                        }
                        AddMode::Overwrite => {
                            headers.insert(name, value);
                        }
                        AddMode::OverwriteIfPresent => {
                            if headers.contains_key(name) {
                                headers.insert(name, value);
                            }
                        }
                    }
                }
            }
        }
        host
    }
}

impl Value {
    fn compile(name: &str, text: &str) -> Result<Self, Error> {
        let invalid = |_error| Error::HeaderValue(name.to_owned());
        let parts = parse_template(text);
        match parts.as_slice() {
            [] => Ok(Self::Literal(HeaderValue::from_static(""))),
            [Part::Text(text)] => HeaderValue::from_str(text)
                .map(Self::Literal)
                .map_err(invalid),
            _ => {
                // A literal part that cannot be a header value is found now, not per request.
                for part in &parts {
                    if let Part::Text(text) = part {
                        HeaderValue::from_str(text).map_err(invalid)?;
                    }
                }
                Ok(Self::Template(parts))
            }
        }
    }
}

/// Splits `text` at the `%COMMAND%`s that we know; others stay as they are, and `%%` is a percent
/// sign.
fn parse_template(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        let Some((command, tail)) = after.split_once('%') else {
            literal.push('%');
            rest = after;
            continue;
        };
        if command.is_empty() {
            literal.push('%');
        } else if let Some(part) = parse_command(command) {
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
        } else {
            literal.push('%');
            literal.push_str(command);
            literal.push('%');
        }
        rest = tail;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    parts
}

fn parse_command(command: &str) -> Option<Part> {
    if command == "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" {
        return Some(Part::RemoteAddress);
    }
    let name = command.strip_prefix("REQ(")?.strip_suffix(')')?;
    parse_name(name).ok().map(Part::Header)
}

fn expand(parts: &[Part], request: &HeaderMap, facts: Option<Facts>) -> Option<HeaderValue> {
    let mut value = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => value.extend_from_slice(text.as_bytes()),
            Part::Header(name) => {
                value.extend_from_slice(request.get(name).map_or(b"-", HeaderValue::as_bytes));
            }
            Part::RemoteAddress => {
                if let Some(facts) = facts {
                    value.extend_from_slice(facts.remote.to_string().as_bytes());
                }
            }
        }
    }
    HeaderValue::from_bytes(&value).ok()
}

fn parse_name(name: &str) -> Result<HeaderName, Error> {
    let plain = match name {
        ":authority" => "host",
        name => name,
    };
    HeaderName::try_from(plain).map_err(|_error| Error::HeaderName(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, value: &str, mode: AddMode) -> HeaderAdd {
        HeaderAdd {
            name: name.to_owned(),
            value: value.to_owned(),
            mode,
        }
    }

    fn apply(add: Vec<HeaderAdd>, remove: &[&str], headers: &[(&'static str, &str)]) -> HeaderMap {
        let level = HeaderMutations {
            request_add: add,
            request_remove: remove.iter().map(|&name| name.to_owned()).collect(),
            ..HeaderMutations::default()
        };
        let mutations = Mutations::compile([&level]).unwrap();
        let mut map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        mutations.request.apply(&mut map, None);
        map
    }

    #[test]
    fn each_mode_treats_a_present_header_its_own_way() {
        let check = |mode, expected: &[&str]| {
            let headers = apply(vec![add("x-a", "new", mode)], &[], &[("x-a", "old")]);
            let values: Vec<_> = headers.get_all("x-a").iter().collect();
            assert_eq!(values, expected, "{mode:?}");
        };
        check(AddMode::Append, &["old", "new"]);
        check(AddMode::IfAbsent, &["old"]);
        check(AddMode::Overwrite, &["new"]);
        check(AddMode::OverwriteIfPresent, &["new"]);
        assert!(apply(vec![add("x-a", "v", AddMode::OverwriteIfPresent)], &[], &[]).is_empty());
    }

    #[test]
    fn removals_come_after_additions_of_their_level() {
        assert!(apply(vec![add("x-a", "v", AddMode::Append)], &["x-a"], &[]).is_empty());
    }

    #[test]
    fn a_value_can_quote_a_request_header() {
        let headers = apply(
            vec![add("x-b", "<%REQ(x-a)%> 100%%", AddMode::Overwrite)],
            &[],
            &[("x-a", "1")],
        );
        assert_eq!(headers["x-b"], "<1> 100%");
    }

    #[test]
    fn a_bad_name_or_value_is_refused_when_compiled() {
        let level = |name: &str, value: &str| HeaderMutations {
            response_add: vec![add(name, value, AddMode::Append)],
            ..HeaderMutations::default()
        };
        Mutations::compile([&level("bad name", "v")]).unwrap_err();
        Mutations::compile([&level("x", "a\nb")]).unwrap_err();
    }
}
