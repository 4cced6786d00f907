//! Registers the sidecar injector, and the validation of mesh objects, with the API server. Pure.
//!
//! Four webhooks, because which pods are injected depends on labels of the namespace and of the pod
//! together. The CA bundle is the control plane's: it is left out here, and server-side apply
//! leaves it alone.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::ObjectMeta;

use super::{CONTROL_PLANE, NAMESPACE};
use crate::mesh_install::validate::Mesh;

/// The configuration's name.
pub(crate) const INJECTOR: &str = "istio-sidecar-injector";
/// The name of the configuration that validates.
pub(crate) const VALIDATOR: &str = "istio-validator";
/// The revision that `istio.io/rev` names.
const REVISION: &str = "default";
const INJECTION: &str = "istio-injection";
const REV: &str = "istio.io/rev";
const INJECT: &str = "sidecar.istio.io/inject";

pub(super) fn injector(mesh: &Mesh) -> MutatingWebhookConfiguration {
    let exempt = exempt(mesh);
    // A namespace that says nothing: then the pod decides.
    let undecided = [absent(INJECTION), absent(REV)];
    let not_refused = not_in(INJECT, ["false"]);
    let webhooks = [
        (
            "rev.namespace",
            vec![is_in(REV, REVISION), absent(INJECTION)],
            vec![not_refused.clone()],
        ),
        (
            "rev.object",
            undecided.to_vec(),
            vec![not_refused.clone(), is_in(REV, REVISION)],
        ),
        (
            "namespace",
            vec![is_in(INJECTION, "enabled")],
            vec![not_refused],
        ),
        (
            "object",
            undecided.to_vec(),
            vec![is_in(INJECT, "true"), absent(REV)],
        ),
    ];
    MutatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(INJECTOR.to_owned()),
            ..ObjectMeta::default()
        },
        webhooks: Some(
            webhooks
                .into_iter()
                .map(|(name, mut namespaces, pods)| {
                    namespaces.push(exempt.clone());
                    webhook(name, namespaces, pods)
                })
                .collect(),
        ),
    }
}

/// Lets the control plane say at once what is wrong with an object of the mesh. It never keeps
/// anybody from applying one while it does not answer: the object's status tells later.
pub(super) fn validator() -> ValidatingWebhookConfiguration {
    let all = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
    let rule = |group: &str, resources: &[&str]| RuleWithOperations {
        api_groups: all(&[group]),
        api_versions: all(&["v1"]),
        operations: all(&["CREATE", "UPDATE"]),
        resources: all(resources),
        ..RuleWithOperations::default()
    };
    let networking = [
        "virtualservices",
        "destinationrules",
        "gateways",
        "serviceentries",
    ];
    ValidatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(VALIDATOR.to_owned()),
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![ValidatingWebhook {
            name: "validation.istio.io".to_owned(),
            admission_review_versions: vec!["v1".to_owned()],
            client_config: client_config("/validate"),
            failure_policy: Some("Ignore".to_owned()),
            // Other versions of a kind are converted first.
            match_policy: Some("Equivalent".to_owned()),
            side_effects: "None".to_owned(),
            timeout_seconds: Some(5),
            rules: Some(vec![
                rule("networking.istio.io", &networking),
                rule("security.istio.io", &["peerauthentications"]),
            ]),
            ..ValidatingWebhook::default()
        }]),
    }
}

fn client_config(path: &str) -> WebhookClientConfig {
    WebhookClientConfig {
        service: Some(ServiceReference {
            name: CONTROL_PLANE.to_owned(),
            namespace: NAMESPACE.to_owned(),
            path: Some(path.to_owned()),
            port: Some(443),
        }),
        ..WebhookClientConfig::default()
    }
}

/// Namespaces without which there is no cluster and no mesh: an injector that does not answer must
/// never keep their pods from being created.
fn exempt(mesh: &Mesh) -> LabelSelectorRequirement {
    let namespaces = [
        "kube-system",
        "kube-public",
        "kube-node-lease",
        NAMESPACE,
        &mesh.operator_namespace,
    ];
    not_in("kubernetes.io/metadata.name", namespaces)
}

fn webhook(
    name: &str,
    namespaces: Vec<LabelSelectorRequirement>,
    pods: Vec<LabelSelectorRequirement>,
) -> MutatingWebhook {
    let selector = |requirements| LabelSelector {
        match_expressions: Some(requirements),
        ..LabelSelector::default()
    };
    let only = |text: &str| Some(vec![text.to_owned()]);
    MutatingWebhook {
        name: format!("{name}.sidecar-injector.istio.io"),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client_config("/inject"),
        failure_policy: Some("Fail".to_owned()),
        reinvocation_policy: Some("Never".to_owned()),
        // It makes sure that the namespace has the mesh's root certificate, except in a dry run.
        side_effects: "NoneOnDryRun".to_owned(),
        timeout_seconds: Some(10),
        namespace_selector: Some(selector(namespaces)),
        object_selector: Some(selector(pods)),
        rules: Some(vec![RuleWithOperations {
            api_groups: only(""),
            api_versions: only("v1"),
            operations: only("CREATE"),
            resources: only("pods"),
            ..RuleWithOperations::default()
        }]),
        ..MutatingWebhook::default()
    }
}

fn absent(key: &str) -> LabelSelectorRequirement {
    requirement(key, "DoesNotExist", None)
}

fn is_in(key: &str, value: &str) -> LabelSelectorRequirement {
    requirement(key, "In", Some(vec![value.to_owned()]))
}

fn not_in<const N: usize>(key: &str, values: [&str; N]) -> LabelSelectorRequirement {
    requirement(key, "NotIn", Some(values.map(str::to_owned).into()))
}

fn requirement(key: &str, operator: &str, values: Option<Vec<String>>) -> LabelSelectorRequirement {
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values,
    }
}
