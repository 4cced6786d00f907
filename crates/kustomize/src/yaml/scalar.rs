//! The type of a scalar: YAML 1.2's core schema with YAML 1.1's numbers.
//!
//! `yes`, `on` and `y` stay strings, `0644` and `1_000` are integers, a date is a string: what
//! `kubectl kustomize` makes of them.

use saphyr_parser::ScalarStyle;
use serde_json::{Number, Value};

use super::Problem;

/// The value of a scalar with this style and this tag of the core schema.
pub(super) fn resolve(text: &str, style: ScalarStyle, tag: Option<&str>) -> Result<Value, Problem> {
    let scalar = |kind| Problem::Scalar {
        text: text.to_owned(),
        kind,
    };
    match tag {
        Some("str" | "binary" | "timestamp") => Ok(Value::String(text.to_owned())),
        Some("int") => plain(text)?
            .as_i64()
            .map(Value::from)
            .ok_or_else(|| scalar("integer")),
        Some("float") => {
            let value = plain(text)?;
            if value.is_number() {
                Ok(value)
            } else {
                Err(scalar("number"))
            }
        }
        Some("bool") => {
            let value = plain(text)?;
            if value.is_boolean() {
                Ok(value)
            } else {
                Err(scalar("boolean"))
            }
        }
        Some("null") => Ok(Value::Null),
        _ if style == ScalarStyle::Plain => plain(text),
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// What a plain scalar without a tag means.
pub(super) fn plain(text: &str) -> Result<Value, Problem> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => {
            return Err(Problem::Scalar {
                text: text.to_owned(),
                kind: "number that JSON can hold",
            });
        }
        _ => {}
    }
    Ok(number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number))
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let digits = text.replace('_', "");
    integer(&digits).or_else(|| float(&digits))
}

fn integer(text: &str) -> Option<Number> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &magnitude[2..]),
        [b'0', b'o' | b'O', ..] => (8, &magnitude[2..]),
        [b'0', b'b' | b'B', ..] => (2, &magnitude[2..]),
        [b'0', _, ..] => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        i64::try_from(-i128::from(value)).ok().map(Number::from)
    } else {
        Some(Number::from(value))
    }
}

fn float(text: &str) -> Option<Number> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let has_digit = unsigned.bytes().any(|byte| byte.is_ascii_digit());
    let is_float = unsigned
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !has_digit || !is_float || unsigned.starts_with(['e', 'E']) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // JSON writers print a whole float without a fraction, and API servers then read an integer.
    if value.fract() == 0.0 && value.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 1e15")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}
