//! The committed CRDs.

use std::collections::BTreeSet;
use std::path::Path;

use fairlead_crds::definition::{all_crds, file_name, to_yaml};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn committed_crds_are_those_of_the_types() {
    for crd in all_crds().unwrap() {
        let name = file_name(&crd);
        let committed = std::fs::read_to_string(Path::new(FOLDER).join(&name)).unwrap_or_default();
        assert!(
            committed == to_yaml(&crd).unwrap(),
            "crds/{name} is out of date: run `cargo xtask codegen`"
        );
    }
}

#[test]
fn no_committed_crd_is_without_a_type() {
    let known: BTreeSet<String> = all_crds().unwrap().iter().map(file_name).collect();
    let committed: BTreeSet<String> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    assert_eq!(committed, known);
}

#[test]
fn each_crd_stores_exactly_one_version() {
    for crd in all_crds().unwrap() {
        let stored = crd
            .spec
            .versions
            .iter()
            .filter(|version| version.storage)
            .count();
        assert_eq!(stored, 1, "{}", file_name(&crd));
        assert!(crd.spec.versions.iter().all(|version| version.served));
    }
}

/// A field without a type, and without a reason for it, is refused by the API server.
#[test]
fn every_field_has_a_type_and_a_description() {
    fn visit(path: &str, schema: &JSONSchemaProps) {
        let any = schema.x_kubernetes_int_or_string == Some(true)
            || schema.x_kubernetes_preserve_unknown_fields == Some(true);
        assert!(schema.type_.is_some() || any, "{path} has no type");
        assert!(
            schema.nullable.is_none() || schema.type_.is_some(),
            "{path} is only nullable"
        );
        for (name, property) in schema.properties.iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(
                property.description.is_some() || path.ends_with(".metadata"),
                "{path} has no description"
            );
            visit(&path, property);
        }
    }
    for crd in all_crds().unwrap() {
        for version in &crd.spec.versions {
            let schema = version
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap();
            visit(&crd.spec.names.kind, schema);
        }
    }
}
