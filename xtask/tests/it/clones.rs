//! Two clones on one machine share what they may (the registry's crates) and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files below here go away with the test, also when it fails.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Self {
        let path = std::env::temp_dir().join(format!("fairlead-clones-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing to do about what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn clone(folder: &Path, name: &str, says: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let clone = folder.join(name);
    let git = Command::new("git")
        .args(["clone", "--quiet"])
        .arg(source)
        .arg(&clone)
        .status();
    assert!(git.unwrap().success());
    let main = clone.join("xtask/src/main.rs");
    let text = fs::read_to_string(&main).unwrap();
    let changed = text.replace("Project tasks\"", &format!("{says}\""));
    assert_ne!(text, changed);
    fs::write(main, changed).unwrap();
    clone
}

/// Builds with the profile of images, which running a task does not.
fn build(clone: &Path) -> String {
    let output = cargo(clone)
        .args(["build", "--profile", "quick", "--package", "xtask"])
        .output();
    let output = output.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    stderr
}

/// Cargo in the clone's own target folder, whatever this run was told.
fn cargo(clone: &Path) -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(clone)
        .env("FAIRLEAD_CACHE", clone.with_file_name("cache"))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR");
    command
}

fn xtask(clone: &Path, task: &str) -> String {
    let output = cargo(clone).args(["xtask", task]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let status = output.status;
    assert!(
        status.success(),
        "cargo xtask {task} ended with {status}: {stderr}{stdout}"
    );
    stdout
}

#[test]
#[ignore = "builds this package twice"]
fn two_clones_that_differ_in_one_string_print_their_own() {
    let folder = Folder::create();
    let one = clone(&folder.0, "one", "says one");
    let two = clone(&folder.0, "two", "says two");
    build(&one);
    xtask(&one, "seed");
    let taken = xtask(&two, "seed");
    assert!(taken.contains("crates were built before"), "{taken}");
    let built = build(&two);
    assert!(!built.contains("Compiling serde "), "{built}");
    for (clone, own, other) in [
        (&one, "says one", "says two"),
        (&two, "says two", "says one"),
    ] {
        let help = xtask(clone, "help");
        assert!(help.contains(own) && !help.contains(other), "{help}");
    }
}
