//! Server-side apply and the removal of what is no longer wanted.

use std::collections::BTreeSet;

use fairlead_controller::Applier;
use fairlead_controller::applier::{ObjectKey, Prepared};
use fairlead_tests::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::json;

fn map(name: &str) -> Prepared {
    Prepared::new(&ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("default".to_owned()),
            labels: Some([("of".to_owned(), "test".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([("ours".to_owned(), "1".to_owned())].into()),
        ..ConfigMap::default()
    })
    .unwrap()
}

#[tokio::test]
#[ignore = "needs kube-apiserver"]
async fn takes_its_fields_back_and_leaves_those_of_others() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let applier = Applier::new(client, "test");
    applier.apply(&map("one")).await.unwrap();
    let patch = json!({ "data": { "ours": "2", "theirs": "3" } });
    maps.patch("one", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();

    let data = applier
        .apply(&map("one"))
        .await
        .unwrap()
        .parse::<ConfigMap>()
        .unwrap()
        .data;
    let expected = [("ours", "1"), ("theirs", "3")];
    assert_eq!(
        data,
        Some(expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    );
}

#[tokio::test]
#[ignore = "needs kube-apiserver"]
async fn prunes_what_carries_its_labels_and_is_not_kept() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let applier = Applier::new(client, "test");
    for name in ["kept", "orphan"] {
        applier.apply(&map(name)).await.unwrap();
    }
    let resource = ApiResource::erase::<ConfigMap>(&());
    let keep: BTreeSet<_> = [ObjectKey::from(&map("kept"))].into();
    let deleted = applier
        .prune(&resource, None, "of=test", &keep)
        .await
        .unwrap();
    assert_eq!(deleted, ["ConfigMap `default/orphan`"]);
    assert!(maps.get_opt("kept").await.unwrap().is_some());
    assert!(maps.get_opt("orphan").await.unwrap().is_none());
}
