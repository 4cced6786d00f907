//! `migrate flagger` against a real API server that has a Flagger.

use fairlead_tests::ApiServer;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::cluster::{install, run};

/// Flagger as a Deployment that is told `arguments`.
async fn deploy(client: &Client, arguments: &[&str]) {
    let labels = json!({ "app.kubernetes.io/name": "flagger" });
    let flagger = json!({
        "metadata": { "name": "flagger", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{
                    "name": "flagger", "image": "flagger:1.44.0",
                    "command": ["./flagger"], "args": arguments,
                }] },
            },
        },
    });
    let flagger: Deployment = serde_json::from_value(flagger).expect("a Deployment");
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let _absent = api
        .delete("flagger", &kube::api::DeleteParams::default())
        .await;
    api.create(&PostParams::default(), &flagger)
        .await
        .expect("it is created");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn flagger_is_understood_and_its_secrets_are_not_shown() {
    let server = ApiServer::start().await.expect("an API server");
    let client = server.client().await.expect("a client");
    let kubeconfig = server.kubeconfig();
    let (exit, text) = run(kubeconfig, "migrate flagger").await;
    assert_eq!(exit, Some(4), "{text}");
    let canaries = install(&client).await;

    let unclear = [
        "-slack-url=https://hooks/hush",
        "-mesh-provider=nginx",
        "-brand-new=hush",
    ];
    deploy(&client, &unclear).await;
    let (exit, text) = run(kubeconfig, "migrate flagger").await;
    assert_eq!(exit, Some(1), "{text}");
    for told in [
        "key SLACK_URL of the Secret",
        "provider `nginx` is not there",
        "`spec.provider`: `nginx` is not supported",
        "meshProvider: nginx",
        "nothing is known of it",
        "something needs attention",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains("hush"), "{text}");

    let lease = json!({
        "metadata": { "name": "flagger-leader-election", "namespace": "kube-system" },
        "spec": { "holderIdentity": "flagger-0" },
    });
    let lease: Lease = serde_json::from_value(lease).expect("a Lease");
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let params = PostParams::default();
    leases.create(&params, &lease).await.expect("it is created");
    let clear = [
        "-slack-url=https://hooks/hush",
        "-mesh-provider=istio",
        "-namespace",
        "shop",
    ];
    deploy(&client, &clear).await;
    let gone = kube::api::DeleteParams::default();
    canaries
        .delete("podinfo", &gone)
        .await
        .expect("it is deleted");
    let (exit, text) = run(kubeconfig, "migrate flagger -o json").await;
    assert_eq!(exit, Some(0), "{text}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let values = &report["flaggers"][0]["values"];
    assert_eq!(values["operator"]["watchNamespace"], "shop", "{text}");
    assert_eq!(
        values["metricsServer"], "http://prometheus.default:9090",
        "{text}"
    );
    // A lease without a term is held by nobody.
    assert_eq!(report["leader"], Value::Null, "{text}");
    assert!(!text.contains("hush"), "{text}");
}
