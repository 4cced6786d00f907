//! Mistakes in a source: each is named where its author can find it, and none hides another.

use fairlead_kustomize::{Customization, Error, Image, PatchEntry, Tree, build};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().copied().collect()
}

fn error(files: &[(&str, &str)], path: &str) -> Error {
    build(&tree(files), path, &Customization::default()).unwrap_err()
}

/// The message with its causes, as a user reads it.
fn message(files: &[(&str, &str)], path: &str) -> String {
    let error = error(files, path);
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn check(files: &[(&str, &str)], expected: &str) {
    assert_eq!(message(files, ""), expected);
}

#[test]
fn a_file_that_is_not_yaml_is_named_with_its_line() {
    let text = message(&[("a.yaml", POD), ("bad.yaml", "kind: Pod\n  x: [\n")], "");
    assert!(
        text.starts_with("failed to read `bad.yaml`: line 2: not YAML: "),
        "{text}"
    );
}

#[test]
fn a_document_that_is_not_an_object_is_named_with_its_place() {
    check(
        &[(
            "all.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n\nkind: Pod\n",
        )],
        "`all.yaml` (document 2, line 6) is not a Kubernetes object: `apiVersion` is missing or not a string",
    );
}

#[test]
fn every_mistake_is_reported() {
    let text = message(
        &[("a.yaml", "kind: 1"), ("b.yaml", "]"), ("c.yaml", POD)],
        "",
    );
    assert!(
        text.starts_with("2 mistakes; ") && text.contains("`a.yaml`") && text.contains("`b.yaml`"),
        "{text}"
    );
}

#[test]
fn the_same_object_twice_is_refused() {
    check(
        &[("a.yaml", POD), ("b.yaml", POD)],
        "Pod/a stands in `b.yaml` (document 1, line 1) and before that in `a.yaml` (document 1, line 1)",
    );
}

#[test]
fn what_is_not_in_the_source_is_refused() {
    check(
        &[("kustomization.yaml", "resources: [x.yaml]")],
        "`kustomization.yaml`: `x.yaml` is not in the source",
    );
    check(
        &[("kustomization.yaml", "resources: [../up]")],
        "`kustomization.yaml` names a path outside the source: path `../up` leads out of the source",
    );
    assert_eq!(
        message(&[("a.yaml", POD)], "./apps"),
        "path `./apps` is not in the source"
    );
    assert_eq!(
        message(&[("apps/README.md", "")], "apps"),
        "no manifests below `apps`"
    );
}

#[test]
fn remote_bases_are_refused() {
    for url in [
        "https://example.org/x.yaml",
        "git@example.org:a/b",
        "github.com/a/b?ref=c",
        "ssh://x/y",
    ] {
        let text = message(
            &[("kustomization.yaml", &format!("resources: ['{url}']"))],
            "",
        );
        assert!(
            text.contains("remote resource") && text.contains(url),
            "{text}"
        );
    }
}

#[test]
fn overlays_that_include_each_other_are_refused() {
    let files = [
        ("a/kustomization.yaml", "resources: [../b]"),
        ("b/kustomization.yaml", "resources: [../a]"),
    ];
    assert_eq!(message(&files, "a"), "`a` includes itself: a -> b");
}

#[test]
fn unknown_and_unsupported_fields_are_named() {
    let text = message(&[("kustomization.yaml", "resorces: []")], "");
    assert!(
        text.starts_with(
            "`kustomization.yaml` is not a valid kustomization: unknown field `resorces`"
        ),
        "{text}"
    );
    check(
        &[("kustomization.yaml", "helmCharts: [{name: x}]")],
        "`kustomization.yaml`: field `helmCharts` is not supported",
    );
}

#[test]
fn patches_say_what_they_miss() {
    let with = |patch: &str| {
        message(
            &[
                (
                    "kustomization.yaml",
                    &format!("resources: [a.yaml]\npatches: [{patch}]"),
                ),
                ("a.yaml", POD),
            ],
            "",
        )
    };
    assert_eq!(
        with("{patch: 'apiVersion: v1\n\n    kind: Pod\n\n    metadata: {name: b}'}"),
        "`kustomization.yaml`: patch number 1 failed: there is no object Pod/b to patch"
    );
    assert_eq!(
        with("{patch: '[{op: remove, path: /a}]'}"),
        "`kustomization.yaml`: patch number 1 failed: a JSON patch needs a target"
    );
    assert!(
        with("{patch: '[{op: remove, path: /a}]', target: {kind: Pod}}")
            .contains("does not fit Pod/a")
    );
}

#[test]
fn a_flux_kustomization_adds_to_the_overlay() {
    let tree = tree(&[
        (
            "app/kustomization.yaml",
            "resources: [a.yaml]\nnamespace: own\nimages: [{name: i, newTag: '1'}]",
        ),
        (
            "app/a.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}",
        ),
    ]);
    let customization = Customization {
        namespace: Some("team".into()),
        name_prefix: Some("x-".into()),
        images: vec![Image {
            name: "i".into(),
            new_tag: Some("2".into()),
            ..Image::default()
        }],
        patches: vec![PatchEntry {
            patch: Some(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: n}".into(),
            ),
            ..PatchEntry::default()
        }],
        components: vec!["missing".into()],
        ignore_missing_components: true,
        ..Customization::default()
    };
    let built = build(&tree, "./app", &customization).unwrap();
    let object = built[0].value();
    assert_eq!(built[0].id().to_string(), "Pod/team/x-a");
    assert_eq!(object["spec"]["nodeName"], "n");
    assert_eq!(object["spec"]["containers"][0]["image"], "i:2");
    let refused = Customization {
        ignore_missing_components: false,
        ..customization
    };
    assert!(matches!(
        build(&tree, "app", &refused),
        Err(Error::MissingFile { .. })
    ));
}

#[test]
fn a_plain_directory_takes_all_manifests_and_treats_overlays_below_it_as_bases() {
    let tree = tree(&[
        ("apps/a.yaml", POD),
        (
            "apps/deep/b.yml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\n",
        ),
        ("apps/deep/notes.txt", "not yaml: ["),
        (
            "apps/over/kustomization.yaml",
            "resources: [c.yaml]\nnamePrefix: p-",
        ),
        (
            "apps/over/c.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: c}\n",
        ),
        ("apps/over/values.yaml", "not: an object"),
        ("elsewhere/d.yaml", "]"),
    ]);
    let built = build(&tree, "apps", &Customization::default()).unwrap();
    let names: Vec<_> = built.iter().map(|resource| resource.id().name).collect();
    assert_eq!(names, ["a", "b", "p-c"]);
}

#[test]
fn overlays_that_multiply_are_refused() {
    let component = |below: usize| {
        format!(
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n\
             components: [../c{below}, ../c{below}]\n"
        )
    };
    let mut files: Vec<(String, String)> = (1..64)
        .map(|level| (format!("c{level}/kustomization.yaml"), component(level - 1)))
        .collect();
    files.push(("c0/kustomization.yaml".into(), "kind: Component".into()));
    files.push(("kustomization.yaml".into(), "components: [c40]".into()));
    let error = build(&files.into_iter().collect(), "", &Customization::default()).unwrap_err();
    assert!(matches!(error, Error::TooManyLayers { .. }), "{error}");
}

#[test]
fn a_tower_of_overlays_is_refused() {
    let overlay = |level: usize| {
        let text = format!("resources: [../o{}]", level + 1);
        (format!("o{level}/kustomization.yaml"), text)
    };
    let tree: Tree = (0..20_000).map(overlay).collect();
    let error = build(&tree, "o0", &Customization::default()).unwrap_err();
    assert!(matches!(error, Error::TooManyLayers { .. }), "{error}");
}

#[test]
fn a_literal_of_a_secret_is_not_shown() {
    let generator = "Generator: [{name: a, literals: [hunter2]}]";
    let text = |kind: &str| message(&[("kustomization.yaml", &format!("{kind}{generator}"))], "");
    assert!(text("configMap").contains("hunter2"));
    assert!(!text("secret").contains("hunter2"));
}
