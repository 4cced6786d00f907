//! Patches: strategic merge and JSON 6902, with selectors for their targets.

mod merge;
mod select;
mod shape;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::overlay::spec::{PatchOptions, Selector};
use crate::resource::{Id, NotAnObject, Origin, Resource};
use crate::yaml;

/// What the copies of one patch may hold: each can double the object.
const MAX_COPIED: usize = 1 << 20;

/// Why a patch could not be read or applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Neither a mapping nor a list of operations.
    #[error("it is neither an object nor a list of JSON patch operations")]
    Shape,
    /// The text is not YAML.
    #[error("it cannot be read")]
    Yaml(#[source] yaml::Error),
    /// An operation is malformed.
    #[error("malformed JSON patch: {0}")]
    Operations(String),
    /// A strategic merge patch names no object.
    #[error("it is not a Kubernetes object")]
    NotAnObject(#[source] NotAnObject),
    /// A JSON patch needs a target.
    #[error("a JSON patch needs a target")]
    NoTarget,
    /// A target can stand with one patch only.
    #[error("several patches in one entry cannot share a target")]
    SeveralWithTarget,
    /// The object that the patch names is not there.
    #[error("there is no object {0} to patch")]
    TargetMissing(Box<Id>),
    /// The patch fits more than one object.
    #[error("more than one object fits {0}")]
    TargetAmbiguous(Box<Id>),
    /// A selector's regular expression or label selector is malformed.
    #[error("malformed selector `{text}`: {reason}")]
    Selector {
        /// The selector.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// An operation does not fit the object.
    #[error("operation does not fit {target}: {reason}")]
    Apply {
        /// The object.
        target: Box<Id>,
        /// What is wrong.
        reason: String,
    },
    /// A `$patch` directive is unknown.
    #[error("unknown directive `$patch: {0}`")]
    Directive(String),
    /// The patched object is no longer a Kubernetes object.
    #[error("it makes {target} something that is not an object")]
    Broken {
        /// The object.
        target: Box<Id>,
        /// What is missing.
        source: NotAnObject,
    },
}

/// A patch, read.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// Objects to merge into those of the same name.
    Merge(Vec<Value>),
    /// Operations of RFC 6902.
    Json(json_patch::Patch),
}

impl Patch {
    /// Reads a patch: a list is a JSON patch, mappings are strategic merge patches.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let documents = yaml::parse_documents(text).map_err(Error::Yaml)?;
        let mut values: Vec<Value> = documents
            .into_iter()
            .map(|document| document.value)
            .collect();
        match values.as_slice() {
            [] => Err(Error::Shape),
            [Value::Array(_)] => serde_json::from_value(values.remove(0))
                .map(Self::Json)
                .map_err(|error| Error::Operations(error.to_string())),
            _ if values.iter().all(Value::is_object) => Ok(Self::Merge(values)),
            _ => Err(Error::Shape),
        }
    }
}

/// Applies a patch to the objects that it is for.
pub(crate) fn apply(
    resources: &mut Vec<Resource>,
    patch: &Patch,
    target: Option<&Selector>,
    options: PatchOptions,
) -> Result<(), Error> {
    match (patch, target) {
        (Patch::Json(_), None) => return Err(Error::NoTarget),
        (Patch::Json(operations), Some(selector)) => {
            let matcher = select::Matcher::new(selector)?;
            for resource in resources
                .iter_mut()
                .filter(|resource| matcher.is_match(resource))
            {
                apply_operations(resource, operations)?;
            }
        }
        (Patch::Merge(patches), Some(selector)) => {
            let [patch] = patches.as_slice() else {
                return Err(Error::SeveralWithTarget);
            };
            let matcher = select::Matcher::new(selector)?;
            for resource in resources
                .iter_mut()
                .filter(|resource| matcher.is_match(resource))
            {
                merge_into(resource, patch, options)?;
            }
        }
        (Patch::Merge(patches), None) => {
            for patch in patches {
                let resource = find_target(resources, patch)?;
                merge_into(resource, patch, options)?;
            }
        }
    }
    resources.retain(|resource| !resource.value().is_null());
    Ok(())
}

fn find_target<'r>(
    resources: &'r mut [Resource],
    patch: &Value,
) -> Result<&'r mut Resource, Error> {
    let id = Resource::new(patch.clone(), Origin::default())
        .map_err(Error::NotAnObject)?
        .id();
    let mut fitting = resources.iter_mut().filter(|resource| resource.has_id(&id));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Error::TargetMissing(Box::new(id))),
        (Some(_), Some(_)) => Err(Error::TargetAmbiguous(Box::new(id))),
    }
}

fn apply_operations(resource: &mut Resource, operations: &json_patch::Patch) -> Result<(), Error> {
    let id = resource.id();
    let mut value = resource.value().clone();
    let fail = |reason: String| Error::Apply {
        target: Box::new(id.clone()),
        reason,
    };
    let mut copied = 0;
    for operation in &operations.0 {
        if let PatchOperation::Copy(copy) = operation {
            let source = copy.from.resolve(&value).ok();
            copied += source.map_or(0, |source| source.to_string().len());
            if copied > MAX_COPIED {
                let limit = MAX_COPIED >> 10;
                return Err(fail(format!("its copies hold more than {limit} KiB")));
            }
        }
        json_patch::patch(&mut value, std::slice::from_ref(operation))
            .map_err(|error| fail(error.to_string()))?;
    }
    Resource::new(value.clone(), Origin::default()).map_err(|source| Error::Broken {
        target: Box::new(id),
        source,
    })?;
    resource.remember_id();
    resource.set_value(value);
    Ok(())
}

/// Merges a patch; name, namespace and type stay unless the options let them change.
fn merge_into(resource: &mut Resource, patch: &Value, options: PatchOptions) -> Result<(), Error> {
    let id = resource.id();
    if options.allow_name_change || options.allow_kind_change {
        resource.remember_id();
    }
    let shape = shape::Shape::of_kind(&id.group, &id.kind);
    let api_version = resource.value().get("apiVersion").cloned();
    let merged = merge::merge(resource.value().clone(), patch, shape)?;
    if merged.is_null() {
        resource.set_value(Value::Null);
        return Ok(());
    }
    resource.set_value(merged);
    if !options.allow_name_change {
        resource.set_name(id.name.clone());
    }
    if !options.allow_kind_change
        && let Value::Object(map) = resource.value_mut()
    {
        map.insert("kind".to_owned(), Value::from(id.kind.as_str()));
        map.extend(api_version.map(|version| ("apiVersion".to_owned(), version)));
    }
    if id.namespace.is_empty() {
        if let Some(metadata) = resource
            .value_mut()
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
        {
            metadata.shift_remove("namespace");
        }
    } else {
        resource.set_namespace(&id.namespace);
    }
    Resource::new(resource.value().clone(), Origin::default())
        .map_err(|source| Error::Broken {
            target: Box::new(id),
            source,
        })
        .map(drop)
}

#[cfg(test)]
mod tests;
