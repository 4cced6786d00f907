//! `GitRepository`: a git repository that is fetched when it changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_with::skip_serializing_none;

use super::{Artifact, INTERVAL_PATTERN, PROVIDERS, TIMEOUT_PATTERN};
use crate::schema;

/// A git repository, and which of its revisions is wanted.
#[skip_serializing_none]
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "GitRepository",
    plural = "gitrepositories",
    namespaced,
    doc = "A git repository that is fetched when it changes.",
    status = "GitRepositoryStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "gitrepo",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-sources",
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".spec.url"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::rule(
    "!has(self.serviceAccountName) || (has(self.provider) && self.provider in ['aws', 'azure'])",
    "serviceAccountName needs provider aws or azure"
))]
pub struct GitRepositorySpec {
    /// Address of the repository, over http, https or ssh.
    #[schemars(regex(pattern = "^(http|https|ssh)://.*$"))]
    pub url: String,
    /// Time between two looks at the repository, such as `1m`.
    #[schemars(regex(pattern = INTERVAL_PATTERN))]
    pub interval: String,
    /// The revision that is wanted; by default branch `master`.
    #[serde(rename = "ref")]
    pub reference: Option<GitRepositoryRef>,
    /// Secret with credentials: `username` and `password`, `bearerToken`,
    /// or `identity` and `known_hosts`; `ca.crt` for a private authority.
    pub secret_ref: Option<LocalObjectReference>,
    /// How long fetching may take.
    #[schemars(regex(pattern = TIMEOUT_PATTERN), transform = schema::default_to("60s"))]
    pub timeout: Option<String>,
    /// Whose rules for credentials apply; `generic`, the Secret's, by default.
    #[schemars(transform = schema::one_of_texts(PROVIDERS))]
    pub provider: Option<String>,
    /// Service account to get credentials from the cloud with.
    pub service_account_name: Option<String>,
    /// Secret with the `address` of an HTTP proxy, and `username` and `password` for it.
    pub proxy_secret_ref: Option<LocalObjectReference>,
    /// Whose signatures are accepted.
    pub verify: Option<GitVerification>,
    /// Files to leave out, in the format of `.gitignore`, in place of a default list.
    pub ignore: Option<String>,
    /// Directories to fetch, in place of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sparse_checkout: Vec<String>,
    /// Whether submodules are fetched too.
    pub recurse_submodules: Option<bool>,
    /// Other repositories whose files are put into this one's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<GitInclude>,
    /// Whether the repository is left alone for now.
    pub suspend: Option<bool>,
}

/// A revision: of several fields, the first set of commit, name, semver, tag, branch counts.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitRepositoryRef {
    /// A branch.
    pub branch: Option<String>,
    /// A tag.
    pub tag: Option<String>,
    /// The highest tag within a range of versions, such as `>=1.2 <2`.
    pub semver: Option<String>,
    /// A full reference, such as `refs/pull/420/head`.
    pub name: Option<String>,
    /// A commit, by its full hash; with a branch, it is looked for there.
    pub commit: Option<String>,
}

/// An object in this namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalObjectReference {
    /// Its name.
    pub name: String,
}

/// Whose signatures are accepted.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitVerification {
    /// What must be signed: the commit, the tag, or both.
    #[schemars(
        transform = schema::one_of_texts(&["HEAD", "head", "Tag", "TagAndHEAD"]),
        transform = schema::default_to("HEAD")
    )]
    pub mode: Option<String>,
    /// Secret with the public keys.
    pub secret_ref: LocalObjectReference,
}

/// Files of another repository.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitInclude {
    /// The other GitRepository.
    pub repository: LocalObjectReference,
    /// Path there; all of it by default.
    pub from_path: Option<String>,
    /// Path here; by default the other's name.
    pub to_path: Option<String>,
}

/// What gitops knows about a repository.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::default_to(json!({ "observedGeneration": -1 })))]
pub struct GitRepositoryStatus {
    /// The generation of the spec that was looked at last.
    pub observed_generation: Option<i64>,
    /// State of the repository, one entry for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The archive of the revision that was fetched last.
    pub artifact: Option<Artifact>,
    /// The archives of the repositories that were put in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_artifacts: Vec<Artifact>,
    /// The request for a look that was answered last.
    pub last_handled_reconcile_at: Option<String>,
    /// The `ignore` of the archive.
    pub observed_ignore: Option<String>,
    /// The `recurseSubmodules` of the archive.
    pub observed_recurse_submodules: Option<bool>,
    /// The `include` of the archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_include: Vec<GitInclude>,
    /// The `sparseCheckout` of the archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_sparse_checkout: Vec<String>,
    /// What was signed.
    pub source_verification_mode: Option<String>,
}
