//! The Canaries in the guides are accepted as they stand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairlead_crds::canary::Canary;
use fairlead_operator::canary::validate::{Limits, validate};

/// Every Markdown file below a folder.
fn guides(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the guides");
    let paths = entries.map(|entry| entry.expect("a guide").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                guides(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect()
}

/// The YAML documents of a guide that are Canaries.
fn canaries(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .flat_map(|block| block.split("---\n"))
        .filter(|block| block.contains("kind: Canary\n"))
}

#[test]
fn every_canary_of_a_guide_is_accepted_and_acted_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let limits = Limits {
        interval_floor: Duration::from_secs(10),
        ..Limits::default()
    };
    let mut seen = 0;
    for guide in guides(&folder) {
        let text = fs::read_to_string(&guide).expect("a readable guide");
        for block in canaries(&text) {
            let canary: Canary = serde_yaml_ng::from_str(block)
                .unwrap_or_else(|error| panic!("{}: {error}\n{block}", guide.display()));
            let validated = validate(&canary, &limits)
                .unwrap_or_else(|error| panic!("{}: {error}\n{block}", guide.display()));
            assert!(validated.inert.is_empty(), "{}: {block}", guide.display());
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} Canaries in the guides");
}
