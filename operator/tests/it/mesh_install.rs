//! MeshInstall, from an empty cluster to a mesh and back.

use fairlead_crds::condition::{ConditionType, find_condition, is_true};
use fairlead_crds::mesh_install::MeshInstall;
use fairlead_tests::{manifest, wait};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::stage::{DEADLINE, Stage};

const ROOT: &str = "istio-system";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn installs_a_mesh_puts_back_what_others_change_and_prunes() {
    let stage = Stage::set().await;
    let operator = stage.operator().await;
    let client = &stage.client;
    install(client, "mesh", json!({ "profile": "demo" })).await;

    // The injector is registered only when a control plane answers.
    available(client, "istiod").await;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    wait::until(
        &webhooks,
        "istio-sidecar-injector",
        "registered",
        DEADLINE,
        |_| true,
    )
    .await
    .unwrap();
    set_ca_bundle(client).await;
    publish_root(client).await;
    available(client, "istio-ingressgateway").await;
    ready(client, true).await;

    // Drift.
    let services: Api<Service> = Api::namespaced(client.clone(), ROOT);
    let before = services.get("istiod").await.unwrap().metadata.uid;
    services
        .delete("istiod", &DeleteParams::default())
        .await
        .unwrap();
    wait::until(&services, "istiod", "back", DEADLINE, |service| {
        service.metadata.uid != before
    })
    .await
    .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), ROOT);
    merge(
        &deployments,
        "istio-ingressgateway",
        json!({ "spec": { "replicas": 3 } }),
    )
    .await;
    wait::until(
        &deployments,
        "istio-ingressgateway",
        "scaled back",
        DEADLINE,
        |deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(1),
    )
    .await
    .unwrap();

    // What is no longer asked for goes, and the bundle that is not the operator's stays.
    install(client, "mesh", json!({ "profile": "minimal" })).await;
    wait::until_gone(&deployments, "istio-ingressgateway", DEADLINE)
        .await
        .unwrap();
    wait::until_gone(&services, "istio-ingressgateway", DEADLINE)
        .await
        .unwrap();
    ready(client, true).await;
    let injector = webhooks.get("istio-sidecar-injector").await.unwrap();
    let has_bundle = |injector: MutatingWebhookConfiguration| {
        injector
            .webhooks
            .unwrap()
            .iter()
            .all(|hook| hook.client_config.ca_bundle.is_some())
    };
    assert!(has_bundle(injector));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn says_what_is_wrong_with_a_mesh_install_and_recovers() {
    let stage = Stage::set().await;
    let operator = stage.operator().await;
    let client = &stage.client;
    install(client, "mesh", json!({ "profile": "enormous" })).await;
    let message = stalled(client, "mesh").await;
    assert!(message.contains("`enormous`"), "{message}");
    assert!(
        message.contains("`default`, `minimal`, `demo`"),
        "{message}"
    );

    install(client, "mesh", json!({ "profile": "minimal" })).await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), ROOT);
    wait::until(&deployments, "istiod", "deployed", DEADLINE, |_| true)
        .await
        .unwrap();

    // A second one is refused and harms nothing; it takes over when the first goes.
    install(client, "other", json!({ "profile": "minimal" })).await;
    let message = stalled(client, "other").await;
    assert!(message.contains("MeshInstall `mesh` is older"), "{message}");
    let installs: Api<MeshInstall> = Api::all(client.clone());
    installs
        .delete("mesh", &DeleteParams::default())
        .await
        .unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    wait::until(
        &bindings,
        "fairlead-control-plane",
        "owned by `other`",
        DEADLINE,
        |binding| {
            let labels = binding.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get("fairlead.dev/mesh-install"))
                == Some(&"other".to_owned())
        },
    )
    .await
    .unwrap();
    operator.stop().await;
}

async fn install(client: &Client, name: &str, spec: serde_json::Value) {
    let install = json!({
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "MeshInstall",
        "metadata": { "name": name },
        "spec": spec,
    });
    manifest::apply(client, &install.to_string()).await.unwrap();
}

async fn ready(client: &Client, is: bool) {
    let installs: Api<MeshInstall> = Api::all(client.clone());
    wait::until(&installs, "mesh", "Ready", DEADLINE, |install| {
        let status = install.status.clone().unwrap_or_default();
        status.observed_generation == install.metadata.generation
            && is_true(&status.conditions, ConditionType::Ready) == is
    })
    .await
    .unwrap();
}

/// The message of the condition `Stalled`, once it is there.
async fn stalled(client: &Client, name: &str) -> String {
    let installs: Api<MeshInstall> = Api::all(client.clone());
    let conditions = |install: &MeshInstall| install.status.clone().unwrap_or_default().conditions;
    let install = wait::until(&installs, name, "Stalled", DEADLINE, |install| {
        is_true(&conditions(install), ConditionType::Stalled)
    })
    .await
    .unwrap();
    find_condition(&conditions(&install), ConditionType::Stalled)
        .unwrap()
        .message
        .clone()
}

/// Says what the controller manager says of a Deployment whose pods are available.
async fn available(client: &Client, name: &str) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), ROOT);
    let deployment = wait::until(&deployments, name, "deployed", DEADLINE, |_| true)
        .await
        .unwrap();
    let status = json!({ "status": {
        "observedGeneration": deployment.metadata.generation.unwrap() + 10,
        "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
    } });
    deployments
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

/// Does what the control plane does in each namespace: gateways wait for it.
async fn publish_root(client: &Client) {
    let root = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "istio-ca-root-cert", "namespace": ROOT },
        "data": { "root-cert.pem": "of no matter here" },
    });
    manifest::apply(client, &root.to_string()).await.unwrap();
}

/// Does what the control plane does with its webhooks, under a field manager of its own.
async fn set_ca_bundle(client: &Client) {
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let injector = webhooks.get("istio-sidecar-injector").await.unwrap();
    let certificate = rcgen::generate_simple_self_signed(["istiod".to_owned()]).unwrap();
    let bundle = k8s_openapi::ByteString(certificate.cert.pem().into_bytes());
    let hooks: Vec<_> = injector
        .webhooks
        .unwrap()
        .into_iter()
        .map(|hook| {
            json!({
                "name": hook.name,
                "admissionReviewVersions": hook.admission_review_versions,
                "sideEffects": hook.side_effects,
                "clientConfig": { "caBundle": bundle, "service": hook.client_config.service },
            })
        })
        .collect();
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "istio-sidecar-injector" },
        "webhooks": hooks,
    });
    let params = PatchParams::apply("the-control-plane").force();
    webhooks
        .patch("istio-sidecar-injector", &params, &Patch::Apply(patch))
        .await
        .unwrap();
}

async fn merge<K>(api: &Api<K>, name: &str, patch: serde_json::Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}
