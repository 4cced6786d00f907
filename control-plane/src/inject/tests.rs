//! Injection of whole pods: goldens, and the properties that hold for each of them.

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::*;

pub(super) fn settings() -> Settings {
    Settings {
        proxy_image: "localhost/fairlead/proxy:test".to_owned(),
        ca_address: "istiod.istio-system.svc:15012".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        cluster_id: "Kubernetes".to_owned(),
        policy: Policy::Enabled,
        native_sidecar: true,
        resources: ProxyResources {
            cpu: "10m".to_owned(),
            cpu_limit: "2".to_owned(),
            memory: "40Mi".to_owned(),
            memory_limit: "1Gi".to_owned(),
        },
    }
}

pub(super) fn patched(document: &Value, settings: &Settings) -> Option<Value> {
    let pod: Pod = serde_json::from_value(document.clone()).unwrap();
    match inject(&pod, "shop", settings).unwrap() {
        Outcome::Skip(_) => None,
        Outcome::Inject { patch, .. } => {
            let mut document = document.clone();
            json_patch::patch(&mut document, &patch).unwrap();
            Some(document)
        }
    }
}

fn outcome(yaml: &str) -> Result<Outcome, InvalidAnnotation> {
    let pod: Pod = serde_yaml_ng::from_str(yaml).unwrap();
    inject(&pod, "shop", &settings())
}

#[test]
fn pods_are_injected_as_the_goldens_say() {
    insta::with_settings!({ snapshot_path => "../../testdata/inject", prepend_module_to_snapshot => false }, {
        insta::glob!("../../testdata/inject", "*.in.yaml", |path| {
            let document: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            let out = patched(&document, &settings()).expect("the pod is injected");
            insta::assert_snapshot!("out", serde_yaml_ng::to_string(&out).unwrap());
        });
    });
}

#[test]
fn patching_twice_equals_patching_once() {
    insta::glob!("../../testdata/inject", "*.in.yaml", |path| {
        let document: Value =
            serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for native_sidecar in [true, false] {
            let settings = Settings {
                native_sidecar,
                ..settings()
            };
            let once = patched(&document, &settings).expect("the pod is injected");
            assert_eq!(patched(&once, &settings), None, "{}", path.display());
        }
    });
}

#[test]
fn injection_keeps_fields_that_it_does_not_know() {
    let document = serde_json::json!({
        "metadata": { "name": "web" },
        "spec": { "containers": [{ "name": "app", "novelty": { "level": 3 } }], "future": [1] },
    });
    let out = patched(&document, &settings()).unwrap();
    assert_eq!(out["spec"]["containers"][0]["novelty"]["level"], 3);
    assert_eq!(out["spec"]["future"][0], 1);
}

#[test]
fn pods_on_the_network_of_their_node_are_left_alone() {
    let yaml = "spec: { hostNetwork: true, containers: [{ name: app }] }";
    assert_eq!(outcome(yaml), Ok(Outcome::Skip(Skip::HostNetwork)));
}

#[test]
fn the_label_wins_over_the_annotation() {
    let yaml = "
metadata:
  labels: { sidecar.istio.io/inject: 'false' }
  annotations: { sidecar.istio.io/inject: 'true' }
spec: { containers: [{ name: app }] }";
    assert_eq!(outcome(yaml), Ok(Outcome::Skip(Skip::Declined)));
}

#[test]
fn the_policy_decides_about_pods_that_say_nothing() {
    let pod: Pod = serde_yaml_ng::from_str("spec: { containers: [{ name: app }] }").unwrap();
    let disabled = Settings {
        policy: Policy::Disabled,
        ..settings()
    };
    assert_eq!(
        inject(&pod, "shop", &disabled),
        Ok(Outcome::Skip(Skip::Policy))
    );
    assert_eq!(
        inject(&pod, "kube-system", &settings()),
        Ok(Outcome::Skip(Skip::IgnoredNamespace))
    );
}

#[test]
fn a_value_that_cannot_be_understood_refuses_the_pod() {
    let yaml = "
metadata: { annotations: { sidecar.istio.io/proxyCPU: lots } }
spec: { containers: [{ name: app }] }";
    assert!(
        outcome(yaml)
            .unwrap_err()
            .to_string()
            .contains("sidecar.istio.io/proxyCPU")
    );
}

#[test]
fn the_user_is_warned_of_what_would_bypass_or_break_the_proxy() {
    let yaml = "
metadata: { annotations: { proxy.istio.io/config: '{}' } }
spec:
  securityContext: { runAsUser: 1337 }
  containers: [{ name: app, ports: [{ containerPort: 15001 }] }]";
    let Ok(Outcome::Inject { warnings, .. }) = outcome(yaml) else {
        panic!("not injected")
    };
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn a_request_of_the_pod_does_not_meet_a_limit_that_it_never_asked_for() {
    let document = serde_json::json!({
        "metadata": { "annotations": { "sidecar.istio.io/proxyCPU": "3" } },
        "spec": { "containers": [{ "name": "app" }] },
    });
    let out = patched(&document, &settings()).unwrap();
    for container in out["spec"]["initContainers"].as_array().unwrap() {
        assert_eq!(
            container["resources"],
            serde_json::json!({ "requests": { "cpu": "3" } })
        );
    }
}
