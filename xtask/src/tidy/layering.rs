//! Which package may depend on which: the direction of the tree, as data.
//!
//! The table is about direct dependencies of what is built; tests may use the harness too.
//! The checks are pure; only `members` reads.

use cargo_metadata::{DependencyKind, Metadata};

use super::Finding;

const PREFIX: &str = "fairlead-";
/// The harness, which any package's tests may use.
const HARNESS: &str = "fairlead-tests";

/// What one package may depend on.
struct Layer {
    package: &'static str,
    /// Packages of ours, without the prefix; `None` for those that may use all.
    ours: Option<&'static [&'static str]>,
    /// Packages of others that it must not name.
    banned: &'static [&'static str],
}

const IO: &[&str] = &["tokio", "kube", "reqwest", "hyper", "git2", "tonic", "axum"];

const LAYERS: &[Layer] = &[
    // Leaves
    layer(
        "fairlead-crds",
        &[],
        &["tokio", "kube-client", "kube-runtime", "reqwest"],
    ),
    layer("fairlead-rollout", &[], IO),
    layer("fairlead-routing", &[], IO),
    layer("fairlead-kustomize", &[], IO),
    layer("fairlead-identity", &[], IO),
    layer("fairlead-runtime", &[], &["kube", "k8s-openapi"]),
    // Shared. The authority's service messages live in xds, hence tonic there.
    layer(
        "fairlead-xds",
        &["routing"],
        &["tokio", "kube", "reqwest", "hyper", "git2", "axum"],
    ),
    layer(
        "fairlead-translate",
        &["crds", "routing", "xds", "identity"],
        IO,
    ),
    layer(
        "fairlead-controller",
        &["crds", "runtime"],
        &["git2", "tonic"],
    ),
    // Deployables
    layer(
        "fairlead-operator",
        &["crds", "rollout", "controller", "runtime"],
        &["git2", "tonic"],
    ),
    layer(
        "fairlead-control-plane",
        &[
            "crds",
            "translate",
            "xds",
            "identity",
            "controller",
            "runtime",
        ],
        &["git2"],
    ),
    layer(
        "fairlead-gitops",
        &["crds", "kustomize", "controller", "runtime"],
        &["tonic"],
    ),
    layer(
        "fairlead-proxy",
        &["routing", "xds", "identity", "runtime"],
        &["kube", "k8s-openapi", "git2", "reqwest"],
    ),
    // It foretells what the operator does by the operator's own code.
    layer(
        "fairlead-cli",
        &["crds", "rollout", "runtime", "operator"],
        &["git2", "tonic", "axum", "reqwest"],
    ),
    // Support
    Layer {
        package: "fairlead-bench",
        ours: None,
        banned: &[],
    },
    Layer {
        package: HARNESS,
        ours: None,
        banned: &[],
    },
    layer("xtask", &[], &["kube", "k8s-openapi", "tokio"]),
];

/// Features of the Kubernetes library that would bring a client into the API types.
const CLIENT_FEATURES: &[&str] = &["client", "runtime", "default", "ws", "rustls-tls", "config"];

const fn layer(
    package: &'static str,
    ours: &'static [&'static str],
    banned: &'static [&'static str],
) -> Layer {
    Layer {
        package,
        ours: Some(ours),
        banned,
    }
}

/// A member of the workspace.
pub(super) struct Member {
    name: String,
    manifest: String,
    dependencies: Vec<Dependency>,
}

/// A package that a member names.
struct Dependency {
    name: String,
    is_for_tests: bool,
    features: Vec<String>,
}

/// The members, as Cargo knows them.
pub(super) fn members(metadata: &Metadata) -> Vec<Member> {
    let member = |package: &cargo_metadata::Package| Member {
        name: package.name.to_string(),
        manifest: std::fs::read_to_string(&package.manifest_path).unwrap_or_default(),
        dependencies: package
            .dependencies
            .iter()
            .map(|dependency| Dependency {
                name: dependency.name.clone(),
                is_for_tests: dependency.kind == DependencyKind::Development,
                features: dependency.features.clone(),
            })
            .collect(),
    };
    metadata
        .workspace_packages()
        .into_iter()
        .map(member)
        .collect()
}

/// Checks every member against the table.
pub(super) fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        match LAYERS.iter().find(|layer| layer.package == member.name) {
            Some(layer) => findings.extend(check_edges(layer, member)),
            None => findings.push(Finding::Broken(format!(
                "package `{}` is not in the layering table (xtask/src/tidy/layering.rs)",
                member.name
            ))),
        }
        if !inherits_lints(&member.manifest) {
            findings.push(Finding::Broken(format!(
                "package `{}`: Cargo.toml needs `[lints]` with `workspace = true` and nothing else",
                member.name
            )));
        }
    }
    findings
}

fn check_edges(layer: &Layer, member: &Member) -> Vec<Finding> {
    let mut findings = Vec::new();
    for dependency in &member.dependencies {
        let Dependency {
            name,
            is_for_tests,
            features,
        } = dependency;
        let is_ours = LAYERS.iter().any(|layer| layer.package == *name);
        let is_known = layer.ours.is_none_or(|ours| {
            name.strip_prefix(PREFIX)
                .is_some_and(|short| ours.contains(&short))
        });
        let is_harness = *is_for_tests && name == HARNESS;
        if is_ours && !is_known && !is_harness {
            findings.push(Finding::Broken(format!(
                "`{}` must not depend on `{name}`: see the layering in ARCHITECTURE.md",
                member.name
            )));
        }
        if !is_for_tests && layer.banned.contains(&name.as_str()) {
            findings.push(Finding::Broken(format!(
                "`{}` must not name `{name}`: see the layering in ARCHITECTURE.md",
                member.name
            )));
        }
        let client = features
            .iter()
            .find(|feature| CLIENT_FEATURES.contains(&feature.as_str()));
        if let (Some(feature), false, "fairlead-crds", "kube") =
            (client, is_for_tests, layer.package, name.as_str())
        {
            findings.push(Finding::Broken(format!(
                "`{}` must not ask for feature `{feature}` of `kube`: types need no client",
                member.name
            )));
        }
    }
    findings
}

/// Whether the section holds just the one line.
fn inherits_lints(manifest: &str) -> bool {
    let Some((_, section)) = manifest.split_once("[lints]\n") else {
        return false;
    };
    let section = section.split("\n[").next().unwrap_or_default();
    section.trim() == "workspace = true"
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[package]\n\n[lints]\nworkspace = true\n\n[dependencies]\n";

    fn broken(member: Member) -> Vec<String> {
        check(&[member]).iter().map(ToString::to_string).collect()
    }

    fn member(name: &str, dependencies: &[(&str, bool)]) -> Member {
        Member {
            name: name.to_owned(),
            manifest: LINTS.to_owned(),
            dependencies: dependencies
                .iter()
                .map(|(name, is_for_tests)| Dependency {
                    name: (*name).to_owned(),
                    is_for_tests: *is_for_tests,
                    features: Vec::new(),
                })
                .collect(),
        }
    }

    #[test]
    fn an_edge_against_the_direction_is_found() {
        let found = broken(member("fairlead-proxy", &[("fairlead-crds", false)]));
        assert_eq!(
            found,
            [
                "error: `fairlead-proxy` must not depend on `fairlead-crds`: \
              see the layering in ARCHITECTURE.md"
            ]
        );
    }

    #[test]
    fn an_edge_along_the_direction_is_fine() {
        let dependencies = [
            ("fairlead-routing", false),
            ("fairlead-tests", true),
            ("serde", false),
        ];
        assert_eq!(broken(member("fairlead-proxy", &dependencies)), [""; 0]);
    }

    #[test]
    fn nothing_that_is_built_depends_on_the_harness() {
        assert_eq!(
            broken(member("fairlead-operator", &[("fairlead-tests", false)])).len(),
            1
        );
    }

    #[test]
    fn a_banned_package_is_found_unless_tests_alone_use_it() {
        assert_eq!(
            broken(member("fairlead-rollout", &[("tokio", false)])).len(),
            1
        );
        assert_eq!(
            broken(member("fairlead-rollout", &[("tokio", true)])),
            [""; 0]
        );
    }

    #[test]
    fn api_types_ask_for_no_client() {
        let mut types = member("fairlead-crds", &[("kube", false)]);
        types.dependencies[0].features = vec!["derive".to_owned(), "client".to_owned()];
        assert_eq!(broken(types).len(), 1);
    }

    #[test]
    fn a_member_that_the_table_does_not_know_is_found() {
        assert_eq!(broken(member("fairlead-new", &[])).len(), 1);
    }

    #[test]
    fn a_member_with_lints_of_its_own_is_found() {
        for manifest in [
            "[package]\n",
            "[lints]\nworkspace = true\nrust.x = \"allow\"\n",
        ] {
            let mut own = member("fairlead-rollout", &[]);
            manifest.clone_into(&mut own.manifest);
            assert_eq!(broken(own).len(), 1, "{manifest}");
        }
    }
}
