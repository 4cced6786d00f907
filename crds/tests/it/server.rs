//! A real API server and our CRDs: it takes them, and takes and refuses objects as it should.

use std::path::Path;
use std::time::Duration;

use fairlead_crds::definition::{all_crds, to_yaml};
use fairlead_tests::{ApiServer, manifest, wait};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::{Client, ResourceExt as _};

const DEADLINE: Duration = Duration::from_secs(30);

/// A server that has all CRDs, and the namespaces of the samples.
async fn start() -> (ApiServer, Client) {
    // A second test of the process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in all_crds().unwrap() {
        manifest::apply(&client, &to_yaml(&crd).unwrap())
            .await
            .unwrap();
        wait::until(&api, &crd.name_any(), "served", DEADLINE, |crd| {
            crd.status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten())
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
        })
        .await
        .unwrap();
    }
    for name in ["test", "flagger", "istio-system", "flux-system"] {
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
        manifest::apply(&client, &namespace).await.unwrap();
    }
    (server, client)
}

fn testdata(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(file);
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn takes_and_refuses_objects_as_it_should() {
    let (_server, client) = start().await;
    for file in [
        "bookinfo.yaml",
        "release.yaml",
        "delivery.yaml",
        "accepted.yaml",
    ] {
        manifest::apply(&client, &testdata(file)).await.unwrap();
    }
    for object in manifest::parse(&testdata("refused.yaml")).unwrap() {
        let because = object.annotations()["because"].clone();
        let text = serde_yaml_ng::to_string(&object).unwrap();
        let answer = manifest::apply(&client, &text).await;
        let said = answer
            .err()
            .map(|error| format!("{error:#}"))
            .unwrap_or_default();
        assert!(
            said.contains(&because),
            "expected `{because}`, got `{said}` for\n{text}"
        );
    }
}
