//! Properties of injection that hold for pods of any shape, however odd.

use k8s_openapi::api::core::v1::Pod;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{patched, settings};
use super::{PROXY_CONTAINER, Settings};

fn probe() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        Just(json!(8080)),
        Just(json!("http")),
        Just(json!("nowhere"))
    ];
    prop_oneof![
        port.clone()
            .prop_map(|port| json!({ "httpGet": { "port": port, "path": "/" } })),
        port.prop_map(|port| json!({ "tcpSocket": { "port": port } })),
        Just(json!({ "grpc": { "port": 9000 } })),
        Just(json!({ "exec": { "command": ["true"] } })),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let name = prop_oneof![4 => Just("app"), 2 => Just("helper"), 1 => Just(PROXY_CONTAINER)];
    let fields = (
        name,
        option::of(probe()),
        option::of(probe()),
        option::of(probe()),
    );
    (fields, any::<bool>()).prop_map(|((name, liveness, readiness, startup), has_port)| {
        let mut container = json!({ "name": name, "image": format!("example.test/{name}:1") });
        for (field, probe) in [
            ("livenessProbe", liveness),
            ("readinessProbe", readiness),
            ("startupProbe", startup),
        ] {
            if let Some(probe) = probe {
                container[field] = probe;
            }
        }
        if has_port {
            container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
        }
        container
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let annotation = prop_oneof![
        Just(("prometheus.io/scrape", "true")),
        Just(("prometheus.io/scrape", "false")),
        Just(("prometheus.io/port", "9090")),
        Just(("sidecar.istio.io/rewriteAppHTTPProbers", "false")),
        Just(("sidecar.istio.io/nativeSidecar", "false")),
        Just(("traffic.sidecar.istio.io/excludeInboundPorts", "9090,9091")),
    ];
    (
        vec(container(), 1..4),
        option::of(vec(container(), 0..3)),
        option::of(vec(annotation, 0..4)),
        option::of(Just(json!({ "app": "web" }))),
        option::of(Just(json!([{ "name": "scratch", "emptyDir": {} }]))),
    )
        .prop_map(|(containers, init, annotations, labels, volumes)| {
            let mut pod = json!({ "metadata": {}, "spec": { "containers": containers } });
            if let Some(init) = init {
                pod["spec"]["initContainers"] = json!(init);
            }
            if let Some(annotations) = annotations {
                pod["metadata"]["annotations"] = annotations.into_iter().collect();
            }
            if let Some(labels) = labels {
                pod["metadata"]["labels"] = labels;
            }
            if let Some(volumes) = volumes {
                pod["spec"]["volumes"] = volumes;
            }
            pod
        })
}

fn images(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers
        .filter(|container| container["name"] != PROXY_CONTAINER)
        .filter_map(|container| container["image"].as_str())
        .collect()
}

proptest! {
    #[test]
    fn the_patch_applies_to_any_pod_and_only_once(document in pod(), native_sidecar: bool) {
        let settings = Settings { native_sidecar, ..settings() };
        let once = patched(&document, &settings).expect("the pod is injected");
        // The API server must be able to read the result.
        serde_json::from_value::<Pod>(once.clone()).unwrap();
        prop_assert_eq!(patched(&once, &settings), None);
    }

    #[test]
    fn the_application_keeps_its_containers_and_volumes(document in pod()) {
        let out = patched(&document, &settings()).expect("the pod is injected");
        prop_assert_eq!(images(&out), images(&document));
        let before = document["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let after = out["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        prop_assert!(after.starts_with(&before));
    }
}
