//! What needs no cluster: wrong usage, and a cluster that is not there.

use std::path::Path;

use crate::{fairlead, told};

fn check(arguments: &str, kubeconfig: &Path, code: i32, fix: &str) {
    let (exit, text) = told(&fairlead(kubeconfig, arguments));
    assert_eq!(exit, Some(code), "{arguments}: {text}");
    assert!(text.contains(fix), "{arguments}: {text}");
}

#[test]
fn the_help_documents_the_exit_codes() {
    check(
        "--help",
        Path::new("none"),
        0,
        "6  the operator refused the command",
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    check(
        "canary set-weight podinfo 101",
        Path::new("none"),
        2,
        "0..=100",
    );
}

#[test]
fn without_a_kubeconfig_it_says_how_to_name_one() {
    check(
        "canary get",
        Path::new("/does/not/exist"),
        5,
        "set KUBECONFIG",
    );
}

#[test]
fn an_api_server_that_is_not_there_is_named() {
    let folder = std::env::temp_dir().join(format!("fairlead-usage-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("kubeconfig");
    let config = r#"{
        "apiVersion": "v1", "kind": "Config", "current-context": "gone",
        "clusters": [{ "name": "gone", "cluster": { "server": "http://127.0.0.1:1" } }],
        "contexts": [{ "name": "gone", "context": { "cluster": "gone", "user": "nobody" } }],
        "users": [{ "name": "nobody", "user": {} }]
    }"#;
    std::fs::write(&path, config).expect("a kubeconfig");
    check(
        "canary get",
        &path,
        5,
        "http://127.0.0.1:1/ cannot be reached",
    );
    check(
        "canary get --context other",
        &path,
        5,
        "pass --kubeconfig and --context",
    );
    std::fs::remove_dir_all(&folder).expect("the folder is there");
}
