//! Namespaces, prefixes and suffixes.

use serde_json::Value;

use super::Error;
use crate::field::{self, Missing};
use crate::resource::{self, Resource};

/// Kinds whose names mean something outside the build.
const KINDS_WITHOUT_AFFIXES: [&str; 3] = ["CustomResourceDefinition", "APIService", "Namespace"];

/// Moves every namespaced object into a namespace, and what names the namespace with it.
pub(super) fn set_namespace(resources: &mut [Resource], namespace: &str) {
    for resource in resources {
        let id = resource.id();
        resource.remember_id();
        if !resource::is_cluster_scoped(&id.group, &id.kind) {
            resource.set_namespace(namespace);
        }
        match (id.group.as_str(), id.kind.as_str()) {
            ("", "Namespace") => resource.set_name(namespace.to_owned()),
            (_, "RoleBinding" | "ClusterRoleBinding") => set_default_subjects(resource, namespace),
            ("apiregistration.k8s.io", "APIService") => {
                set_field(
                    resource,
                    "spec/service/namespace",
                    Missing::Create,
                    namespace,
                );
            }
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                let path = "spec/conversion/webhook/clientConfig/service/namespace";
                set_field(resource, path, Missing::Skip, namespace);
            }
            _ => {}
        }
    }
}

fn set_field(resource: &mut Resource, path: &str, missing: Missing, text: &str) {
    field::visit(resource.value_mut(), path, missing, &mut |value| {
        *value = Value::from(text);
    });
}

/// Subjects named `default` follow; others follow the service account that they refer to.
fn set_default_subjects(resource: &mut Resource, namespace: &str) {
    field::visit(
        resource.value_mut(),
        "subjects",
        Missing::Skip,
        &mut |subjects| {
            for subject in subjects.as_array_mut().into_iter().flatten() {
                if subject.get("name").and_then(Value::as_str) == Some("default")
                    && let Value::Object(subject) = subject
                {
                    subject.insert("namespace".to_owned(), Value::from(namespace));
                }
            }
        },
    );
}

/// Puts a prefix and a suffix around every name that may change.
pub(super) fn add_affixes(resources: &mut [Resource], prefix: &str, suffix: &str) {
    for resource in resources {
        if !KINDS_WITHOUT_AFFIXES.contains(&resource.original_id().kind.as_str()) {
            resource.add_affixes(prefix, suffix);
        }
    }
}

/// Two objects must not end up as one.
pub(super) fn refuse_conflicts(resources: &[Resource]) -> Result<(), Error> {
    let mut seen = std::collections::BTreeMap::new();
    for resource in resources {
        let id = resource.id();
        let key = (
            id.group.clone(),
            id.kind.clone(),
            id.effective_namespace().to_owned(),
            id.name.clone(),
        );
        if let Some(first) = seen.insert(key, resource) {
            return Err(Error::NameConflict {
                id: Box::new(id),
                first: first.origin().clone(),
                second: resource.origin().clone(),
            });
        }
    }
    Ok(())
}
