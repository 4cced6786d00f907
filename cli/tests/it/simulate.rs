//! A policy replayed over a file: no cluster is needed.

use std::path::{Path, PathBuf};

use crate::{fairlead, told};

const CANARY: &str = "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: { name: podinfo }
spec:
  targetRef: { apiVersion: apps/v1, kind: Deployment, name: podinfo }
  service: { port: 80 }
  analysis:
    interval: 10s
    threshold: 2
    stepWeight: 25
    maxWeight: 50
    metrics:
      - { name: request-success-rate, thresholdRange: { min: 99 } }
";

/// Replays the policy over `samples`, each so many seconds after the beginning.
fn replay(name: &str, samples: &[(u32, &str)]) -> (Option<i32>, String) {
    let folder = std::env::temp_dir().join(format!("fairlead-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let canary = write("canary.yaml", CANARY);
    let samples: Vec<String> = samples
        .iter()
        .map(|(second, value)| {
            format!(r#"{{ "at": "2026-01-01T00:00:{second:02}Z", "value": {value} }}"#)
        })
        .collect();
    let samples = samples.join(",");
    let recording = format!(r#"{{ "metrics": {{ "request-success-rate": [{samples}] }} }}"#);
    let recording = write("recording.json", &recording);
    let (canary, recording) = (canary.display(), recording.display());
    let arguments = format!("canary simulate -f {canary} --from {recording}");
    let output = fairlead(Path::new("/does/not/exist"), &arguments);
    std::fs::remove_dir_all(&folder).expect("the folder is there");
    told(&output)
}

#[test]
fn a_good_recording_is_promoted() {
    let (exit, text) = replay("good", &[(0, "100"), (40, "99.5")]);
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("podinfo: promoted after 20s"), "{text}");
}

#[test]
fn a_bad_one_is_rolled_back_with_the_reason() {
    let (exit, text) = replay("bad", &[(0, "100"), (15, "95"), (40, "100")]);
    // Good at 10 s, bad at 20 s and 30 s.
    assert_eq!(exit, Some(1), "{text}");
    assert!(text.contains("95 is not at least 99"), "{text}");
    assert!(text.contains("rolled back"), "{text}");
}

#[test]
fn a_recording_that_is_too_short_says_so() {
    let (exit, text) = replay("short", &[(0, "100"), (12, "100")]);
    assert_eq!(exit, Some(3), "{text}");
    assert!(text.contains("the recording ends first"), "{text}");
}

#[test]
fn no_number_never_passes() {
    let (exit, text) = replay("nan", &[(0, "\"NaN\""), (59, "\"NaN\"")]);
    assert_eq!(exit, Some(1), "{text}");
    assert!(text.contains("NoData"), "{text}");
}

#[test]
fn what_is_recorded_has_to_be_named() {
    let (exit, text) = told(&fairlead(Path::new("none"), "canary simulate podinfo"));
    assert_eq!(exit, Some(2), "{text}");
    assert!(text.contains("--from"), "{text}");
}
