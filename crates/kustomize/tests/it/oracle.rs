//! The same overlays, built by `kubectl kustomize`.

use std::path::PathBuf;
use std::process::Command;

use crate::support;

fn kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/tmp/gotools")])
        .map(|directory| directory.join("kubectl"))
        .find(|candidate| candidate.is_file())
}

#[test]
fn kubectl_builds_the_same_objects() {
    let Some(kubectl) = kubectl() else {
        println!("left out: there is no kubectl on PATH to compare with");
        return;
    };
    let mut differences = Vec::new();
    for (name, directory) in support::fixtures() {
        let output = Command::new(&kubectl)
            .arg("kustomize")
            .arg(&directory)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: kubectl failed: {error}");
        let expected = support::parse_objects(&String::from_utf8(output.stdout).unwrap());
        let built = support::build_fixture(&directory);
        for id in expected.keys().chain(built.keys()) {
            let (ours, theirs) = (built.get(id), expected.get(id));
            if ours != theirs {
                differences.push(format!(
                    "{name}: {id}\n  ours:   {ours:?}\n  theirs: {theirs:?}"
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
