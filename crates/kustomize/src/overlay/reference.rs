//! Names that objects use for each other, brought up to date after renames.
//!
//! A reference means the object of the right kind that once had this name, in the referrer's
//! namespace; where several had it, the one that went through the same layers.

use serde_json::Value;

use super::Error;
use crate::field::{self, Missing};
use crate::resource::{self, Id, MissingAffixes, Resource};

/// Fields below a pod's spec, and the kind that they name.
const POD_FIELDS: [(&str, &str); 11] = [
    ("volumes/configMap/name", "ConfigMap"),
    ("volumes/projected/sources/configMap/name", "ConfigMap"),
    ("volumes/secret/secretName", "Secret"),
    ("volumes/projected/sources/secret/name", "Secret"),
    (
        "volumes/persistentVolumeClaim/claimName",
        "PersistentVolumeClaim",
    ),
    ("imagePullSecrets/name", "Secret"),
    ("serviceAccountName", "ServiceAccount"),
    ("priorityClassName", "PriorityClass"),
    ("containers", "container"),
    ("initContainers", "container"),
    ("ephemeralContainers", "container"),
];

/// Fields of a container, and the kind that they name.
const CONTAINER_FIELDS: [(&str, &str); 4] = [
    ("env/valueFrom/configMapKeyRef/name", "ConfigMap"),
    ("envFrom/configMapRef/name", "ConfigMap"),
    ("env/valueFrom/secretKeyRef/name", "Secret"),
    ("envFrom/secretRef/name", "Secret"),
];

/// Brings every reference up to date.
pub(super) fn update(resources: &mut [Resource]) -> Result<(), Error> {
    if resources.iter().all(|resource| resource.ids().count() == 1) {
        return Ok(());
    }
    let named: Vec<Resource> = resources.to_vec();
    resources.iter_mut().try_for_each(|resource| {
        let mut updater = Updater {
            named: &named,
            referrer: resource.clone(),
            error: None,
        };
        updater.update(resource.value_mut());
        updater.error.map_or(Ok(()), Err)
    })
}

struct Updater<'named> {
    named: &'named [Resource],
    referrer: Resource,
    error: Option<Error>,
}

impl Updater<'_> {
    fn update(&mut self, value: &mut Value) {
        let id = self.referrer.id();
        if let Some(pod) = pod_spec(&id.kind) {
            for (path, kind) in POD_FIELDS {
                if kind == "container" {
                    for (field, kind) in CONTAINER_FIELDS {
                        self.names(value, &format!("{pod}/{path}/{field}"), kind);
                    }
                } else {
                    self.names(value, &format!("{pod}/{path}"), kind);
                }
            }
        }
        for (path, kind) in fields(&id) {
            self.names(value, path, kind);
        }
        match id.kind.as_str() {
            "RoleBinding" | "ClusterRoleBinding" => {
                self.role_ref(value);
                self.name_and_namespace(value, "subjects", "ServiceAccount");
            }
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
                self.name_and_namespace(value, "webhooks/clientConfig/service", "Service");
            }
            "HorizontalPodAutoscaler" => self.scale_target(value),
            _ => {}
        }
    }

    /// A field, or a list, of names.
    fn names(&mut self, value: &mut Value, path: &str, kind: &str) {
        field::visit(value, path, Missing::Skip, &mut |found| {
            let texts = match found {
                Value::Array(items) => items.as_mut_slice(),
                other => std::slice::from_mut(other),
            };
            for text in texts {
                if let Value::String(name) = text
                    && let Some(target) = self.find(name, kind, None)
                {
                    *name = target.id().name;
                }
            }
        });
    }

    /// A mapping with a name and perhaps a namespace, both of which follow.
    fn name_and_namespace(&mut self, value: &mut Value, path: &str, kind: &str) {
        field::visit(value, path, Missing::Skip, &mut |found| {
            let references = match found {
                Value::Array(items) => items.as_mut_slice(),
                other => std::slice::from_mut(other),
            };
            for reference in references {
                let Value::Object(map) = reference else {
                    continue;
                };
                if map
                    .get("kind")
                    .and_then(Value::as_str)
                    .is_some_and(|own| own != kind)
                {
                    continue;
                }
                let Some(name) = map.get("name").and_then(Value::as_str) else {
                    continue;
                };
                let namespace = map.get("namespace").and_then(Value::as_str);
                let Some(target) = self.find(name, kind, namespace) else {
                    continue;
                };
                let id = target.id();
                map.insert("name".to_owned(), Value::from(id.name));
                if !id.namespace.is_empty() {
                    map.insert("namespace".to_owned(), Value::from(id.namespace));
                }
            }
        });
    }

    fn role_ref(&mut self, value: &mut Value) {
        let kind = field::find_str(value, "roleRef/kind")
            .unwrap_or_default()
            .to_owned();
        if matches!(kind.as_str(), "Role" | "ClusterRole") {
            self.names(value, "roleRef/name", &kind);
        }
    }

    fn scale_target(&mut self, value: &mut Value) {
        let kind = field::find_str(value, "spec/scaleTargetRef/kind")
            .unwrap_or_default()
            .to_owned();
        self.names(value, "spec/scaleTargetRef/name", &kind);
    }

    fn find(&mut self, name: &str, kind: &str, namespace: Option<&str>) -> Option<Resource> {
        let referrer = self.referrer.id();
        let mut candidates: Vec<&Resource> = self
            .named
            .iter()
            .filter(|candidate| {
                let had_name = candidate.ids().any(|id| id.kind == kind && id.name == name);
                had_name && is_reachable(&referrer, candidate, namespace)
            })
            .collect();
        for missing in [MissingAffixes::Fit, MissingAffixes::Differ] {
            if candidates.len() > 1 {
                candidates.retain(|candidate| candidate.has_affixes_of(&self.referrer, missing));
            }
        }
        match candidates.as_slice() {
            [] => None,
            [one] => Some((*one).clone()),
            [first, rest @ ..] => {
                let (id, others) = (first.id(), rest.iter().map(|other| other.id()));
                if let Some(other) = others.into_iter().find(|other| other.name != id.name) {
                    self.error.get_or_insert_with(|| Error::AmbiguousReference {
                        referrer: self.referrer.origin().clone(),
                        name: name.to_owned(),
                        first: Box::new(id),
                        second: Box::new(other),
                    });
                    return None;
                }
                Some((*first).clone())
            }
        }
    }
}

/// Whether a referrer may mean a candidate, judged by their namespaces.
fn is_reachable(referrer: &Id, candidate: &Resource, namespace: Option<&str>) -> bool {
    let id = candidate.id();
    if let Some(namespace) = namespace {
        return candidate
            .ids()
            .any(|id| id.namespace == namespace || id.effective_namespace() == namespace);
    }
    resource::is_cluster_scoped(&referrer.group, &referrer.kind)
        || resource::is_cluster_scoped(&id.group, &id.kind)
        || id.kind == "ServiceAccount"
        || id.effective_namespace() == referrer.effective_namespace()
}

fn pod_spec(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("spec"),
        "PodTemplate" => Some("template/spec"),
        "Deployment"
        | "ReplicaSet"
        | "DaemonSet"
        | "StatefulSet"
        | "Job"
        | "ReplicationController" => Some("spec/template/spec"),
        "CronJob" => Some("spec/jobTemplate/spec/template/spec"),
        _ => None,
    }
}

/// Fields outside pods that name other objects.
fn fields(id: &Id) -> &'static [(&'static str, &'static str)] {
    match (id.group.as_str(), id.kind.as_str()) {
        (_, "Role") => &[
            ("rules/resourceNames", "ConfigMap"),
            ("rules/resourceNames", "Secret"),
        ],
        (_, "ClusterRole") => &[
            ("rules/resourceNames", "ConfigMap"),
            ("rules/resourceNames", "Secret"),
            ("rules/resourceNames", "PersistentVolume"),
        ],
        (_, "Ingress") => &[
            ("spec/tls/secretName", "Secret"),
            ("spec/rules/http/paths/backend/service/name", "Service"),
            ("spec/rules/http/paths/backend/serviceName", "Service"),
            ("spec/defaultBackend/service/name", "Service"),
            ("spec/backend/serviceName", "Service"),
            ("spec/ingressClassName", "IngressClass"),
            (
                "metadata/annotations/ingress.kubernetes.io\\/auth-secret",
                "Secret",
            ),
            (
                "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-secret",
                "Secret",
            ),
            (
                "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-tls-secret",
                "Secret",
            ),
            (
                "metadata/annotations/nginx.ingress.kubernetes.io\\/fastcgi-params-configmap",
                "ConfigMap",
            ),
        ],
        ("", "ServiceAccount") => &[("imagePullSecrets/name", "Secret")],
        ("apps", "StatefulSet") => &[
            ("spec/serviceName", "Service"),
            (
                "spec/volumeClaimTemplates/spec/storageClassName",
                "StorageClass",
            ),
        ],
        (_, "APIService") => &[("spec/service/name", "Service")],
        ("", "PersistentVolume") => &[
            ("spec/storageClassName", "StorageClass"),
            ("spec/azureFile/secretName", "Secret"),
        ],
        ("", "PersistentVolumeClaim") => &[
            ("spec/storageClassName", "StorageClass"),
            ("spec/volumeName", "PersistentVolume"),
        ],
        (_, "StorageClass") => &[
            ("parameters/secretName", "Secret"),
            ("parameters/adminSecretName", "Secret"),
            ("parameters/userSecretName", "Secret"),
            ("parameters/secretRef", "Secret"),
        ],
        (_, "ValidatingAdmissionPolicyBinding") => {
            &[("spec/policyName", "ValidatingAdmissionPolicy")]
        }
        _ => &[],
    }
}
