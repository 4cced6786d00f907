//! Reading the fixtures of `testdata` and comparing sets of objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fairlead_kustomize::{Customization, Tree, build, yaml};
use serde_json::Value;

pub(crate) fn fixtures() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut fixtures: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .collect();
    fixtures.sort();
    fixtures
}

pub(crate) fn read_tree(directory: &Path) -> Tree {
    let mut tree = Tree::default();
    read_into(&mut tree, directory, "");
    tree
}

fn read_into(tree: &mut Tree, directory: &Path, prefix: &str) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            read_into(tree, &path, &format!("{name}/"));
        } else {
            tree.insert(&name, std::fs::read(&path).unwrap()).unwrap();
        }
    }
}

/// The objects of a fixture, by identity.
pub(crate) fn build_fixture(directory: &Path) -> BTreeMap<String, Value> {
    let tree = read_tree(directory);
    let resources = build(&tree, "", &Customization::default()).unwrap();
    by_identity(
        resources
            .into_iter()
            .map(fairlead_kustomize::Resource::into_value),
    )
}

pub(crate) fn parse_objects(text: &str) -> BTreeMap<String, Value> {
    by_identity(
        yaml::parse_documents(text)
            .unwrap()
            .into_iter()
            .map(|document| document.value),
    )
}

fn by_identity(values: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    values
        .map(|value| {
            let metadata = &value["metadata"];
            let id = format!(
                "{} {} {} {}",
                value["apiVersion"], value["kind"], metadata["namespace"], metadata["name"]
            );
            (id, value)
        })
        .collect()
}
