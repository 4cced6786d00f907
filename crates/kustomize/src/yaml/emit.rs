//! JSON values as YAML text that any YAML reader turns back into the same values.
//!
//! Short strings stand plain where that is safe, which lets a text substitution such as
//! `${REPLICAS}` become a number; long texts are literal blocks.

use std::fmt::Write as _;

use serde_json::Value;

use super::scalar;

/// Writes a value as one YAML document without its `---`.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, 0, Place::Document);
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Document,
    MapValue,
    Item,
}

fn write_value(out: &mut String, value: &Value, indent: usize, place: Place) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            if place == Place::MapValue {
                out.push('\n');
            }
            for (position, (key, value)) in map.iter().enumerate() {
                if position > 0 || place != Place::Item {
                    pad(out, indent);
                }
                write_string(out, key, None);
                out.push(':');
                let nested = if value.is_array() { indent } else { indent + 2 };
                write_child(out, value, nested);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            if place == Place::MapValue {
                out.push('\n');
            }
            for (position, item) in items.iter().enumerate() {
                if position > 0 || place != Place::Item {
                    pad(out, indent);
                }
                out.push_str("- ");
                write_value(out, item, indent + 2, Place::Item);
            }
        }
        Value::String(text) => {
            write_string(out, text, Some(indent));
            out.push('\n');
        }
        // Null, booleans, numbers and what is empty are the same in JSON and in YAML.
        other => {
            // Writing into a String cannot fail.
            let _ = writeln!(out, "{other}");
        }
    }
}

fn write_child(out: &mut String, value: &Value, indent: usize) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if !nested {
        out.push(' ');
    }
    write_value(out, value, indent, Place::MapValue);
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A string as a key (no block indent) or as a value.
fn write_string(out: &mut String, text: &str, block_indent: Option<usize>) {
    if is_plain(text) {
        out.push_str(text);
    } else if let Some(indent) = block_indent.filter(|_| is_literal(text)) {
        let indent = indent.max(2);
        out.push('|');
        if !text.ends_with('\n') {
            out.push('-');
        } else if text.ends_with("\n\n") || text == "\n" {
            out.push('+');
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            out.push('\n');
            if !line.is_empty() {
                pad(out, indent);
                out.push_str(line);
            }
        }
    } else {
        // A JSON string is a YAML double-quoted scalar.
        let _ = write!(out, "{}", Value::from(text));
    }
}

/// Whether the text may stand without quotes and still be this very string to any reader.
fn is_plain(text: &str) -> bool {
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return false;
    };
    let starts_well = first.is_ascii_alphanumeric() || matches!(first, '/' | '_' | '$');
    let rest_well = characters.all(|character| {
        character.is_ascii_alphanumeric()
            || matches!(
                character,
                ' ' | '-'
                    | '_'
                    | '.'
                    | '/'
                    | '$'
                    | '{'
                    | '}'
                    | '('
                    | ')'
                    | '='
                    | '+'
                    | '*'
                    | '@'
                    | ','
                    | ';'
                    | '%'
                    | '^'
                    | '~'
                    | ':'
                    | '['
                    | ']'
                    | '<'
                    | '>'
                    | '?'
                    | '!'
                    | '&'
                    | '|'
                    | '\''
                    | '"'
                    | '\\'
            )
    });
    starts_well
        && rest_well
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !is_ambiguous(text)
}

fn is_ambiguous(text: &str) -> bool {
    const OLD_BOOLEANS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    let looks_like_date_or_time = text.starts_with(|first: char| first.is_ascii_digit())
        && text.contains(['-', ':'])
        && !text.contains(['/', '$']);
    OLD_BOOLEANS
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
        || looks_like_date_or_time
        || !matches!(scalar::plain(text), Ok(Value::String(_)))
}

/// Whether a literal block keeps the text as it is.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|character| {
            character == '\n' || character == '\t' || (' '..='~').contains(&character)
        })
        && text
            .lines()
            .all(|line| !line.ends_with([' ', '\t']) && !line.starts_with('\t'))
}
