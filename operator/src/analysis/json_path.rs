//! Paths into JSON: the part of RFC 9535 that names places, without filters. Pure.
//!
//! `$.data[0].value`, `$['a b']`, `$.all[*].p99`, `$.list[-1]`; braces around it, as `kubectl`
//! writes them, are accepted.

use std::str::FromStr;

use serde_json::Value;

/// A path into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    /// From the end when negative.
    Index(i64),
    All,
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path such as `$.data[0].value`; filters and `..` are not supported")]
pub(super) struct NoPath(String);

impl FromStr for Path {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        let inner = text.trim();
        let inner = inner
            .strip_prefix('{')
            .and_then(|inner| inner.strip_suffix('}'))
            .unwrap_or(inner);
        steps(inner.trim())
            .map(Self)
            .ok_or_else(|| NoPath(text.to_owned()))
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let step;
        (step, rest) = if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, rest) = after.split_at(end);
            (dotted(name)?, rest)
        } else {
            bracketed(rest.strip_prefix('[')?)?
        };
        steps.push(step);
    }
    Some(steps)
}

fn dotted(name: &str) -> Option<Step> {
    if name == "*" {
        return Some(Step::All);
    }
    let is_name = |letter: char| letter.is_alphanumeric() || "_-".contains(letter);
    (!name.is_empty() && name.chars().all(is_name)).then(|| Step::Name(name.to_owned()))
}

fn bracketed(text: &str) -> Option<(Step, &str)> {
    if let Some(quote) = text.chars().next().filter(|first| "'\"".contains(*first)) {
        let (name, rest) = text.get(1..)?.split_once(quote)?;
        return Some((Step::Name(name.to_owned()), rest.strip_prefix(']')?));
    }
    let (inner, rest) = text.split_once(']')?;
    let step = match inner {
        "*" => Step::All,
        index => Step::Index(index.parse().ok()?),
    };
    Some((step, rest))
}

impl Path {
    /// All places that the path names.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut places = vec![value];
        for step in &self.0 {
            places = places
                .into_iter()
                .flat_map(|place| step.take(place))
                .collect();
        }
        places
    }
}

impl Step {
    fn take<'a>(&self, place: &'a Value) -> Vec<&'a Value> {
        match (self, place) {
            (Self::Name(name), Value::Object(object)) => object.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(list)) => {
                let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { index + length } else { *index };
                let found = usize::try_from(index)
                    .ok()
                    .and_then(|index| list.get(index));
                found.into_iter().collect()
            }
            (Self::All, Value::Array(list)) => list.iter().collect(),
            (Self::All, Value::Object(object)) => object.values().collect(),
            (Self::Name(_) | Self::Index(_) | Self::All, _) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expected: &Value) {
        let document = json!({
            "data": { "list": [1, 2, 3], "a b": 4, "p.99": 5 },
            "all": [{ "v": 6 }, { "v": 7 }, { "w": 8 }],
        });
        let path: Path = path.parse().unwrap();
        let found: Vec<_> = path.find(&document).into_iter().cloned().collect();
        assert_eq!(json!(found), *expected, "{path:?}");
    }

    #[test]
    fn paths_name_places() {
        check("$.data.list[0]", &json!([1]));
        check("{$.data.list[-1]}", &json!([3]));
        check("$['data'][\"a b\"]", &json!([4]));
        check("$.data['p.99']", &json!([5]));
        check("$.all[*].v", &json!([6, 7]));
        check("$.data.list.*", &json!([1, 2, 3]));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "$.nothing",
            "$.data.list[3]",
            "$.data.list[-4]",
            "$.data[0]",
            "$.all.v",
        ] {
            check(path, &json!([]));
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "data",
            "$..v",
            "$.a[",
            "$.a[x]",
            "$.a['x]",
            "$.",
            "$a",
            "$[?(@.v)]",
        ] {
            text.parse::<Path>().expect_err(text);
        }
    }
}
