//! One Kubernetes object on its way through a build: its value, where it came from, and the names
//! that it had before.

use std::fmt;

use serde_json::{Map, Value};

use crate::field;

/// What identifies an object in a cluster, plus its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty where none is set.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Id {
    /// Whether both mean the same object; no namespace is the namespace `default`.
    pub(crate) fn is_same_object(&self, other: &Self) -> bool {
        (&self.group, &self.kind, &self.name) == (&other.group, &other.kind, &other.name)
            && self.version == other.version
            && self.effective_namespace() == other.effective_namespace()
    }

    pub(crate) fn effective_namespace(&self) -> &str {
        if self.namespace.is_empty() {
            "default"
        } else {
            &self.namespace
        }
    }

    fn of(value: &Value) -> Self {
        let text = |path| field::find_str(value, path).unwrap_or_default().to_owned();
        let api_version = text("apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text("kind"),
            namespace: text("metadata/namespace"),
            name: text("metadata/name"),
        }
    }
}

impl fmt::Display for Id {
    /// `Deployment/default/web`, or `Namespace/web` without a namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// Where in the source an object was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Path of the file below the source's root.
    pub file: String,
    /// Position of the document in the file, counted from 1.
    pub document: usize,
    /// Line of the document's first value, counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` (document {}, line {})",
            self.file, self.document, self.line
        )
    }
}

/// Whether a generated object's name ends in a hash of its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HashSuffix {
    #[default]
    Never,
    Wanted,
}

/// A Kubernetes object with its provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    value: Value,
    origin: Origin,
    previous: Vec<Id>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
    pub(crate) hash_suffix: HashSuffix,
}

/// Why a document is not a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// It is a list or a scalar.
    #[error("not a mapping")]
    Shape,
    /// A field that every object has is missing or not a string.
    #[error("`{0}` is missing or not a string")]
    Field(&'static str),
    /// A field that must be a mapping of strings is something else.
    #[error("`{0}` must be a mapping of strings")]
    Strings(&'static str),
}

impl Resource {
    /// Takes a document as an object.
    pub fn new(value: Value, origin: Origin) -> Result<Self, NotAnObject> {
        if !value.is_object() {
            return Err(NotAnObject::Shape);
        }
        for path in ["apiVersion", "kind"] {
            if field::find_str(&value, path).is_none_or(str::is_empty) {
                return Err(NotAnObject::Field(path));
            }
        }
        let is_list = field::find_str(&value, "kind").is_some_and(|kind| kind.ends_with("List"))
            && value.get("items").is_some();
        let name = field::find_str(&value, "metadata/name");
        if !is_list && name.is_none_or(str::is_empty) {
            return Err(NotAnObject::Field("metadata/name"));
        }
        for path in ["metadata/labels", "metadata/annotations"] {
            let is_strings = match field::find(&value, path) {
                None | Some(Value::Null) => true,
                Some(Value::Object(map)) => map.values().all(Value::is_string),
                Some(_) => false,
            };
            if !is_strings {
                return Err(NotAnObject::Strings(path));
            }
        }
        Ok(Self {
            value,
            origin,
            previous: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            hash_suffix: HashSuffix::Never,
        })
    }

    /// Its current identity.
    pub fn id(&self) -> Id {
        Id::of(&self.value)
    }

    /// The object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The object, without its provenance.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// Where it was written.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The same resource with another object in its place.
    pub fn with_value(self, value: Value) -> Result<Self, NotAnObject> {
        let Self {
            previous,
            prefixes,
            suffixes,
            hash_suffix,
            origin,
            value: _,
        } = self;
        let Self { value, origin, .. } = Self::new(value, origin)?;
        Ok(Self {
            value,
            origin,
            previous,
            prefixes,
            suffixes,
            hash_suffix,
        })
    }

    /// A label or annotation; the keys that steer an apply are looked up in both.
    pub fn marker(&self, key: &str) -> Option<&str> {
        ["annotations", "labels"]
            .into_iter()
            .find_map(|place| self.value.get("metadata")?.get(place)?.get(key)?.as_str())
    }

    pub(crate) fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }

    pub(crate) fn set_value(&mut self, value: Value) {
        self.value = value;
    }

    /// Remembers the current identity before a change of name or namespace.
    pub(crate) fn remember_id(&mut self) {
        let id = self.id();
        if self.previous.last() != Some(&id) {
            self.previous.push(id);
        }
    }

    /// The identity that it was written with.
    pub(crate) fn original_id(&self) -> Id {
        self.previous.first().cloned().unwrap_or_else(|| self.id())
    }

    /// Every identity it ever had, the current one last.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.previous.iter().cloned().chain([self.id()])
    }

    pub(crate) fn has_id(&self, id: &Id) -> bool {
        self.ids().any(|own| own.is_same_object(id))
    }

    pub(crate) fn set_name(&mut self, name: String) {
        self.set_metadata("name", Value::String(name));
    }

    pub(crate) fn set_namespace(&mut self, namespace: &str) {
        self.set_metadata("namespace", Value::from(namespace));
    }

    pub(crate) fn add_affixes(&mut self, prefix: &str, suffix: &str) {
        self.remember_id();
        let name = self.id().name;
        self.set_name(format!("{prefix}{name}{suffix}"));
        if !prefix.is_empty() {
            self.prefixes.push(prefix.to_owned());
        }
        if !suffix.is_empty() {
            self.suffixes.push(suffix.to_owned());
        }
    }

    /// Takes over the identity of the object that this one replaces.
    pub(crate) fn inherit(&mut self, old: &Self) {
        self.previous.clone_from(&old.previous);
        self.prefixes.clone_from(&old.prefixes);
        self.suffixes.clone_from(&old.suffixes);
        if old.hash_suffix == HashSuffix::Wanted {
            self.hash_suffix = HashSuffix::Wanted;
        }
    }

    /// Whether both went through the same layers, judged by their prefixes and suffixes.
    pub(crate) fn has_affixes_of(&self, other: &Self, missing: MissingAffixes) -> bool {
        let agree = |own: &[String], others: &[String]| {
            let is_vacuous =
                missing == MissingAffixes::Fit && (own.is_empty() || others.is_empty());
            is_vacuous || own.ends_with(others) && !others.is_empty() || others.ends_with(own)
        };
        agree(&self.prefixes, &other.prefixes) && agree(&self.suffixes, &other.suffixes)
    }

    fn set_metadata(&mut self, key: &str, value: Value) {
        if let Value::Object(map) = &mut self.value
            && let Some(metadata) = field::mapping(map, "metadata")
        {
            metadata.insert(key.to_owned(), value);
        }
    }

    /// The labels or annotations, made where missing.
    pub(crate) fn metadata_strings(&mut self, place: &str) -> Option<&mut Map<String, Value>> {
        let map = self.value.as_object_mut()?;
        field::mapping(field::mapping(map, "metadata")?, place)
    }
}

/// Whether an object without prefixes fits one with prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingAffixes {
    Fit,
    Differ,
}

/// Whether Kubernetes itself knows this kind as one without a namespace.
///
/// Kinds of custom resources count as namespaced here; only a cluster can tell.
pub fn is_cluster_scoped(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(
            kind,
            "Namespace" | "Node" | "PersistentVolume" | "ComponentStatus"
        ),
        "admissionregistration.k8s.io" | "apiregistration.k8s.io" | "apiextensions.k8s.io" => true,
        "rbac.authorization.k8s.io" => kind.starts_with("Cluster"),
        "storage.k8s.io" => kind != "CSIStorageCapacity",
        "scheduling.k8s.io" => kind == "PriorityClass",
        "node.k8s.io" => kind == "RuntimeClass",
        "networking.k8s.io" => matches!(kind, "IngressClass" | "IPAddress" | "ServiceCIDR"),
        "certificates.k8s.io" => matches!(kind, "CertificateSigningRequest" | "ClusterTrustBundle"),
        "flowcontrol.apiserver.k8s.io" => true,
        "policy" => kind == "PodSecurityPolicy",
        "resource.k8s.io" => matches!(kind, "DeviceClass" | "ResourceSlice"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_without_kind_or_name_is_not_an_object() {
        let new = |value| Resource::new(value, Origin::default()).map(|_| ());
        assert_eq!(new(json!([])), Err(NotAnObject::Shape));
        assert_eq!(
            new(json!({"apiVersion": "v1"})),
            Err(NotAnObject::Field("kind"))
        );
        assert_eq!(
            new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}})),
            Err(NotAnObject::Field("metadata/name"))
        );
        assert_eq!(
            new(
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"v": 1}}})
            ),
            Err(NotAnObject::Strings("metadata/labels"))
        );
    }
}
