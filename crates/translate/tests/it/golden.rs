//! Every case translates to its golden. `UPDATE_GOLDENS=1` writes them anew, to be reviewed.

use std::fmt::Write as _;

use fairlead_xds::resource::Resource;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::case;

#[test]
fn every_case_translates_to_its_golden() {
    for case in case::all() {
        let translation = case.translation();
        let mut text = String::new();
        for diagnostic in &translation.diagnostics {
            writeln!(text, "# {:?}: {diagnostic}", diagnostic.severity).unwrap();
        }
        let mut shown = vec![false; case.header.show.len()];
        for resource in case::decoded(&translation) {
            let (kind, name) = (resource.type_url(), resource.name().to_owned());
            let Some(position) = case.header.show.iter().position(|(wanted, start)| {
                *wanted == kind.short() && name.starts_with(start.as_str())
            }) else {
                continue;
            };
            shown[position] = true;
            let sources: Vec<_> = translation
                .sources
                .get(&(kind, name.clone()))
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect();
            let mut entry = json!({ "type": kind.short() });
            if !sources.is_empty() {
                entry["sources"] = json!(sources);
            }
            entry["resource"] = tidy(value(&resource)).unwrap_or_default();
            write!(text, "---\n{}", serde_yaml_ng::to_string(&entry).unwrap()).unwrap();
        }
        for (wanted, is_shown) in case.header.show.iter().zip(shown) {
            assert!(is_shown, "{}: nothing to show for {wanted:?}", case.name);
        }
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(&case.out, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&case.out).unwrap_or_default();
        assert_eq!(text, golden, "{}", case.name);
    }
}

fn value(resource: &Resource) -> Value {
    fn to_value(resource: &impl Serialize) -> Value {
        serde_json::to_value(resource).unwrap()
    }
    match resource {
        Resource::Cluster(cluster) => to_value(cluster),
        Resource::Endpoint(assignment) => to_value(assignment),
        Resource::Listener(listener) => to_value(listener),
        Resource::Route(routes) => to_value(routes),
        Resource::Secret(secret) => to_value(secret),
    }
}

fn is_variant(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
}

/// Leaves out what is empty, and writes durations as people do.
fn tidy(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Array(list) => {
            let list: Vec<_> = list.into_iter().filter_map(tidy).collect();
            (!list.is_empty()).then_some(Value::Array(list))
        }
        Value::Object(fields) if fields.contains_key("nanos") => {
            let number = |name: &str| fields[name].as_u64().unwrap();
            let time =
                std::time::Duration::new(number("secs"), number("nanos").try_into().unwrap());
            Some(Value::String(format!("{time:?}")))
        }
        // A variant tells by its name alone.
        Value::Object(fields)
            if fields.len() == 1 && fields.keys().all(|name| is_variant(name)) =>
        {
            let content = |value| tidy(value).unwrap_or_else(|| Value::Object(Map::new()));
            Some(Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name, content(value)))
                    .collect(),
            ))
        }
        Value::Object(fields) => {
            let fields: Map<_, _> = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, tidy(value)?)))
                .collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        other @ (Value::Number(_) | Value::Bool(true)) => Some(other),
    }
}
