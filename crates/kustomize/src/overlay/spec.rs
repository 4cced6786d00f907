//! What a `kustomization.yaml` may say.
//!
//! A field that is not listed here, or whose value has another type, is an error that names it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A `kustomization.yaml`, or one made up for a plain directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    pub(crate) kind: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: Option<Value>,
    pub(crate) resources: Vec<String>,
    pub(crate) bases: Vec<String>,
    pub(crate) components: Vec<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name_prefix: Option<String>,
    pub(crate) name_suffix: Option<String>,
    pub(crate) labels: Vec<LabelSet>,
    pub(crate) common_labels: BTreeMap<String, String>,
    pub(crate) common_annotations: BTreeMap<String, String>,
    pub(crate) images: Vec<Image>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) patches: Vec<PatchEntry>,
    pub(crate) patches_strategic_merge: Vec<String>,
    pub(crate) patches_json6902: Vec<PatchEntry>,
    pub(crate) config_map_generator: Vec<Generator>,
    pub(crate) secret_generator: Vec<Generator>,
    pub(crate) generator_options: Option<GeneratorOptions>,
    // The order of the objects is our own, whatever is asked here.
    #[serde(rename = "sortOptions")]
    _sort_options: Option<Value>,
    replacements: Option<Value>,
    vars: Option<Value>,
    crds: Option<Value>,
    openapi: Option<Value>,
    configurations: Option<Value>,
    generators: Option<Value>,
    transformers: Option<Value>,
    validators: Option<Value>,
    helm_charts: Option<Value>,
    helm_globals: Option<Value>,
    helm_chart_inflation_generator: Option<Value>,
    image_tags: Option<Value>,
    build_metadata: Option<Value>,
}

impl Kustomization {
    /// The kustomization that only lists resources.
    pub(crate) fn of_resources(resources: Vec<String>) -> Self {
        Self {
            resources,
            ..Self::default()
        }
    }

    /// The first field that kustomize has and this crate does not act on.
    pub(crate) fn unsupported_field(&self) -> Option<&'static str> {
        [
            ("replacements", &self.replacements),
            ("vars", &self.vars),
            ("crds", &self.crds),
            ("openapi", &self.openapi),
            ("configurations", &self.configurations),
            ("generators", &self.generators),
            ("transformers", &self.transformers),
            ("validators", &self.validators),
            ("helmCharts", &self.helm_charts),
            ("helmGlobals", &self.helm_globals),
            (
                "helmChartInflationGenerator",
                &self.helm_chart_inflation_generator,
            ),
            ("imageTags", &self.image_tags),
            ("buildMetadata", &self.build_metadata),
        ]
        .into_iter()
        .find_map(|(name, value)| value.as_ref().map(|_| name))
    }
}

/// An entry of `labels`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct LabelSet {
    pub(crate) pairs: BTreeMap<String, String>,
    pub(crate) include_selectors: bool,
    pub(crate) include_templates: bool,
    pub(crate) fields: Vec<FieldSpec>,
}

/// A field of some kinds, written by the user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct FieldSpec {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) path: String,
    pub(crate) create: bool,
}

/// A change of container images: which, and into what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Image {
    /// The image as the manifests name it, without tag and digest.
    pub name: String,
    /// Another image in its place.
    pub new_name: Option<String>,
    /// Another tag.
    pub new_tag: Option<String>,
    /// Text to put behind the tag.
    pub tag_suffix: Option<String>,
    /// A digest in place of the tag.
    pub digest: Option<String>,
}

/// An entry of `replicas`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) count: u32,
}

/// A patch and the objects that it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PatchEntry {
    /// A file with the patch, below the directory of the overlay.
    pub path: Option<String>,
    /// The patch itself.
    pub patch: Option<String>,
    /// Which objects; without it a strategic merge patch names its own.
    pub target: Option<Selector>,
    /// What the patch may do.
    pub options: Option<PatchOptions>,
}

/// What a strategic merge patch may change besides the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PatchOptions {
    /// The patch may rename its target.
    pub allow_name_change: bool,
    /// The patch may change its target's kind.
    pub allow_kind_change: bool,
}

/// Which objects a patch is for: all fields that are set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Regular expression for the API group.
    pub group: Option<String>,
    /// Regular expression for the API version.
    pub version: Option<String>,
    /// Regular expression for the kind.
    pub kind: Option<String>,
    /// Regular expression for the name.
    pub name: Option<String>,
    /// Regular expression for the namespace.
    pub namespace: Option<String>,
    /// Label selector as `kubectl -l` takes it.
    pub label_selector: Option<String>,
    /// The same for annotations.
    pub annotation_selector: Option<String>,
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Generator {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) behavior: Option<Behavior>,
    pub(crate) literals: Vec<String>,
    pub(crate) files: Vec<String>,
    pub(crate) envs: Vec<String>,
    pub(crate) env: Option<String>,
    pub(crate) options: Option<GeneratorOptions>,
    #[serde(rename = "type")]
    pub(crate) secret_type: Option<String>,
}

/// What becomes of an object with the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Behavior {
    #[default]
    #[serde(alias = "unspecified", alias = "")]
    Create,
    Replace,
    Merge,
}

/// How generated objects look.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GeneratorOptions {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) disable_name_suffix_hash: bool,
    pub(crate) immutable: bool,
}
