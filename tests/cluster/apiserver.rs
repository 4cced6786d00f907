//! The API server alone, as controllers' tests use it.

use fairlead_tests::ApiServer;
use fairlead_tests::cluster::command_lines;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

#[tokio::test]
#[ignore = "needs kube-apiserver"]
async fn it_stores_objects_and_ends_with_its_handle() {
    let server = ApiServer::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), "default");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("one".to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await.unwrap();
    assert!(maps.get_opt("one").await.unwrap().is_some());

    let folder = server.folder().display().to_string();
    assert!(processes_with(&folder) > 0);
    drop(server);
    assert_eq!(processes_with(&folder), 0, "a process of {folder} is left");
    assert!(!std::path::Path::new(&folder).exists());
}

/// How many processes have a text in their command line.
fn processes_with(text: &str) -> usize {
    let lines = command_lines().unwrap();
    lines.iter().filter(|line| line.contains(text)).count()
}
