//! `kustomize.toolkit.fluxcd.io`: manifests of a source, applied and kept.
//!
//! Types only: what they mean is decided in gitops.

mod build;
mod health;
mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

pub use build::*;
pub use health::*;
pub use status::*;

use crate::schema;
use crate::source::{INTERVAL_PATTERN, LocalObjectReference};

/// The API group.
pub const GROUP: &str = "kustomize.toolkit.fluxcd.io";
/// The served versions.
pub const VERSIONS: &[&str] = &["v1"];

/// Manifests of a source, how they are built, applied and watched.
#[skip_serializing_none]
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "kustomize.toolkit.fluxcd.io",
    version = "v1",
    kind = "Kustomization",
    plural = "kustomizations",
    namespaced,
    doc = "Manifests of a source, applied and kept.",
    status = "KustomizationStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "ks",
    category = "all",
    category = "fluxcd",
    category = "fluxcd-appliers",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct KustomizationSpec {
    /// Where the manifests come from.
    pub source_ref: SourceReference,
    /// Directory of the source; its root by default.
    pub path: Option<String>,
    /// Time between two looks at what was applied, such as `10m`.
    #[schemars(regex(pattern = INTERVAL_PATTERN))]
    pub interval: String,
    /// Time before another try when one failed; by default `interval`.
    #[schemars(regex(pattern = INTERVAL_PATTERN))]
    pub retry_interval: Option<String>,
    /// How long building, applying and becoming healthy may each take; by default `interval`.
    #[schemars(regex(pattern = INTERVAL_PATTERN))]
    pub timeout: Option<String>,
    /// Whether objects that left the source are deleted.
    pub prune: bool,
    /// What is deleted along with this object; by default as `prune` says.
    #[schemars(transform = schema::one_of_texts(
        &["MirrorPrune", "Delete", "WaitForTermination", "Orphan"]
    ))]
    pub deletion_policy: Option<String>,
    /// Whether objects are deleted and made again when a field that cannot change did.
    #[schemars(transform = schema::default_to(false))]
    pub force: Option<bool>,
    /// Whether all applied objects must become healthy.
    pub wait: Option<bool>,
    /// Objects that must become healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<HealthCheck>,
    /// What healthy means, for kinds that do not say it in a known way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_check_exprs: Vec<HealthCheckExpr>,
    /// Kustomizations that must be ready first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<DependencyReference>,
    /// Service account whose rights count when objects are applied.
    pub service_account_name: Option<String>,
    /// Another cluster to apply to.
    pub kube_config: Option<KubeConfigReference>,
    /// Namespace of all namespaced objects, in place of their own.
    #[schemars(length(min = 1, max = 63))]
    pub target_namespace: Option<String>,
    /// Start of all names.
    #[schemars(length(min = 1, max = 200))]
    pub name_prefix: Option<String>,
    /// End of all names.
    #[schemars(length(min = 1, max = 200))]
    pub name_suffix: Option<String>,
    /// Labels and annotations of all objects.
    pub common_metadata: Option<CommonMetadata>,
    /// Changes to objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
    /// Changes to image references.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Directories of components to build in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Whether components that are not there are passed over.
    pub ignore_missing_components: Option<bool>,
    /// Notes about their origin that objects get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = schema::items(
        schema::one_of_texts(&["originAnnotations", "transformerAnnotations"])
    ))]
    pub build_metadata: Vec<String>,
    /// Variables that are put in after building.
    pub post_build: Option<PostBuild>,
    /// How encrypted Secrets are opened.
    pub decryption: Option<Decryption>,
    /// Fields of applied objects that are left to others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<IgnoreRule>,
    /// Whether the manifests are left alone for now.
    pub suspend: Option<bool>,
}

/// A source in this namespace, or another.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceReference {
    /// API group and version, where the kind alone does not say it.
    pub api_version: Option<String>,
    /// Kind of the source.
    #[schemars(transform = schema::one_of_texts(
        &["GitRepository", "OCIRepository", "Bucket", "ExternalArtifact"]
    ))]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; by default this one.
    pub namespace: Option<String>,
}

/// A Kustomization that must be ready first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependencyReference {
    /// Its name.
    pub name: String,
    /// Its namespace; by default this one.
    pub namespace: Option<String>,
    /// What ready means, in CEL over `self` and `dep`.
    pub ready_expr: Option<String>,
}

/// Another cluster, from a Secret or a ConfigMap.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::rule(
        "has(self.configMapRef) || has(self.secretRef)",
        "set configMapRef or secretRef"
    ),
    transform = schema::rule(
        "!has(self.configMapRef) || !has(self.secretRef)",
        "set either configMapRef or secretRef"
    )
)]
pub struct KubeConfigReference {
    /// ConfigMap with the address of the cluster and the way to sign in.
    pub config_map_ref: Option<LocalObjectReference>,
    /// Secret with a kubeconfig.
    pub secret_ref: Option<SecretKeyReference>,
}

/// A key of a Secret in this namespace.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyReference {
    /// Name of the Secret.
    pub name: String,
    /// The key; `value` or `value.yaml` by default.
    pub key: Option<String>,
}

/// How encrypted Secrets are opened.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decryption {
    /// What encrypted them.
    #[schemars(transform = schema::one_of_texts(&["sops"]))]
    pub provider: String,
    /// Secret with the private keys.
    pub secret_ref: Option<LocalObjectReference>,
    /// Service account to open them with, for keys in a cloud.
    pub service_account_name: Option<String>,
}
