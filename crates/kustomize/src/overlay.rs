//! Building the objects of a directory: a kustomize overlay, or plain manifests.
//!
//! Bases are built first, then each layer changes what it collected, from the inside out. Name
//! references and hashes are settled once, at the end, when all names are final.

mod generate;
mod image;
mod label;
mod layer;
mod load;
mod name;
mod reference;
mod replica;
pub(crate) mod spec;

use std::fmt;

use crate::patch;
use crate::resource::{Id, NotAnObject, Origin, Resource};
use crate::tree::{self, PathOutsideTree, Tree};
use crate::yaml;
use spec::{Image, Kustomization, PatchEntry};

/// Changes on top of what the directory says, as a Flux `Kustomization` carries them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customization {
    /// Namespace of every namespaced object; wins over the overlay's own.
    pub namespace: Option<String>,
    /// Text before every name; wins over the overlay's own.
    pub name_prefix: Option<String>,
    /// Text behind every name; wins over the overlay's own.
    pub name_suffix: Option<String>,
    /// Patches after the overlay's own.
    pub patches: Vec<PatchEntry>,
    /// Images; an entry wins over the overlay's own for the same image.
    pub images: Vec<Image>,
    /// Components after the overlay's own, relative to the directory.
    pub components: Vec<String>,
    /// Whether a component that is not there is left out instead of refused.
    pub ignore_missing_components: bool,
}

/// Why a directory could not be built.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The directory is not in the source.
    #[error("path `{path}` is not in the source")]
    MissingDirectory {
        /// The directory.
        path: String,
    },
    /// A directory without a kustomization has no manifests either.
    #[error("no manifests below `{path}`")]
    NoManifests {
        /// The directory.
        path: String,
    },
    /// A kustomization names a file or directory that is not there.
    #[error("`{file}`: `{path}` is not in the source")]
    MissingFile {
        /// The kustomization.
        file: String,
        /// What it names.
        path: String,
    },
    /// A kustomization names something outside the source.
    #[error("`{file}` names a path outside the source")]
    Outside {
        /// The kustomization.
        file: String,
        /// The path.
        source: PathOutsideTree,
    },
    /// A kustomization names a remote base.
    #[error("`{file}`: remote resource `{url}` is refused; make it a source of its own")]
    Remote {
        /// The kustomization.
        file: String,
        /// The URL.
        url: String,
    },
    /// Overlays include each other in a circle.
    #[error("`{path}` includes itself: {through}")]
    Cycle {
        /// The directory that comes up again.
        path: String,
        /// The way there.
        through: String,
    },
    /// There are too many overlays, or too many on top of each other.
    #[error("`{path}` is one overlay too many: are some included again and again?")]
    TooManyLayers {
        /// The directory that goes beyond the limit.
        path: String,
    },
    /// The manifests are too long together.
    #[error("`{file}` is one manifest too many: are some included again and again?")]
    TooMuchRead {
        /// The file that goes beyond the limit.
        file: String,
    },
    /// A file is not YAML.
    #[error("failed to read `{file}`")]
    Yaml {
        /// The file.
        file: String,
        /// Line and mistake.
        source: yaml::Error,
    },
    /// A file is not text.
    #[error("`{file}` is not UTF-8 text")]
    NotText {
        /// The file.
        file: String,
    },
    /// A document is not a Kubernetes object.
    #[error("{origin} is not a Kubernetes object")]
    NotAnObject {
        /// Where it stands.
        origin: Origin,
        /// What is missing.
        source: NotAnObject,
    },
    /// A `kustomization.yaml` has an unknown field or a value of the wrong type.
    #[error("`{file}` is not a valid kustomization: {reason}")]
    Kustomization {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A `kustomization.yaml` uses a part of kustomize that is not there.
    #[error("`{file}`: field `{field}` is not supported")]
    Unsupported {
        /// The file.
        file: String,
        /// The field.
        field: &'static str,
    },
    /// Two documents are the same object.
    #[error("{id} stands in {second} and before that in {first}")]
    Duplicate {
        /// The object.
        id: Box<Id>,
        /// Where it stands first.
        first: Origin,
        /// Where it stands again.
        second: Origin,
    },
    /// A change of names or namespaces gives two objects one identity.
    #[error("{first} and {second} both become {id}")]
    NameConflict {
        /// The identity.
        id: Box<Id>,
        /// One of them.
        first: Origin,
        /// The other.
        second: Origin,
    },
    /// A patch could not be applied.
    #[error("`{file}`: patch {patch} failed")]
    Patch {
        /// The kustomization.
        file: String,
        /// The patch: its file or its position.
        patch: String,
        /// Why.
        source: patch::Error,
    },
    /// A generator is wrong.
    #[error("`{file}`: generator `{name}`: {reason}")]
    Generator {
        /// The kustomization.
        file: String,
        /// Name of the generated object.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An entry of `replicas` fits no object.
    #[error("`{file}`: no workload named `{name}` to set replicas of")]
    Replicas {
        /// The kustomization.
        file: String,
        /// The name.
        name: String,
    },
    /// A name refers to more than one object.
    #[error("{referrer} refers to `{name}`, which could be {first} or {second}")]
    AmbiguousReference {
        /// Where the reference stands.
        referrer: Origin,
        /// The name.
        name: String,
        /// One candidate.
        first: Box<Id>,
        /// Another one.
        second: Box<Id>,
    },
    /// More than one thing is wrong.
    #[error("{0}")]
    Several(Several),
}

/// Every mistake of a build, so that one push can cure them all.
#[derive(Clone, Debug)]
pub struct Several(Vec<Error>);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistakes", self.0.len())?;
        for error in &self.0 {
            write!(f, "; {error}")?;
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

/// Gathers mistakes, so that the first does not hide the others.
#[derive(Debug, Default)]
struct Mistakes(Vec<Error>);

impl Mistakes {
    fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Error::Several(Several(errors))) => {
                self.0.extend(errors);
                None
            }
            Err(error) => {
                self.0.push(error);
                None
            }
        }
    }

    fn into_result(mut self) -> Result<(), Error> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(Error::Several(Several(self.0))),
        }
    }
}

/// Builds the objects of a directory.
///
/// A directory with a `kustomization.yaml` is an overlay; of any other, all YAML files below it
/// are taken, and its sub-directories with a kustomization are bases, as Flux does.
///
/// # Errors
/// Every mistake in the files is reported, not only the first.
pub fn build(
    tree: &Tree,
    path: &str,
    customization: &Customization,
) -> Result<Vec<Resource>, Error> {
    let directory = tree::join("", path)
        .ok()
        .filter(|directory| tree.has_directory(directory))
        .ok_or_else(|| Error::MissingDirectory {
            path: path.to_owned(),
        })?;
    let mut builder = load::Builder::new(tree);
    let mut kustomization = match builder.read_kustomization(&directory)? {
        Some(kustomization) => kustomization,
        None => builder.plain_directory(&directory)?,
    };
    customize(&mut kustomization, customization, tree, &directory);
    let mut resources = builder.build_layer(&directory, &kustomization, Vec::new())?;
    generate::add_hashes(&mut resources);
    reference::update(&mut resources)?;
    Ok(resources)
}

fn customize(
    kustomization: &mut Kustomization,
    extra: &Customization,
    tree: &Tree,
    directory: &str,
) {
    let overrides = [
        (&mut kustomization.namespace, &extra.namespace),
        (&mut kustomization.name_prefix, &extra.name_prefix),
        (&mut kustomization.name_suffix, &extra.name_suffix),
    ];
    for (own, extra) in overrides {
        if extra.is_some() {
            own.clone_from(extra);
        }
    }
    kustomization.patches.extend(extra.patches.iter().cloned());
    for image in &extra.images {
        kustomization.images.retain(|own| own.name != image.name);
        kustomization.images.push(image.clone());
    }
    let is_there = |path: &String| {
        tree::join(directory, path).is_ok_and(|directory| tree.has_directory(&directory))
    };
    let components = extra
        .components
        .iter()
        .filter(|path| !extra.ignore_missing_components || is_there(path))
        .cloned();
    kustomization.components.extend(components);
}
