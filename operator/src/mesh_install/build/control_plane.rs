//! The control plane's Deployment, Service, identity and disruption budget. Pure.

use std::collections::BTreeMap;

use fairlead_controller::applier::{self, Prepared};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Container, PodSpec, PodTemplateSpec, ResourceRequirements, Service, ServiceAccount, ServiceSpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::{Component, NAMESPACE, named, pod, rbac};
use crate::mesh_install::validate::Mesh;

/// The name under which proxies and tools look for a control plane.
pub(crate) const NAME: &str = "istiod";
/// The user of images that need no other.
const USER: i64 = 65_532;
const READY_PORT: i32 = 8080;
const METRICS_PORT: i32 = 15014;
const XDS_PORT: i32 = 15012;
const WEBHOOK_PORT: i32 = 15017;

pub(super) fn build(mesh: &Mesh) -> Result<Component<Prepared>, applier::Error> {
    let account = ServiceAccount {
        metadata: named(NAME),
        ..ServiceAccount::default()
    };
    Ok(Component {
        surroundings: vec![
            mesh.prepare(NAME, &account)?,
            mesh.prepare(NAME, &rbac::cluster_binding(NAME, rbac::CONTROL_PLANE))?,
            mesh.prepare(
                NAME,
                &rbac::binding(NAME, NAME, rbac::CONTROL_PLANE_ROOT_NAMESPACE),
            )?,
            mesh.prepare(NAME, &service())?,
            mesh.prepare(NAME, &disruption_budget(NAME, selector()))?,
        ],
        deployment: mesh.prepare(NAME, &deployment(mesh))?,
    })
}

fn selector() -> BTreeMap<String, String> {
    [
        ("app".to_owned(), NAME.to_owned()),
        ("istio".to_owned(), "pilot".to_owned()),
    ]
    .into()
}

fn service() -> Service {
    Service {
        metadata: ObjectMeta {
            labels: Some(selector()),
            ..named(NAME)
        },
        spec: Some(ServiceSpec {
            selector: Some(selector()),
            ports: Some(vec![
                pod::service_port("https-dns", XDS_PORT, XDS_PORT),
                pod::service_port("https-webhook", 443, WEBHOOK_PORT),
                pod::service_port("http-monitoring", METRICS_PORT, METRICS_PORT),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn deployment(mesh: &Mesh) -> Deployment {
    let mut labels = selector();
    // It is not part of the mesh that it configures.
    labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    labels.extend(mesh.labels(NAME));
    Deployment {
        metadata: ObjectMeta {
            labels: Some(selector()),
            ..named(NAME)
        },
        spec: Some(DeploymentSpec {
            progress_deadline_seconds: Some(pod::PROGRESS_SECONDS),
            replicas: Some(mesh.control_plane.replicas),
            selector: LabelSelector {
                match_labels: Some(selector()),
                ..LabelSelector::default()
            },
            strategy: Some(pod::rolling_update()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(pod::scrape(METRICS_PORT, "/metrics").into()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    service_account_name: Some(NAME.to_owned()),
                    security_context: Some(pod::pod_security(USER)),
                    containers: vec![container(mesh)],
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn container(mesh: &Mesh) -> Container {
    Container {
        name: "discovery".to_owned(),
        image: Some(mesh.images.control_plane.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(args(mesh)),
        env: Some(vec![pod::field("FAIRLEAD_POD_NAME", "metadata.name")]),
        ports: Some(vec![
            pod::port("http-ready", READY_PORT),
            pod::port("grpc-xds", XDS_PORT),
            pod::port("https-webhooks", WEBHOOK_PORT),
            pod::port("http-metrics", METRICS_PORT),
        ]),
        readiness_probe: Some(pod::http_probe("/ready", READY_PORT, 1, 3)),
        liveness_probe: Some(pod::http_probe("/healthz", METRICS_PORT, 10, 6)),
        resources: Some(mesh.control_plane.resources.clone()),
        security_context: Some(pod::container_security()),
        ..Container::default()
    }
}

/// The control plane's own flags; what is not said here has its default.
fn args(mesh: &Mesh) -> Vec<String> {
    let mut args = vec![
        format!("--namespace={NAMESPACE}"),
        format!("--service={NAME}"),
        format!("--trust-domain={}", mesh.trust_domain),
        format!("--cluster-domain={}", mesh.cluster_domain),
        format!("--cluster-id={}", mesh.cluster_id),
        format!("--proxy-image={}", mesh.images.proxy),
        format!("--injector-webhook={}", super::INJECTOR),
        format!("--validator-webhook={}", super::VALIDATOR),
    ];
    let native = mesh.injector.and_then(|injector| injector.native);
    args.extend(native.map(|native| {
        format!(
            "--native-sidecars={}",
            if native { "always" } else { "never" }
        )
    }));
    let ResourceRequirements {
        requests, limits, ..
    } = mesh.proxy_resources.clone();
    let (requests, limits) = (requests.unwrap_or_default(), limits.unwrap_or_default());
    let flags = [
        ("--proxy-cpu", requests.get("cpu")),
        ("--proxy-memory", requests.get("memory")),
        ("--proxy-cpu-limit", limits.get("cpu")),
        ("--proxy-memory-limit", limits.get("memory")),
    ];
    args.extend(
        flags.into_iter().filter_map(|(flag, quantity)| {
            quantity.map(|quantity| format!("{flag}={}", quantity.0))
        }),
    );
    args
}

/// At most a quarter of the pods, rounded up, may be taken away at once: a single pod never keeps a
/// node from being drained.
pub(super) fn disruption_budget(
    name: &str,
    selector: BTreeMap<String, String>,
) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: named(name),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::String("25%".to_owned())),
            selector: Some(LabelSelector {
                match_labels: Some(selector),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
