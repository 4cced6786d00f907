//! Goldens: what each fixture builds to, so that the crate is judged without any tool too.
//!
//! `UPDATE_GOLDENS=1` rewrites them; the oracle test tells whether they are right.

use std::fmt::Write as _;

use fairlead_kustomize::yaml;

use crate::support;

#[test]
fn every_fixture_builds_to_its_golden() {
    for (name, directory) in support::fixtures() {
        let mut text = String::new();
        for object in support::build_fixture(&directory).values() {
            write!(text, "---\n{}", yaml::to_string(object)).unwrap();
        }
        let golden = directory.with_extension("out.yaml");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        assert_eq!(
            text,
            std::fs::read_to_string(&golden).unwrap_or_default(),
            "{name}"
        );
    }
}
