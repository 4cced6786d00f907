//! Manifests as users have them: `testdata/` here, and all of `examples/`.

use std::path::Path;

use fairlead_crds::canary::{
    AlertProvider, AlertSeverity, Canary, CanaryPhase, MetricTemplate, WebhookType,
};
use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::mesh_install::MeshInstall;
use fairlead_crds::networking::{
    DestinationRule, Gateway, ServiceEntry, SimpleBalancer, VirtualService,
};
use fairlead_crds::security::{MutualTlsMode, PeerAuthentication};
use fairlead_crds::source::GitRepository;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Reads the only object of a kind in a file of `testdata/`.
fn read<K: Resource<DynamicType = ()> + DeserializeOwned>(file: &str) -> K {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(file);
    documents(&path)
        .into_iter()
        .find(|object| object["kind"] == *K::kind(&()))
        .map(|object| serde_json::from_value(object).unwrap())
        .unwrap()
}

fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// Every field that the manifest has is still there after reading and writing it.
fn check_kept<K: DeserializeOwned + Serialize>(object: &Value) {
    fn visit(path: &str, before: &Value, after: &Value) {
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => {
                for (key, value) in before {
                    // Empty collections mean the same as none.
                    let is_empty = value.as_array().is_some_and(Vec::is_empty);
                    let path = format!("{path}.{key}");
                    match after.get(key) {
                        Some(after) => visit(&path, value, after),
                        None => assert!(is_empty, "{path} was lost"),
                    }
                }
            }
            (Value::Array(before), Value::Array(after)) => {
                assert_eq!(before.len(), after.len(), "{path}");
                for (index, (before, after)) in before.iter().zip(after).enumerate() {
                    visit(&format!("{path}[{index}]"), before, after);
                }
            }
            (Value::Number(before), Value::Number(after)) => {
                assert_eq!(before.as_f64(), after.as_f64(), "{path}");
            }
            _ => assert_eq!(before, after, "{path}"),
        }
    }
    let read: K = serde_json::from_value(object.clone()).unwrap();
    let mut after = serde_json::to_value(read).unwrap();
    // The stored version is written, whichever was read.
    after["apiVersion"] = object["apiVersion"].clone();
    visit(object["kind"].as_str().unwrap(), object, &after);
}

fn check_kept_by_kind(object: &Value) {
    match (
        object["apiVersion"].as_str().unwrap(),
        object["kind"].as_str().unwrap(),
    ) {
        (_, "VirtualService") => check_kept::<VirtualService>(object),
        (_, "DestinationRule") => check_kept::<DestinationRule>(object),
        (_, "Gateway") => check_kept::<Gateway>(object),
        (_, "ServiceEntry") => check_kept::<ServiceEntry>(object),
        (_, "PeerAuthentication") => check_kept::<PeerAuthentication>(object),
        (_, "Canary") => check_kept::<Canary>(object),
        (_, "MetricTemplate") => check_kept::<MetricTemplate>(object),
        (_, "AlertProvider") => check_kept::<AlertProvider>(object),
        (_, "GitRepository") => check_kept::<GitRepository>(object),
        ("kustomize.toolkit.fluxcd.io/v1", _) => check_kept::<Kustomization>(object),
        (_, "MeshInstall") => check_kept::<MeshInstall>(object),
        _ => {}
    }
}

#[test]
fn no_field_of_a_manifest_is_lost() {
    for file in ["bookinfo.yaml", "delivery.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata")
            .join(file);
        documents(&path).iter().for_each(check_kept_by_kind);
    }
}

#[test]
fn every_example_can_be_read() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                documents(&path)
                    .iter()
                    .filter(|object| object["kind"].is_string() && object["spec"].is_object())
                    .for_each(check_kept_by_kind);
            }
        }
    }
}

#[test]
fn a_virtual_service_is_read() {
    let routes = read::<VirtualService>("bookinfo.yaml").spec.http;
    let first = &routes[0];
    assert_eq!(first.r#match[2].without_headers["x-internal"].exact, None);
    assert_eq!(first.route[0].weight, Some(90));
    assert_eq!(first.mirror_percentage.map(|share| share.value), Some(50.0));
    assert_eq!(
        routes[2]
            .direct_response
            .as_ref()
            .map(|answer| answer.status),
        Some(503)
    );
}

#[test]
fn a_destination_rule_is_read() {
    let rule = read::<DestinationRule>("bookinfo.yaml");
    let subset = rule.spec.subsets[1]
        .traffic_policy
        .clone()
        .unwrap()
        .load_balancer
        .unwrap();
    assert_eq!(subset.simple, Some(SimpleBalancer::RoundRobin));
    assert_eq!(subset.warmup.unwrap().minimum_percent, Some(12.5));
}

#[test]
fn a_peer_authentication_is_read() {
    let policy = read::<PeerAuthentication>("bookinfo.yaml").spec;
    assert_eq!(policy.mtls.unwrap().mode, Some(MutualTlsMode::Strict));
    assert_eq!(
        policy.port_level_mtls["8080"].mode,
        Some(MutualTlsMode::Disable)
    );
}

#[test]
fn a_canary_is_read_with_fractions_and_empty_words() {
    let canary = read::<Canary>("release.yaml");
    let analysis = canary.spec.analysis;
    assert_eq!(
        analysis
            .max_weight
            .and_then(fairlead_crds::canary::Number::whole),
        None
    );
    assert_eq!(analysis.step_weights.len(), 4);
    assert_eq!(
        analysis.webhooks[0].r#type,
        Some(WebhookType::ConfirmRollout)
    );
    assert_eq!(analysis.webhooks[1].r#type, Some(WebhookType::Rollout));
    assert_eq!(analysis.webhooks[1].disable_tls, Some(true));
    assert_eq!(analysis.alerts[0].severity, Some(AlertSeverity::Error));
    assert_eq!(analysis.alerts[1].severity, None);
    let status = canary.status.unwrap();
    assert_eq!(status.phase, Some(CanaryPhase::Progressing));
    assert_eq!(status.conditions[0].reason, "Progressing");
}

#[test]
fn a_canary_without_a_phase_is_new() {
    let phase: CanaryPhase = serde_json::from_str(r#""""#).unwrap();
    assert_eq!(phase, CanaryPhase::New);
}

#[test]
fn unknown_fields_are_passed_over() {
    let text = r#"{"hosts": ["a"], "mesh": {"from": "the future"}}"#;
    let spec: fairlead_crds::networking::VirtualServiceSpec = serde_json::from_str(text).unwrap();
    assert_eq!(spec.hosts, ["a"]);
}
