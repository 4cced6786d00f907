//! Strategic merge: mappings merge, null removes, lists merge where their items have keys.
//!
//! New items of a merged list come before the old ones, as kustomize puts them.

use serde_json::{Map, Value};

use super::Error;
use super::shape::{List, Shape};

/// Merges a patch into a value; null means that the patch deletes the value.
pub(super) fn merge(target: Value, patch: &Value, shape: Shape) -> Result<Value, Error> {
    match (target, patch) {
        (target, Value::Object(patch)) => merge_mapping(target, patch, shape),
        (_, patch) => Ok(patch.clone()),
    }
}

fn merge_mapping(target: Value, patch: &Map<String, Value>, shape: Shape) -> Result<Value, Error> {
    let mut map = match (directive(patch)?, target) {
        (Directive::Delete, _) => return Ok(Value::Null),
        (Directive::Merge, Value::Object(map)) => map,
        (Directive::Replace | Directive::Merge, _) => Map::new(),
    };
    for (key, patch) in patch {
        if key.starts_with('$') {
            merge_list_directive(&mut map, key, patch);
            continue;
        }
        let (field_shape, list) = shape.field(key);
        let old = map.get(key).cloned().unwrap_or(Value::Null);
        let merged = match (old, patch) {
            (Value::Array(old), Value::Array(patch)) => merge_list(old, patch, field_shape, list)?,
            (_, Value::Array(patch)) => merge_list(Vec::new(), patch, field_shape, list)?,
            (old, patch) => merge(old, patch, field_shape)?,
        };
        if merged.is_null() {
            map.shift_remove(key);
        } else {
            map.insert(key.clone(), merged);
        }
    }
    Ok(Value::Object(map))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(patch: &Map<String, Value>) -> Result<Directive, Error> {
    match patch.get("$patch") {
        None => Ok(Directive::Merge),
        Some(value) => match value.as_str() {
            Some("merge") => Ok(Directive::Merge),
            Some("replace") => Ok(Directive::Replace),
            Some("delete") => Ok(Directive::Delete),
            other => Err(Error::Directive(other.unwrap_or_default().to_owned())),
        },
    }
}

/// `$deleteFromPrimitiveList/<field>` takes values out of a list.
fn merge_list_directive(map: &mut Map<String, Value>, key: &str, patch: &Value) {
    let Some(name) = key.strip_prefix("$deleteFromPrimitiveList/") else {
        return;
    };
    if let (Some(Value::Array(items)), Value::Array(gone)) = (map.get_mut(name), patch) {
        items.retain(|item| !gone.contains(item));
    }
}

fn merge_list(old: Vec<Value>, patch: &[Value], shape: Shape, list: List) -> Result<Value, Error> {
    let lone = |item: &Value| match item {
        Value::Object(map) if map.len() == 1 => {
            map.get("$patch").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    let directives: Vec<String> = patch.iter().filter_map(lone).collect();
    let patch: Vec<&Value> = patch.iter().filter(|item| lone(item).is_none()).collect();
    if directives.iter().any(|directive| directive == "delete") {
        return Ok(Value::Null);
    }
    let is_replaced = directives.iter().any(|directive| directive == "replace");
    let items = match list {
        List::Keys(keys) if !is_replaced => merge_items(old, &patch, shape, keys)?,
        List::Set if !is_replaced => {
            let added = patch.iter().map(|item| (*item).clone());
            let kept = old.into_iter().filter(|item| !patch.contains(&item));
            added.chain(kept).collect()
        }
        List::Keys(_) | List::Set | List::Replace => patch
            .into_iter()
            .map(|item| merge(Value::Null, item, shape))
            .collect::<Result<_, _>>()?,
    };
    Ok(Value::Array(items))
}

fn merge_items(
    mut old: Vec<Value>,
    patch: &[&Value],
    shape: Shape,
    keys: &[&str],
) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    for patch in patch {
        let found = old.iter().position(|item| is_same_item(item, patch, keys));
        let before = found.map_or(Value::Null, |position| old.remove(position));
        let merged = merge(before, patch, shape)?;
        if !merged.is_null() {
            items.push(merged);
        }
    }
    items.append(&mut old);
    Ok(items)
}

/// Items are the same when they agree in the first key and disagree in none that both have.
fn is_same_item(item: &Value, patch: &Value, keys: &[&str]) -> bool {
    let Some((first, others)) = keys.split_first() else {
        return false;
    };
    let is_same_first = item.get(first).is_some() && item.get(first) == patch.get(first);
    is_same_first
        && others
            .iter()
            .all(|key| match (item.get(key), patch.get(key)) {
                (Some(own), Some(other)) => own == other,
                _ => true,
            })
}
