//! The text side of substitution: finding expressions and computing their values.

use super::Variables;

/// No object that a cluster stores is longer; a few variables in each other's values could make
/// one of any length.
const MAX_LENGTH: usize = 4 << 20;

/// Expressions within each other; it bounds the recursion.
const MAX_NESTING: usize = 16;

/// What went wrong, without the object that it concerns.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Missing(String),
    Malformed(String),
    TooLong,
}

/// Fills in every expression of a text.
pub(super) fn expand(text: &str, variables: &Variables) -> Result<String, Failure> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        if rest.starts_with("$${") {
            out.push_str("${");
            rest = &rest[3..];
        } else if rest.starts_with("${") {
            let end = closing_brace(rest).ok_or_else(|| malformed(rest))?;
            let value = evaluate(&rest[2..end], variables)?;
            if out.len() + value.len() > MAX_LENGTH {
                return Err(Failure::TooLong);
            }
            out.push_str(&value);
            rest = &rest[end + 1..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether expressions can use this name.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|character| character == '_' || character.is_ascii_alphanumeric())
}

fn malformed(text: &str) -> Failure {
    Failure::Malformed(
        text.lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(80)
            .collect(),
    )
}

/// The `}` that ends the `${` at the start of the text.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (position, character) in text.char_indices() {
        match character {
            '\n' => return None,
            '{' if text[..position].ends_with('$') => {
                depth += 1;
                if depth > MAX_NESTING {
                    return None;
                }
            }
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(position);
                }
            }
            _ => {}
        }
    }
    None
}

fn evaluate(expression: &str, variables: &Variables) -> Result<String, Failure> {
    let value_of = |name: &str| {
        let value = variables.get(name).map(|value| value.replace('\n', ""));
        value.filter(|value| !value.is_empty())
    };
    if let Some(name) = expression.strip_prefix('#').filter(|name| is_name(name)) {
        let value = value_of(name).ok_or_else(|| Failure::Missing(name.to_owned()))?;
        return Ok(value.len().to_string());
    }
    let end = expression
        .find(|character: char| character != '_' && !character.is_ascii_alphanumeric())
        .unwrap_or(expression.len());
    let (name, operator) = expression.split_at(end);
    if !is_name(name) {
        return Err(malformed(expression));
    }
    let value = value_of(name);
    if let Some(default) = default_of(operator) {
        return value.map_or_else(|| expand(default, variables), Ok);
    }
    let value = value.ok_or_else(|| Failure::Missing(name.to_owned()))?;
    transform(&value, operator, variables)?.ok_or_else(|| malformed(expression))
}

/// The default of the operators that have one; all of them mean "where unset or empty".
fn default_of(operator: &str) -> Option<&str> {
    [":=", ":-", "=", "-"]
        .into_iter()
        .find_map(|sign| operator.strip_prefix(sign))
}

/// The value after an operator; none where the operator is unknown.
fn transform(
    value: &str,
    operator: &str,
    variables: &Variables,
) -> Result<Option<String>, Failure> {
    let text = |argument: &str| expand(argument, variables);
    let transformed = match operator {
        "" => value.to_owned(),
        "^^" => value.to_uppercase(),
        ",," => value.to_lowercase(),
        "^" => map_first(value, |first| first.to_uppercase().collect()),
        "," => map_first(value, |first| first.to_lowercase().collect()),
        _ => {
            if let Some(argument) = operator
                .strip_prefix("##")
                .or_else(|| operator.strip_prefix('#'))
            {
                let argument = text(argument)?;
                value
                    .strip_prefix(argument.as_str())
                    .unwrap_or(value)
                    .to_owned()
            } else if let Some(argument) = operator
                .strip_prefix("%%")
                .or_else(|| operator.strip_prefix('%'))
            {
                let argument = text(argument)?;
                value
                    .strip_suffix(argument.as_str())
                    .unwrap_or(value)
                    .to_owned()
            } else if let Some(argument) = operator.strip_prefix('/') {
                replace(value, &text(argument)?)?
            } else if let Some(argument) = operator.strip_prefix(':') {
                return Ok(substring(value, argument));
            } else {
                return Ok(None);
            }
        }
    };
    Ok(Some(transformed))
}

fn map_first(value: &str, change: impl Fn(char) -> String) -> String {
    let mut characters = value.chars();
    characters
        .next()
        .map_or_else(String::new, |first| change(first) + characters.as_str())
}

/// `/old/new` replaces once, `//old/new` everywhere, `/#` at the start, `/%` at the end.
fn replace(value: &str, argument: &str) -> Result<String, Failure> {
    let (mode, pattern) = match argument.chars().next() {
        Some(mode @ ('/' | '#' | '%')) => (Some(mode), &argument[1..]),
        _ => (None, argument),
    };
    let (old, new) = pattern.split_once('/').unwrap_or((pattern, ""));
    Ok(match mode {
        Some('/') => {
            let added = value.matches(old).count().saturating_mul(new.len());
            if added > MAX_LENGTH {
                return Err(Failure::TooLong);
            }
            value.replace(old, new)
        }
        Some('#') => value
            .strip_prefix(old)
            .map_or_else(|| value.to_owned(), |rest| format!("{new}{rest}")),
        Some(_) => value
            .strip_suffix(old)
            .map_or_else(|| value.to_owned(), |rest| format!("{rest}{new}")),
        None => value.replacen(old, new, 1),
    })
}

/// `:offset` and `:offset:length`, in bytes; what lies outside the value is left out.
fn substring(value: &str, argument: &str) -> Option<String> {
    let (offset, length) = match argument.split_once(':') {
        Some((offset, length)) => (offset, Some(length.trim().parse::<usize>().ok()?)),
        None => (argument, None),
    };
    let start = offset.trim().parse::<usize>().ok()?.min(value.len());
    let end = length.map_or(value.len(), |length| {
        start.saturating_add(length).min(value.len())
    });
    value.get(start..end).map(str::to_owned)
}
