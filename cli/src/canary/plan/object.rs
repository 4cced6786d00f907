//! What becomes of each object. Pure.

use std::collections::BTreeSet;

use fairlead_operator::canary::preview::Change;
use fairlead_operator::dry_run::Write;
use serde::Serialize;
use serde_json::Value;

/// Fields that the API server keeps for itself, and that say nothing to people.
const BOOKKEEPING: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// An object, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    /// As `kubectl` names it.
    #[serde(rename = "object")]
    pub(super) name: String,
    pub(super) action: Action,
    /// When, in a few words.
    pub(super) when: &'static str,
    /// Each field that becomes another; those of a new object stand in `after`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<Field>,
    /// All of it, as it will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Value>,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Action {
    Create,
    Change,
    Keep,
    Delete,
}

/// A field that becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    pub(super) path: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) before: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) after: Value,
}

/// All objects, in the order in which they are written.
pub(super) fn objects(changes: &[Change]) -> Vec<Object> {
    let mut made = BTreeSet::new();
    let mut all = Vec::new();
    for change in changes {
        for write in &change.writes {
            let is_new = write.before.is_none() && made.insert(write.object.clone());
            all.push(object(write, change.when, is_new));
        }
    }
    all
}

fn object(write: &Write, when: &'static str, is_new: bool) -> Object {
    let before = write.before.as_ref().map(without_bookkeeping);
    let after = write.after.as_ref().map(without_bookkeeping);
    let mut fields = Vec::new();
    if let (Some(before), Some(after)) = (&before, &after) {
        compare("", before, after, &mut fields);
    }
    let action = match (&before, &after) {
        (_, None) => Action::Delete,
        (None, Some(_)) if is_new => Action::Create,
        // Made by an earlier step, of which the API server keeps nothing.
        (None, Some(_)) => Action::Change,
        (Some(_), Some(_)) if fields.is_empty() => Action::Keep,
        (Some(_), Some(_)) => Action::Change,
    };
    Object {
        name: write.object.clone(),
        action,
        when,
        fields,
        after,
    }
}

fn without_bookkeeping(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.retain(|name, _| !BOOKKEEPING.contains(&name.as_str()));
    }
    let is_secret = object["kind"] == "Secret";
    for field in ["data", "stringData"] {
        let content = object.get_mut(field).filter(|_| is_secret);
        if let Some(content) = content.and_then(Value::as_object_mut) {
            for value in content.values_mut() {
                *value = Value::from("(secret)");
            }
        }
    }
    object
}

fn compare(path: &str, before: &Value, after: &Value, fields: &mut Vec<Field>) {
    if before == after {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned();
            let (old, new) = (
                value(old).unwrap_or_default(),
                value(new).unwrap_or_default(),
            );
            compare(&path, &old, &new, fields);
        }
        return;
    }
    fields.push(Field {
        path: path.to_owned(),
        before: before.clone(),
        after: after.clone(),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(before: Option<Value>, after: &Value) -> Vec<Object> {
        let write = Write {
            object: "services/a".to_owned(),
            before,
            after: Some(after.clone()),
        };
        let change = |when| Change {
            when,
            writes: vec![write.clone()],
        };
        objects(&[change("first"), change("then")])
    }

    #[test]
    fn what_is_made_once_is_changed_afterwards() {
        let all = changes(None, &json!({ "spec": {} }));
        let actions: Vec<Action> = all.iter().map(|object| object.action).collect();
        assert_eq!(actions, [Action::Create, Action::Change]);
    }

    #[test]
    fn only_what_becomes_another_is_told() {
        let before = json!({
            "metadata": { "name": "a", "resourceVersion": "1" },
            "spec": { "replicas": 2, "paused": false }, "status": { "replicas": 2 },
        });
        let mut after = before.clone();
        after["metadata"]["resourceVersion"] = json!("2");
        let kept = changes(Some(before.clone()), &after);
        assert_eq!(kept[0].action, Action::Keep);
        after["spec"]["replicas"] = json!(0);
        let changed = changes(Some(before), &after);
        let paths: Vec<&str> = changed[0].fields.iter().map(|field| &*field.path).collect();
        assert_eq!(
            (changed[0].action, paths),
            (Action::Change, vec!["spec.replicas"])
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let all = changes(
            None,
            &json!({ "kind": "Secret", "data": { "key": "aHVzaA==" } }),
        );
        assert!(!format!("{all:?}").contains("aHVzaA=="));
    }
}
