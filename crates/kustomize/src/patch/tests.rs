//! Patches of all forms, and what is said of bad ones.

use serde_json::json;

use super::*;

fn check(kind: (&str, &str), target: Value, patch: &Value, expected: &Value) {
    let merged = merge::merge(target, patch, shape::Shape::of_kind(kind.0, kind.1)).unwrap();
    assert_eq!(&merged, expected);
}

#[test]
fn containers_merge_by_name_and_new_ones_come_first() {
    check(
        ("apps", "Deployment"),
        json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
            {"name": "b", "image": "b:1"}]}}}}),
        &json!({"spec": {"template": {"spec": {"containers": [
            {"name": "c", "image": "c:1"},
            {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]}]}}}}),
        &json!({"spec": {"template": {"spec": {"containers": [
            {"name": "c", "image": "c:1"},
            {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
            {"name": "b", "image": "b:1"}]}}}}),
    );
}

#[test]
fn directives_delete_and_replace() {
    check(
        ("apps", "Deployment"),
        json!({"spec": {"replicas": 3, "strategy": {"type": "Recreate"}, "template": {"spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"x": "y"}}}}}),
        &json!({"spec": {"replicas": null, "strategy": {"$patch": "replace", "type": "RollingUpdate"},
            "template": {"spec": {"containers": [{"name": "a", "$patch": "delete"}],
            "nodeSelector": {"$patch": "delete"}}}}}),
        &json!({"spec": {"strategy": {"type": "RollingUpdate"},
            "template": {"spec": {"containers": [{"name": "b"}]}}}}),
    );
}

#[test]
fn lists_of_custom_kinds_are_replaced() {
    check(
        ("example.org", "Thing"),
        json!({"spec": {"containers": [{"name": "a"}], "x": 1}}),
        &json!({"spec": {"containers": [{"name": "b"}]}}),
        &json!({"spec": {"containers": [{"name": "b"}], "x": 1}}),
    );
}

#[test]
fn ports_merge_by_number_and_protocol() {
    check(
        ("", "Service"),
        json!({"spec": {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}}),
        &json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "name": "dns"}]}}),
        &json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "name": "dns"}, {"port": 53, "protocol": "UDP"}]}}),
    );
}

#[test]
fn a_list_is_a_json_patch_and_a_scalar_is_nothing() {
    assert!(matches!(
        Patch::parse("- {op: remove, path: /a}"),
        Ok(Patch::Json(_))
    ));
    assert!(matches!(
        Patch::parse("- {op: fly}"),
        Err(Error::Operations(_))
    ));
    assert!(matches!(Patch::parse("text"), Err(Error::Shape)));
    assert!(matches!(Patch::parse(""), Err(Error::Shape)));
}

#[test]
fn copies_that_multiply_are_refused() {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" }, "x": ["y"] });
    let mut resource = Resource::new(pod, Origin::default()).unwrap();
    let copy = json!({ "op": "copy", "from": "/x", "path": "/x/-" });
    let mut patch = |times: usize| {
        let operations = serde_json::from_value(json!(vec![&copy; times])).unwrap();
        apply_operations(&mut resource, &operations)
    };
    patch(2).unwrap();
    let error = patch(60).unwrap_err();
    assert!(error.to_string().contains("more than 1024 KiB"), "{error}");
}
