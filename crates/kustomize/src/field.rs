//! Walking to a field of an object by its path.
//!
//! A path is `a/b/c`; lists on the way are entered, so `spec/containers/image` is the image of
//! every container. A `/` inside a name is written `\/`, and `[]` after a name is allowed.

use serde_json::{Map, Value};

/// What to do where a field on the way is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make mappings down to the field, whose value is then null.
    Create,
    /// Leave the object alone.
    Skip,
}

/// Calls `visit` with each value that the path leads to.
pub(crate) fn visit(
    value: &mut Value,
    path: &str,
    missing: Missing,
    visit: &mut dyn FnMut(&mut Value),
) {
    let names = split(path);
    walk(value, &names, missing, visit);
}

/// The value at a path that crosses no list.
pub(crate) fn find<'value>(value: &'value Value, path: &str) -> Option<&'value Value> {
    path.split('/')
        .try_fold(value, |value, name| value.get(name))
}

/// The string at a path that crosses no list.
pub(crate) fn find_str<'value>(value: &'value Value, path: &str) -> Option<&'value str> {
    find(value, path).and_then(Value::as_str)
}

/// The mapping under a key, made where it is missing or null.
pub(crate) fn mapping<'map>(
    map: &'map mut Map<String, Value>,
    key: &str,
) -> Option<&'map mut Map<String, Value>> {
    let value = map.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn walk(value: &mut Value, names: &[String], missing: Missing, visit: &mut dyn FnMut(&mut Value)) {
    if let (Value::Array(items), [_, ..]) = (&mut *value, names) {
        for item in items {
            walk(item, names, missing, visit);
        }
        return;
    }
    let Some((name, rest)) = names.split_first() else {
        visit(value);
        return;
    };
    if missing == Missing::Create && value.is_null() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    match (map.get_mut(name), missing) {
        (Some(next), _) => walk(next, rest, missing, visit),
        (None, Missing::Create) => {
            walk(map.entry(name).or_insert(Value::Null), rest, missing, visit);
        }
        (None, Missing::Skip) => {}
    }
}

fn split(path: &str) -> Vec<String> {
    const ESCAPED: &str = "\u{0}";
    path.replace("\\/", ESCAPED)
        .split('/')
        .map(|name| name.trim_end_matches("[]").replace(ESCAPED, "/"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_on_the_way_are_entered() {
        let mut value = json!({"spec": {"c": [{"i": "a"}, {"i": "b"}, {}]}});
        visit(&mut value, "spec/c[]/i", Missing::Skip, &mut |image| {
            *image = json!("x");
        });
        assert_eq!(value, json!({"spec": {"c": [{"i": "x"}, {"i": "x"}, {}]}}));
    }

    #[test]
    fn missing_mappings_are_made_only_when_asked() {
        let mut value = json!({});
        visit(&mut value, "a/b", Missing::Skip, &mut |_| {
            panic!("nothing is there")
        });
        visit(&mut value, "a/b", Missing::Create, &mut |found| {
            *found = json!(1);
        });
        visit(&mut value, "m/k\\/l", Missing::Create, &mut |found| {
            *found = json!(2);
        });
        assert_eq!(value, json!({"a": {"b": 1}, "m": {"k/l": 2}}));
    }
}
