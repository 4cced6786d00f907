//! Finding and reading the files of an overlay.

use serde_json::Value;

use super::spec::Kustomization;
use super::{Error, Mistakes};
use crate::resource::{Origin, Resource};
use crate::tree::{self, Tree};
use crate::yaml;

const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Overlays on top of each other; more would overflow the stack before they made sense.
const MAX_DEPTH: usize = 64;

/// Overlays that one build may take in. One that is used twice counts twice: a few that use each
/// other twice would never end.
const MAX_LAYERS: usize = 10_000;

/// Bytes of manifests that one build may read, for the same reason.
const MAX_READ: usize = 256 << 20;

/// Reads overlays from a tree.
pub(super) struct Builder<'tree> {
    pub(super) tree: &'tree Tree,
    /// The directories on the way from the root overlay to the current one.
    open: Vec<String>,
    layers: usize,
    read: usize,
}

impl<'tree> Builder<'tree> {
    pub(super) fn new(tree: &'tree Tree) -> Self {
        Self {
            tree,
            open: Vec::new(),
            layers: 0,
            read: 0,
        }
    }

    /// The kustomization of a directory, if it has one.
    pub(super) fn read_kustomization(
        &self,
        directory: &str,
    ) -> Result<Option<Kustomization>, Error> {
        let Some(file) = self.kustomization_file(directory) else {
            return Ok(None);
        };
        let value = yaml::parse_one(self.text(&file)?).map_err(|source| Error::Yaml {
            file: file.clone(),
            source,
        })?;
        let value = if value.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            value
        };
        let kustomization: Kustomization =
            serde_json::from_value(value).map_err(|error| Error::Kustomization {
                file: file.clone(),
                reason: error.to_string(),
            })?;
        match kustomization.unsupported_field() {
            Some(field) => Err(Error::Unsupported { file, field }),
            None => Ok(Some(kustomization)),
        }
    }

    /// The kustomization that a plain directory amounts to.
    pub(super) fn plain_directory(&self, directory: &str) -> Result<Kustomization, Error> {
        let mut resources = Vec::new();
        let mut overlays: Vec<String> = Vec::new();
        let start = if directory.is_empty() {
            0
        } else {
            directory.len() + 1
        };
        for path in self.tree.below(directory) {
            if overlays
                .iter()
                .any(|overlay| path.starts_with(overlay.as_str()))
            {
                continue;
            }
            let relative = &path[start..];
            if let Some(overlay) = self.outermost_overlay(directory, relative) {
                resources.push(overlay.clone());
                let overlay = if start == 0 {
                    overlay
                } else {
                    format!("{directory}/{overlay}")
                };
                overlays.push(format!("{overlay}/"));
            } else if is_manifest(relative) {
                resources.push(relative.to_owned());
            }
        }
        if resources.is_empty() {
            return Err(Error::NoManifests {
                path: directory.to_owned(),
            });
        }
        Ok(Kustomization::of_resources(resources))
    }

    /// Collects what a kustomization lists and applies its changes.
    pub(super) fn build_layer(
        &mut self,
        directory: &str,
        kustomization: &Kustomization,
        mut resources: Vec<Resource>,
    ) -> Result<Vec<Resource>, Error> {
        if self.open.iter().any(|open| open == directory) {
            let through = self.open.join(" -> ");
            return Err(Error::Cycle {
                path: directory.to_owned(),
                through,
            });
        }
        self.layers += 1;
        if self.layers > MAX_LAYERS || self.open.len() == MAX_DEPTH {
            let path = directory.to_owned();
            return Err(Error::TooManyLayers { path });
        }
        self.open.push(directory.to_owned());
        let file = self.name_of_kustomization(directory);
        let mut mistakes = Mistakes::default();
        for entry in kustomization.resources.iter().chain(&kustomization.bases) {
            let loaded = self.load_entry(directory, &file, entry);
            if let Err(Error::TooManyLayers { .. } | Error::TooMuchRead { .. }) = loaded {
                return loaded;
            }
            for resource in mistakes.note(loaded).unwrap_or_default() {
                mistakes.note(append(&mut resources, resource));
            }
        }
        mistakes.into_result()?;
        super::generate::run(self.tree, directory, &file, kustomization, &mut resources)?;
        for component in &kustomization.components {
            resources = self.build_component(directory, &file, component, resources)?;
        }
        self.apply_layer(directory, &file, kustomization, &mut resources)?;
        self.open.pop();
        Ok(resources)
    }

    fn build_component(
        &mut self,
        directory: &str,
        file: &str,
        path: &str,
        resources: Vec<Resource>,
    ) -> Result<Vec<Resource>, Error> {
        let component = resolve(directory, file, path)?;
        let kustomization =
            self.read_kustomization(&component)?
                .ok_or_else(|| Error::MissingFile {
                    file: file.to_owned(),
                    path: path.to_owned(),
                })?;
        if kustomization.kind.as_deref() != Some("Component") {
            let reason = "expected `kind: Component`".to_owned();
            return Err(Error::Kustomization {
                file: self.name_of_kustomization(&component),
                reason,
            });
        }
        self.build_layer(&component, &kustomization, resources)
    }

    fn load_entry(
        &mut self,
        directory: &str,
        file: &str,
        entry: &str,
    ) -> Result<Vec<Resource>, Error> {
        if is_remote(entry) {
            return Err(Error::Remote {
                file: file.to_owned(),
                url: entry.to_owned(),
            });
        }
        let path = resolve(directory, file, entry)?;
        if self.tree.file(&path).is_some() {
            return self.read_manifest(&path);
        }
        if !self.tree.has_directory(&path) {
            return Err(Error::MissingFile {
                file: file.to_owned(),
                path: entry.to_owned(),
            });
        }
        let Some(base) = self.read_kustomization(&path)? else {
            let path = format!("{path}/{}", KUSTOMIZATION_FILES[0]);
            return Err(Error::MissingFile {
                file: file.to_owned(),
                path,
            });
        };
        if base.kind.as_deref() == Some("Component") {
            let reason = "a component belongs under `components`".to_owned();
            return Err(Error::Kustomization {
                file: self.name_of_kustomization(&path),
                reason,
            });
        }
        self.build_layer(&path, &base, Vec::new())
    }

    /// The objects of a file; the items of a `List` count one by one.
    fn read_manifest(&mut self, file: &str) -> Result<Vec<Resource>, Error> {
        let text = self.text(file)?;
        self.read += text.len();
        if self.read > MAX_READ {
            let file = file.to_owned();
            return Err(Error::TooMuchRead { file });
        }
        let documents = yaml::parse_documents(text).map_err(|source| Error::Yaml {
            file: file.to_owned(),
            source,
        })?;
        let mut resources = Vec::new();
        let mut mistakes = Mistakes::default();
        for document in documents {
            let origin = Origin {
                file: file.to_owned(),
                document: document.number,
                line: document.line,
            };
            for value in items(document.value) {
                let resource =
                    Resource::new(value, origin.clone()).map_err(|source| Error::NotAnObject {
                        origin: origin.clone(),
                        source,
                    });
                resources.extend(mistakes.note(resource));
            }
        }
        mistakes.into_result()?;
        Ok(resources)
    }

    pub(super) fn text(&self, file: &str) -> Result<&'tree str, Error> {
        let content = self.tree.file(file).unwrap_or_default();
        match std::str::from_utf8(content) {
            Ok(text) => Ok(text),
            Err(_not_utf8) => Err(Error::NotText {
                file: file.to_owned(),
            }),
        }
    }

    fn kustomization_file(&self, directory: &str) -> Option<String> {
        KUSTOMIZATION_FILES
            .into_iter()
            .filter_map(|name| tree::join(directory, name).ok())
            .find(|path| self.tree.file(path).is_some())
    }

    fn name_of_kustomization(&self, directory: &str) -> String {
        self.kustomization_file(directory)
            .unwrap_or_else(|| directory.to_owned())
    }

    /// The first directory on the way down to a file that has a kustomization.
    fn outermost_overlay(&self, directory: &str, relative: &str) -> Option<String> {
        relative
            .match_indices('/')
            .map(|(end, _)| &relative[..end])
            .find_map(|below| {
                let path = tree::join(directory, below).ok()?;
                self.kustomization_file(&path).map(|_| below.to_owned())
            })
    }
}

/// The path in the tree that an entry of a kustomization means.
pub(super) fn resolve(directory: &str, file: &str, entry: &str) -> Result<String, Error> {
    tree::join(directory, entry).map_err(|source| Error::Outside {
        file: file.to_owned(),
        source,
    })
}

/// Adds an object unless one of the same identity is there.
pub(super) fn append(resources: &mut Vec<Resource>, resource: Resource) -> Result<(), Error> {
    let id = resource.id();
    match resources
        .iter()
        .find(|present| present.id().is_same_object(&id))
    {
        None => {
            resources.push(resource);
            Ok(())
        }
        Some(present) => Err(Error::Duplicate {
            id: Box::new(id),
            first: present.origin().clone(),
            second: resource.origin().clone(),
        }),
    }
}

fn items(value: Value) -> Vec<Value> {
    let is_list = value
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"));
    match value {
        Value::Object(mut map) if is_list && map.get("items").is_some_and(Value::is_array) => {
            match map.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        value => vec![value],
    }
}

fn is_manifest(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    matches!(extension, Some("yaml" | "yml"))
}

fn is_remote(entry: &str) -> bool {
    let is_scp = entry
        .split_once(':')
        .is_some_and(|(host, _)| host.contains('@') && !host.contains('/'));
    entry.contains("://") || is_scp || entry.starts_with("github.com/")
}
