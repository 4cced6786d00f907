//! The changes of one layer, in kustomize's order.

use super::load::{Builder, resolve};
use super::spec::{Kustomization, PatchEntry};
use super::{Error, image, label, name, replica};
use crate::patch::{self, Patch};
use crate::resource::Resource;

impl Builder<'_> {
    /// Applies everything but resources, generators and components of a kustomization.
    pub(super) fn apply_layer(
        &self,
        directory: &str,
        file: &str,
        kustomization: &Kustomization,
        resources: &mut Vec<Resource>,
    ) -> Result<(), Error> {
        for (position, text) in kustomization.patches_strategic_merge.iter().enumerate() {
            let entry = self.strategic_merge_entry(directory, text);
            self.apply_patch(directory, file, &entry, position, resources)?;
        }
        for (position, entry) in kustomization.patches.iter().enumerate() {
            self.apply_patch(directory, file, entry, position, resources)?;
        }
        if let Some(namespace) = non_empty(kustomization.namespace.as_deref()) {
            name::set_namespace(resources, namespace);
        }
        let prefix = kustomization.name_prefix.as_deref().unwrap_or_default();
        let suffix = kustomization.name_suffix.as_deref().unwrap_or_default();
        if !prefix.is_empty() || !suffix.is_empty() {
            name::add_affixes(resources, prefix, suffix);
        }
        name::refuse_conflicts(resources)?;
        label::add_labels(resources, kustomization);
        label::add_annotations(resources, &kustomization.common_annotations);
        for (position, entry) in kustomization.patches_json6902.iter().enumerate() {
            self.apply_patch(directory, file, entry, position, resources)?;
        }
        for replica in &kustomization.replicas {
            if !replica::set(resources, replica) {
                return Err(Error::Replicas {
                    file: file.to_owned(),
                    name: replica.name.clone(),
                });
            }
        }
        for image in &kustomization.images {
            image::set(resources, image);
        }
        Ok(())
    }

    /// `patchesStrategicMerge` holds paths and patches side by side.
    fn strategic_merge_entry(&self, directory: &str, text: &str) -> PatchEntry {
        let is_file = !text.contains('\n')
            && crate::tree::join(directory, text).is_ok_and(|path| self.tree.file(&path).is_some());
        if is_file {
            PatchEntry {
                path: Some(text.to_owned()),
                ..PatchEntry::default()
            }
        } else {
            PatchEntry {
                patch: Some(text.to_owned()),
                ..PatchEntry::default()
            }
        }
    }

    fn apply_patch(
        &self,
        directory: &str,
        file: &str,
        entry: &PatchEntry,
        position: usize,
        resources: &mut Vec<Resource>,
    ) -> Result<(), Error> {
        let label = match &entry.path {
            Some(path) => format!("`{path}`"),
            None => format!("number {}", position + 1),
        };
        let text = match (&entry.path, &entry.patch) {
            (Some(path), None) => {
                let path = resolve(directory, file, path)?;
                if self.tree.file(&path).is_none() {
                    return Err(Error::MissingFile {
                        file: file.to_owned(),
                        path,
                    });
                }
                self.text(&path)?
            }
            (None, Some(text)) => text.as_str(),
            _ => "",
        };
        let fail = |source| Error::Patch {
            file: file.to_owned(),
            patch: label.clone(),
            source,
        };
        let patch = Patch::parse(text).map_err(fail)?;
        patch::apply(
            resources,
            &patch,
            entry.target.as_ref(),
            entry.options.unwrap_or_default(),
        )
        .map_err(fail)
    }
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
