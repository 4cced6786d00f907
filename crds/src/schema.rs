//! Schema attributes that API types share: what the API server checks before we see an object.
//!
//! Each function returns a transform for `#[schemars(transform = …)]`.
//! Rules are in [CEL](https://kubernetes.io/docs/reference/using-api/cel/); where a rule stands below
//! unbounded lists, plain JSON schema is used, since the API server limits what CEL may cost.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

const VALIDATIONS: &str = "x-kubernetes-validations";

/// Marks a default that the API server writes, apart from those that serde fills in.
pub(crate) const DEFAULT: &str = "x-fairlead-default";

/// Adds a CEL rule that must hold, and what to tell the user when it does not.
pub(crate) fn rule(rule: &'static str, message: &'static str) -> impl Fn(&mut Schema) {
    move |schema| {
        let rules = schema
            .ensure_object()
            .entry(VALIDATIONS)
            .or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(json!({ "rule": rule, "message": message }));
        }
    }
}

/// A duration of at least one millisecond.
pub(crate) fn duration(schema: &mut Schema) {
    rule(
        "duration(self) >= duration('1ms')",
        "must be a duration of 1ms or more, such as 1.5s",
    )(schema);
}

/// At most one of the fields is set.
pub(crate) fn at_most_one_of(fields: &'static [&'static str]) -> impl Fn(&mut Schema) {
    move |schema| {
        let mut alternatives = vec![json!({ "not": { "anyOf": required_each(fields) } })];
        alternatives.extend(required_each(fields));
        require_one_of(schema, alternatives);
    }
}

/// Exactly one of the groups of fields is set.
pub(crate) fn exactly_one_of(groups: &'static [&'static [&'static str]]) -> impl Fn(&mut Schema) {
    move |schema| {
        let alternatives = groups
            .iter()
            .map(|group| json!({ "required": group }))
            .collect();
        require_one_of(schema, alternatives);
    }
}

fn required_each(fields: &[&str]) -> Vec<Value> {
    fields
        .iter()
        .map(|field| json!({ "required": [field] }))
        .collect()
}

/// A second `oneOf` on the same schema joins the first in an `allOf`.
fn require_one_of(schema: &mut Schema, alternatives: Vec<Value>) {
    let object = schema.ensure_object();
    if object.contains_key("oneOf") || object.contains_key("allOf") {
        let first = object
            .remove("oneOf")
            .map(|first| json!({ "oneOf": first }));
        let all = object.entry("allOf").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.extend(first);
            all.push(json!({ "oneOf": alternatives }));
        }
    } else {
        object.insert("oneOf".to_owned(), Value::Array(alternatives));
    }
}

/// Applies a transform to the values of a map.
pub(crate) fn values(transform: impl Fn(&mut Schema)) -> impl Fn(&mut Schema) {
    nested("additionalProperties", transform)
}

/// Applies a transform to the items of a list.
pub(crate) fn items(transform: impl Fn(&mut Schema)) -> impl Fn(&mut Schema) {
    nested("items", transform)
}

fn nested(key: &'static str, transform: impl Fn(&mut Schema)) -> impl Fn(&mut Schema) {
    move |schema| {
        let inner = schema
            .ensure_object()
            .entry(key)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Ok(inner) = <&mut Schema>::try_from(inner) {
            transform(inner);
        }
    }
}

/// Sets a keyword, for those that schemars has no attribute for.
pub(crate) fn set(key: &'static str, value: impl Into<Value> + Clone) -> impl Fn(&mut Schema) {
    move |schema| {
        schema.insert(key.to_owned(), value.clone().into());
    }
}

/// One of these texts, for fields whose values Rust keeps as text.
pub(crate) fn one_of_texts(texts: &'static [&'static str]) -> impl Fn(&mut Schema) {
    set("enum", texts.to_vec())
}

/// `null` is a value of its own, as upstream allows it here.
pub(crate) fn nullable(schema: &mut Schema) {
    schema.insert("nullable".to_owned(), Value::Bool(true));
}

/// Fields that are not in the schema are kept, for statuses that others write too.
pub(crate) fn open(schema: &mut Schema) {
    schema.insert(
        "x-kubernetes-preserve-unknown-fields".to_owned(),
        Value::Bool(true),
    );
}

/// An integer or a text, which the API server keeps as it was written.
pub(crate) fn int_or_string(schema: &mut Schema) {
    let object = schema.ensure_object();
    for key in ["type", "format", "anyOf", "oneOf"] {
        object.remove(key);
    }
    object.insert("x-kubernetes-int-or-string".to_owned(), Value::Bool(true));
    object.insert(
        "anyOf".to_owned(),
        json!([{ "type": "integer" }, { "type": "string" }]),
    );
}

/// The value that the API server writes where the user has none.
pub(crate) fn default_to(value: impl Into<Value> + Clone) -> impl Fn(&mut Schema) {
    set(DEFAULT, value)
}

/// Drops the checks of a type that another group lets through unchecked.
pub(crate) fn unchecked(schema: &mut Schema) {
    fn visit(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.remove(VALIDATIONS);
                // Properties may bear the same name: only the keyword is a list.
                if object.get("required").is_some_and(Value::is_array)
                    && object.contains_key("properties")
                {
                    object.remove("required");
                }
                object.values_mut().for_each(visit);
            }
            Value::Array(array) => array.iter_mut().for_each(visit),
            _ => {}
        }
    }
    if let Some(object) = schema.as_object_mut() {
        object.values_mut().for_each(visit);
        object.remove(VALIDATIONS);
        object.remove("required");
    }
}

/// Conditions of our own kinds and of GitOps kinds.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": "Name of the condition.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
                                (([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "description": "Whether the condition holds.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, as one CamelCase word.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, as a sentence.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "observedGeneration": {
                    "description": "The generation of the spec that was looked at.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
            },
        },
    })
}

/// Conditions of a Canary, which have a field more and fewer needs.
pub(crate) fn canary_conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["reason", "status", "type"],
            "properties": {
                "type": { "description": "Name of the condition.", "type": "string" },
                "status": {
                    "description": "Whether the condition holds: True, False or Unknown.",
                    "type": "string",
                },
                "reason": { "description": "Why, as one CamelCase word.", "type": "string" },
                "message": { "description": "Why, as a sentence.", "type": "string" },
                "observedGeneration": {
                    "description": "The generation of the spec that was looked at.",
                    "type": "integer",
                    "format": "int64",
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
                "lastUpdateTime": {
                    "description": "When the condition was last looked at.",
                    "type": "string",
                    "format": "date-time",
                },
            },
        },
    })
}
