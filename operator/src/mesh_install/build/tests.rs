//! What holds for every object of a mesh, and for some in particular.

use std::collections::BTreeSet;

use fairlead_crds::mesh_install::{GatewaySpec, MeshInstallSpec};
use serde_json::Value;

use super::*;
use crate::mesh_install::dereference::Dereferenced;
use crate::mesh_install::tests::{install, settings, with_profile};
use crate::mesh_install::validate::validate;

/// All objects of the fullest mesh.
fn everything() -> Vec<Value> {
    let egress = GatewaySpec {
        enabled: Some(true),
        ..GatewaySpec::default()
    };
    let spec = MeshInstallSpec {
        egress_gateway: Some(egress),
        ..with_profile("demo")
    };
    objects(spec, ControlPlane::HasAnswered)
}

fn objects(spec: MeshInstallSpec, control_plane: ControlPlane) -> Vec<Value> {
    let seen = Dereferenced {
        older: None,
        control_plane,
        root: Root::Published,
        pods: Vec::new(),
    };
    let mesh = validate(&install(spec), &seen, &settings()).unwrap();
    let Resources {
        namespace,
        control_plane,
        gateways,
        webhooks,
    } = build(&mesh).unwrap();
    let components = std::iter::once(control_plane)
        .chain(gateways.into_iter().filter_map(|(_, gateway)| gateway));
    let mut objects = vec![namespace];
    for Component {
        surroundings,
        deployment,
    } in components
    {
        objects.extend(surroundings);
        objects.push(deployment);
    }
    objects.extend(webhooks);
    objects
        .iter()
        .map(|object| serde_json::to_value(object.object()).unwrap())
        .collect()
}

fn pods(objects: &[Value]) -> Vec<&Value> {
    objects
        .iter()
        .filter_map(|object| object.pointer("/spec/template/spec"))
        .collect()
}

#[test]
fn everything_but_the_namespace_belongs_to_the_mesh_install() {
    for object in everything() {
        let owner = object.pointer("/metadata/ownerReferences/0/uid");
        if object["kind"] == "Namespace" {
            assert_eq!(owner, None, "deleting it would delete what is not ours");
        } else {
            assert_eq!(owner, Some(&Value::from("uid-of-mesh")), "{object}");
            assert_eq!(
                object["metadata"]["labels"]["fairlead.dev/mesh-install"],
                "mesh"
            );
        }
    }
}

#[test]
fn no_object_is_built_twice() {
    let all = everything();
    let names: BTreeSet<_> = all
        .iter()
        .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
        .collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn every_pod_fulfils_the_restricted_standard() {
    let all = everything();
    assert_eq!(pods(&all).len(), 3);
    for pod in pods(&all) {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"]["drop"][0], "ALL");
        assert_eq!(container["readOnlyRootFilesystem"], true);
    }
}

#[test]
fn services_select_the_pods_of_their_component() {
    let all = everything();
    let of = |kind: &str, name: &str| {
        let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        all.iter().find(is).unwrap()
    };
    for name in ["istiod", "istio-ingressgateway", "istio-egressgateway"] {
        let selector = of("Service", name)["spec"]["selector"].as_object().unwrap();
        let labels = &of("Deployment", name)["spec"]["template"]["metadata"]["labels"];
        assert!(
            selector.iter().all(|(key, value)| &labels[key] == value),
            "{name}"
        );
    }
}

#[test]
fn the_injector_is_registered_only_when_a_control_plane_answers() {
    let has_webhook = |control_plane| {
        objects(with_profile("minimal"), control_plane)
            .iter()
            .any(|object| object["kind"] == "MutatingWebhookConfiguration")
    };
    assert!(!has_webhook(ControlPlane::NeverAnswered));
    assert!(has_webhook(ControlPlane::HasAnswered));
}

#[test]
fn no_webhook_can_stop_the_cluster_or_the_mesh_itself() {
    let all = everything();
    let is_webhook = |object: &&Value| object["kind"] == "MutatingWebhookConfiguration";
    let webhooks = all.iter().find(is_webhook).unwrap()["webhooks"]
        .as_array()
        .unwrap();
    assert_eq!(webhooks.len(), 4);
    for webhook in webhooks {
        let requirements = webhook["namespaceSelector"]["matchExpressions"]
            .as_array()
            .unwrap();
        let exempt = requirements
            .iter()
            .find(|requirement| requirement["key"] == "kubernetes.io/metadata.name")
            .unwrap();
        assert_eq!(exempt["operator"], "NotIn");
        for namespace in ["kube-system", "istio-system", "fairlead-system"] {
            assert!(
                exempt["values"]
                    .as_array()
                    .unwrap()
                    .contains(&namespace.into())
            );
        }
        assert_eq!(
            webhook["clientConfig"].get("caBundle"),
            None,
            "it is the control plane's"
        );
    }
}

#[test]
fn validation_never_keeps_an_object_out_while_it_does_not_answer() {
    let all = everything();
    let is_validator = |object: &&Value| object["kind"] == "ValidatingWebhookConfiguration";
    let validator = &all.iter().find(is_validator).unwrap()["webhooks"][0];
    assert_eq!(validator["failurePolicy"], "Ignore");
    assert_eq!(
        validator["clientConfig"].get("caBundle"),
        None,
        "it is the control plane's"
    );
}
