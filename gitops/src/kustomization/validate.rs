//! From the spec to values that later steps can trust. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_crds::kustomization::{self as api, Kustomization, KustomizationSpec};
use fairlead_crds::source::Artifact;
use fairlead_crds::{ConditionType, is_true, parse_duration};
use fairlead_kustomize::substitute::Variables;
use fairlead_kustomize::{Customization, Id, Image, PatchEntry, Selector, substitute};
use kube::ResourceExt as _;

use super::dereference::{self, Dependency, Dereferenced};
use crate::git_repository::paced;

/// No budget for build, apply and health is shorter; Flux's bound.
const MIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A Kustomization that can be built and applied.
#[derive(Clone, Debug)]
pub struct ValidatedKustomization {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What to build.
    pub artifact: Artifact,
    /// Directory in the artifact.
    pub path: String,
    /// How often to look for drift.
    pub interval: Duration,
    /// When to try again after a failure.
    pub retry_interval: Duration,
    /// Budget for becoming healthy.
    pub timeout: Duration,
    /// Changes to the build.
    pub customization: Customization,
    /// Variables, and whether to look for expressions without any.
    pub variables: Option<Variables>,
    /// Labels for every object.
    pub labels: BTreeMap<String, String>,
    /// Annotations for every object.
    pub annotations: BTreeMap<String, String>,
    /// Whether what left the build is deleted.
    pub prune: bool,
    /// Whether objects are made anew where a field cannot be changed.
    pub force: bool,
    /// What must become healthy.
    pub health: HealthScope,
}

/// What must become healthy before the Kustomization is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthScope {
    /// Nothing.
    Nothing,
    /// Every object that was applied.
    All,
    /// These objects.
    Listed(Vec<Id>),
}

/// Why a Kustomization cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A duration is not one.
    #[error("`{field}` is not a duration: {reason}")]
    Duration {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The spec asks for something that is not done here.
    #[error("`{field}` is not supported: {why}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What would be wrong if it were ignored.
        why: &'static str,
    },
    /// The source has no artifact yet.
    #[error("source {0} has no artifact yet")]
    NoArtifact(Box<Id>),
    /// A dependency is not ready.
    #[error("dependency '{namespace}/{name}' is not ready")]
    Dependency {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The object depends on itself.
    #[error("the Kustomization depends on itself")]
    Cycle,
    /// A variable's name is not one.
    #[error("`spec.postBuild` is malformed")]
    Variables(#[source] substitute::Error),
}

/// Checks a Kustomization and what it refers to.
pub fn validate(
    object: &Kustomization,
    dereferenced: &Dereferenced,
) -> Result<ValidatedKustomization, Error> {
    let spec = &object.spec;
    refuse_unsupported(spec)?;
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let interval = paced(duration("spec.interval", &spec.interval)?);
    let optional =
        |field, text: Option<&String>| text.map(|text| duration(field, text)).transpose();
    let retry_interval =
        optional("spec.retryInterval", spec.retry_interval.as_ref())?.map_or(interval, paced);
    let timeout = optional("spec.timeout", spec.timeout.as_ref())?
        .unwrap_or_else(|| interval.saturating_sub(MIN_TIMEOUT))
        .max(MIN_TIMEOUT);
    let variables = variables(spec, dereferenced)?;
    let source = dereference::source_id(object);
    let artifact = dereferenced
        .artifact
        .clone()
        .ok_or_else(|| Error::NoArtifact(Box::new(source)))?;
    for dependency in &dereferenced.dependencies {
        check_dependency(object, dependency, &artifact)?;
    }
    let metadata = spec.common_metadata.clone().unwrap_or_default();
    Ok(ValidatedKustomization {
        health: health_scope(spec, &namespace),
        namespace,
        name,
        artifact,
        path: spec.path.clone().unwrap_or_default(),
        interval,
        retry_interval,
        timeout,
        customization: customization(spec),
        variables,
        labels: metadata.labels,
        annotations: metadata.annotations,
        prune: spec.prune,
        force: spec.force == Some(true),
    })
}

fn refuse_unsupported(spec: &KustomizationSpec) -> Result<(), Error> {
    let has_ready_expression = spec
        .depends_on
        .iter()
        .any(|dependency| dependency.ready_expr.is_some());
    let checks = [
        (
            spec.kube_config.is_some(),
            "spec.kubeConfig",
            "the objects would go to this cluster instead",
        ),
        (
            !spec.health_check_exprs.is_empty(),
            "spec.healthCheckExprs",
            "health would be judged by other rules",
        ),
        (
            has_ready_expression,
            "spec.dependsOn[].readyExpr",
            "the dependency would be judged by other rules",
        ),
        (
            spec.decryption.is_some(),
            "spec.decryption",
            "Secrets would be applied as they are, encrypted",
        ),
        (
            !spec.ignore.is_empty(),
            "spec.ignore",
            "fields that others own would be overwritten",
        ),
        (
            !spec.build_metadata.is_empty(),
            "spec.buildMetadata",
            "objects would lack their origin",
        ),
    ];
    match checks.into_iter().find(|(is_used, ..)| *is_used) {
        Some((_, field, why)) => Err(Error::Unsupported { field, why }),
        None => Ok(()),
    }
}

/// A dependency is met when it is ready, and with the same source also as far as we are to be.
fn check_dependency(
    object: &Kustomization,
    dependency: &Dependency,
    artifact: &Artifact,
) -> Result<(), Error> {
    let Dependency {
        namespace,
        name,
        object: found,
    } = dependency;
    if object.namespace().as_ref() == Some(namespace) && object.name_any() == *name {
        return Err(Error::Cycle);
    }
    let is_met = found.as_ref().is_some_and(|found| {
        let Some(status) = &found.status else {
            return false;
        };
        let is_same_source = dereference::source_id(found) == dereference::source_id(object);
        let has_revision = status.last_applied_revision.as_ref() == Some(&artifact.revision);
        status.observed_generation == found.metadata.generation
            && is_true(&status.conditions, ConditionType::Ready)
            && (!is_same_source || has_revision)
    });
    if is_met {
        Ok(())
    } else {
        Err(Error::Dependency {
            namespace: namespace.clone(),
            name: name.clone(),
        })
    }
}

/// None where the objects are taken as they are.
fn variables(
    spec: &KustomizationSpec,
    dereferenced: &Dereferenced,
) -> Result<Option<Variables>, Error> {
    let Some(build) = &spec.post_build else {
        return Ok(None);
    };
    let mut variables = dereferenced.variables.clone();
    variables.extend(build.substitute.clone());
    substitute::validate(&variables).map_err(Error::Variables)?;
    let is_always = build.substitute_strategy.as_deref() == Some("Always");
    Ok((is_always || !variables.is_empty()).then_some(variables))
}

fn customization(spec: &KustomizationSpec) -> Customization {
    Customization {
        namespace: spec.target_namespace.clone(),
        name_prefix: spec.name_prefix.clone(),
        name_suffix: spec.name_suffix.clone(),
        patches: spec.patches.iter().map(patch).collect(),
        images: spec.images.iter().map(image).collect(),
        components: spec.components.clone(),
        ignore_missing_components: spec.ignore_missing_components == Some(true),
    }
}

fn patch(patch: &api::Patch) -> PatchEntry {
    let api::Patch { patch, target } = patch;
    PatchEntry {
        patch: Some(patch.clone()),
        target: target.clone().map(selector),
        ..PatchEntry::default()
    }
}

fn selector(selector: api::Selector) -> Selector {
    let api::Selector {
        group,
        version,
        kind,
        name,
        namespace,
        label_selector,
        annotation_selector,
    } = selector;
    Selector {
        group,
        version,
        kind,
        name,
        namespace,
        label_selector,
        annotation_selector,
    }
}

fn image(image: &api::Image) -> Image {
    let api::Image {
        name,
        new_name,
        new_tag,
        digest,
    } = image.clone();
    Image {
        name,
        new_name,
        new_tag,
        digest,
        tag_suffix: None,
    }
}

fn health_scope(spec: &KustomizationSpec, own_namespace: &str) -> HealthScope {
    if spec.wait == Some(true) {
        return HealthScope::All;
    }
    if spec.health_checks.is_empty() {
        return HealthScope::Nothing;
    }
    let listed = spec.health_checks.iter().map(|check| {
        let api_version = check
            .api_version
            .as_deref()
            .filter(|text| !text.is_empty())
            .unwrap_or("apps/v1");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Id {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: check.kind.clone(),
            namespace: check
                .namespace
                .clone()
                .unwrap_or_else(|| own_namespace.to_owned()),
            name: check.name.clone(),
        }
    });
    HealthScope::Listed(listed.collect())
}

fn duration(field: &'static str, text: &str) -> Result<Duration, Error> {
    parse_duration(text).map_err(|error| Error::Duration {
        field,
        reason: error.to_string(),
    })
}
