//! From the JSON schema that schemars writes to the structural schema that the API server takes.
//!
//! Pure.

use serde_json::{Map, Value, json};

use crate::schema::DEFAULT;

/// Formats that the API server knows; it warns about others at each apply.
const FORMATS: &[&str] = &[
    "int32",
    "int64",
    "float",
    "double",
    "byte",
    "date",
    "date-time",
    "duration",
];

/// Brings a schema, and all below it, into structural form.
pub(super) fn make_structural(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    merge_option(object);
    merge_variants(object);
    drop_null_type(object);
    bound_unsigned(object);
    keep_known_format(object);
    object.remove("default");
    if let Some(default) = object.remove(DEFAULT) {
        object.insert("default".to_owned(), default);
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            make_structural(inner);
        }
    }
    // `additionalProperties: false` is how serde says "unknown fields are refused"; ours never are.
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.remove("additionalProperties");
    }
}

/// `anyOf: [X, null]`, an optional struct, becomes X; what stands beside it wins over X's own.
fn merge_option(object: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = object.get_mut("anyOf") else {
        return;
    };
    let null = json!({ "type": "null" });
    if alternatives.len() != 2 || alternatives[1] != null {
        return;
    }
    let Value::Object(inner) = alternatives.remove(0) else {
        return;
    };
    object.remove("anyOf");
    for (key, value) in inner {
        object.entry(key).or_insert(value);
    }
}

/// An enumeration whose variants are documented becomes a plain `enum`,
/// and the variants' texts move into the description.
fn merge_variants(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.get("oneOf") else {
        return;
    };
    let mut values = Vec::new();
    let mut texts = Vec::new();
    for variant in variants {
        let Some(value) = variant.get("const") else {
            return;
        };
        if let (Some(name), Some(text)) = (
            value.as_str(),
            variant.get("description").and_then(Value::as_str),
        ) {
            texts.push(format!("`{name}` ({text})"));
        }
        values.push(value.clone());
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = format!("{description} One of {}.", texts.join(", "));
    }
    object.remove("oneOf");
    object.insert("type".to_owned(), json!("string"));
    // A list of texts on the field, wider than the type's, stays.
    object.entry("enum").or_insert(Value::Array(values));
}

fn drop_null_type(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// 32 bits without a sign have no format of their own, so their bounds are written out.
fn bound_unsigned(object: &mut Map<String, Value>) {
    if object.get("format").and_then(Value::as_str) == Some("uint32") {
        object.entry("minimum").or_insert(json!(0));
        object.entry("maximum").or_insert(json!(u32::MAX));
    }
}

fn keep_known_format(object: &mut Map<String, Value>) {
    let known = object.get("format").is_none_or(|format| {
        format
            .as_str()
            .is_some_and(|format| FORMATS.contains(&format))
    });
    if !known {
        object.remove("format");
    }
}

/// Writes numbers without a fraction as integers, as people would.
pub(super) fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "only when nothing is lost")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                json!(float as i64)
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(object) => object
            .into_iter()
            .map(|(key, value)| (key, whole_numbers(value)))
            .collect(),
        other => other,
    }
}
