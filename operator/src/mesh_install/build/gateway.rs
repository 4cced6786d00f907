//! A gateway: the proxy in a Deployment of its own, with a Service. Pure.
//!
//! It gets what the injector gives a sidecar, under the same names.

use std::collections::BTreeMap;

use fairlead_controller::applier::{self, Prepared};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EnvVar, ObjectFieldSelector,
    PodSpec, PodTemplateSpec, ProjectedVolumeSource, Service, ServiceAccount,
    ServiceAccountTokenProjection, ServicePort, ServiceSpec, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;

use super::control_plane::disruption_budget;
use super::pod::Access;
use super::{CONTROL_PLANE, Component, NAMESPACE, named, pod};
use crate::mesh_install::validate::{Gateway, Mesh};

/// The proxy's user, whose traffic is never captured.
const USER: i64 = 1337;
const STATUS_PORT: i32 = 15021;
const METRICS_PORT: i32 = 15020;
/// Twelve hours: the kubelet renews at 80 %, long before a certificate of 24 h runs out.
const TOKEN_SECONDS: i64 = 43_200;
/// Longer than the proxy drains.
const GRACE_SECONDS: i64 = 60;

/// What a gateway is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// Traffic into the mesh.
    Ingress,
    /// Traffic out of it.
    Egress,
}

impl Role {
    /// Name of its Deployment and Service.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingress => "istio-ingressgateway",
            Self::Egress => "istio-egressgateway",
        }
    }

    /// The value of the label `istio`, by which Gateway objects select it.
    fn selector_value(self) -> &'static str {
        match self {
            Self::Ingress => "ingressgateway",
            Self::Egress => "egressgateway",
        }
    }

    fn account(self) -> String {
        format!("{}-service-account", self.name())
    }

    fn labels(self) -> BTreeMap<String, String> {
        [
            ("app".to_owned(), self.name().to_owned()),
            ("istio".to_owned(), self.selector_value().to_owned()),
        ]
        .into()
    }
}

pub(super) fn build(
    mesh: &Mesh,
    role: Role,
    spec: &Gateway,
) -> Result<Component<Prepared>, applier::Error> {
    let name = role.name();
    let account = ServiceAccount {
        metadata: named(&role.account()),
        ..ServiceAccount::default()
    };
    Ok(Component {
        surroundings: vec![
            mesh.prepare(name, &account)?,
            mesh.prepare(name, &service(role, spec))?,
            mesh.prepare(name, &disruption_budget(name, role.labels()))?,
        ],
        deployment: mesh.prepare(name, &deployment(mesh, role, spec))?,
    })
}

fn service(role: Role, spec: &Gateway) -> Service {
    let mut ports = vec![pod::service_port("status-port", STATUS_PORT, STATUS_PORT)];
    ports.extend(spec.ports.iter().map(|port| ServicePort {
        node_port: port.node_port,
        ..pod::service_port(&port.name, port.port, port.target_port.unwrap_or(port.port))
    }));
    let annotations = Some(spec.annotations.clone()).filter(|given| !given.is_empty());
    Service {
        metadata: ObjectMeta {
            labels: Some(role.labels()),
            annotations,
            ..named(role.name())
        },
        spec: Some(ServiceSpec {
            type_: Some(spec.service_type.as_str().to_owned()),
            selector: Some(role.labels()),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn deployment(mesh: &Mesh, role: Role, spec: &Gateway) -> Deployment {
    let mut labels = role.labels();
    let add = [
        ("service.istio.io/canonical-name", role.name()),
        ("service.istio.io/canonical-revision", "latest"),
        ("sidecar.istio.io/inject", "false"),
    ];
    labels.extend(add.map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels.extend(mesh.labels(role.name()));
    Deployment {
        metadata: ObjectMeta {
            labels: Some(role.labels()),
            ..named(role.name())
        },
        spec: Some(DeploymentSpec {
            progress_deadline_seconds: Some(pod::PROGRESS_SECONDS),
            replicas: Some(spec.workload.replicas),
            selector: LabelSelector {
                match_labels: Some(role.labels()),
                ..LabelSelector::default()
            },
            strategy: Some(pod::rolling_update()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(pod::scrape(METRICS_PORT, "/stats/prometheus").into()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    service_account_name: Some(role.account()),
                    // The proxy knows no Kubernetes; its own token has another audience.
                    automount_service_account_token: Some(false),
                    security_context: Some(pod::pod_security(USER)),
                    termination_grace_period_seconds: Some(GRACE_SECONDS),
                    containers: vec![container(mesh, role, spec)],
                    volumes: Some(volumes()),
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn container(mesh: &Mesh, role: Role, spec: &Gateway) -> Container {
    Container {
        name: "istio-proxy".to_owned(),
        image: Some(mesh.images.proxy.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["gateway".to_owned()]),
        env: Some(env(mesh, role)),
        ports: Some(vec![
            pod::port("status-port", STATUS_PORT),
            pod::port("http-envoy-prom", 15090),
        ]),
        startup_probe: Some(pod::http_probe("/healthz/ready", STATUS_PORT, 1, 600)),
        readiness_probe: Some(pod::http_probe("/healthz/ready", STATUS_PORT, 2, 4)),
        resources: Some(spec.workload.resources.clone()),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![
            pod::mount("istiod-ca-cert", "/var/run/secrets/istio", Access::ReadOnly),
            pod::mount("istio-token", "/var/run/secrets/tokens", Access::ReadOnly),
            pod::mount("istio-envoy", "/etc/istio/proxy", Access::ReadWrite),
            pod::mount("istio-podinfo", "/etc/istio/pod", Access::ReadOnly),
        ]),
        ..Container::default()
    }
}

fn env(mesh: &Mesh, role: Role) -> Vec<EnvVar> {
    vec![
        pod::plain("CA_ADDR", format!("{CONTROL_PLANE}.{NAMESPACE}.svc:15012")),
        pod::plain("TRUST_DOMAIN", mesh.trust_domain.as_str()),
        pod::plain("FAIRLEAD_CLUSTER_DOMAIN", mesh.cluster_domain.as_str()),
        pod::field("POD_NAME", "metadata.name"),
        pod::field("POD_NAMESPACE", "metadata.namespace"),
        pod::field("INSTANCE_IP", "status.podIP"),
        pod::field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        pod::field("HOST_IP", "status.hostIP"),
        pod::field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        pod::plain("ISTIO_META_CLUSTER_ID", mesh.cluster_id.as_str()),
        pod::plain("ISTIO_META_WORKLOAD_NAME", role.name()),
        pod::plain("CANONICAL_SERVICE", role.name()),
        pod::plain("CANONICAL_REVISION", "latest"),
    ]
}

fn volumes() -> Vec<Volume> {
    let file = |path: &str| DownwardAPIVolumeFile {
        path: path.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: format!("metadata.{path}"),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let token = ServiceAccountTokenProjection {
        audience: Some("istio-ca".to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "istio-token".to_owned(),
    };
    vec![
        pod::memory("istio-envoy"),
        pod::config_map("istiod-ca-cert", super::ROOT_CONFIG_MAP),
        Volume {
            name: "istio-podinfo".to_owned(),
            downward_api: Some(DownwardAPIVolumeSource {
                items: Some(vec![file("labels"), file("annotations")]),
                ..DownwardAPIVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "istio-token".to_owned(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![VolumeProjection {
                    service_account_token: Some(token),
                    ..VolumeProjection::default()
                }]),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}
