//! Names of the workload a pod belongs to, read from the pod alone.

use k8s_openapi::api::core::v1::Pod;

pub(crate) use fairlead_crds::label::{CANONICAL_NAME, CANONICAL_REVISION};

/// The name of the workload: its controller without the hash that a Deployment adds to its
/// ReplicaSets, or the pod's own name where there is no controller.
pub(crate) fn workload_name(pod: &Pod) -> String {
    let controller = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    let Some(controller) = controller else {
        return own_name(pod);
    };
    let hash = label(pod, "pod-template-hash");
    if controller.kind == "ReplicaSet"
        && let Some(hash) = hash
        && let Some(deployment) = controller.name.strip_suffix(&format!("-{hash}"))
    {
        return deployment.to_owned();
    }
    controller.name.clone()
}

/// The canonical service of the pod, and its revision.
pub(crate) fn canonical(pod: &Pod, workload: &str) -> (String, String) {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| label(pod, name))
            .map(str::to_owned)
    };
    let name = first(&[CANONICAL_NAME, "app.kubernetes.io/name", "app"]);
    let revision = first(&[CANONICAL_REVISION, "app.kubernetes.io/version", "version"]);
    let name = name.unwrap_or_else(|| as_label_value(workload));
    (name, revision.unwrap_or_else(|| "latest".to_owned()))
}

/// Names may be longer than the value of a label.
fn as_label_value(name: &str) -> String {
    let cut = name
        .char_indices()
        .nth(63)
        .map_or(name, |(end, _)| &name[..end]);
    cut.trim_end_matches(['-', '.', '_']).to_owned()
}

fn own_name(pod: &Pod) -> String {
    let generated = pod
        .metadata
        .generate_name
        .as_deref()
        .map(|name| name.trim_end_matches('-'));
    pod.metadata
        .name
        .as_deref()
        .or(generated)
        .unwrap_or_default()
        .to_owned()
}

fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn owned(kind: &str, name: &str, hash: Option<&str>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.generate_name = Some("web-".to_owned());
        pod.metadata.owner_references = Some(vec![OwnerReference {
            kind: kind.to_owned(),
            name: name.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
        pod.metadata.labels =
            hash.map(|hash| [("pod-template-hash".to_owned(), hash.to_owned())].into());
        pod
    }

    #[test]
    fn a_deployment_is_named_without_the_hash_of_its_pod_template() {
        let pod = owned("ReplicaSet", "web-7d4b9c", Some("7d4b9c"));
        assert_eq!(workload_name(&pod), "web");
    }

    #[test]
    fn other_controllers_keep_their_name() {
        assert_eq!(workload_name(&owned("StatefulSet", "db", None)), "db");
        assert_eq!(
            workload_name(&owned("ReplicaSet", "bare-1", Some("zzz"))),
            "bare-1"
        );
    }

    #[test]
    fn a_pod_without_a_controller_is_its_own_workload() {
        let mut pod = Pod::default();
        pod.metadata.generate_name = Some("once-".to_owned());
        assert_eq!(workload_name(&pod), "once");
    }
}
