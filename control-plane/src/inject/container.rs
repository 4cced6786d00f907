//! The two containers that injection adds, and their volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, DownwardAPIVolumeFile,
    DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction, HTTPGetAction,
    Lifecycle, LifecycleHandler, ObjectFieldSelector, Probe, ProjectedVolumeSource,
    ResourceRequirements, SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::annotation::{
    Annotations, InvalidAnnotation, PROXY_CPU, PROXY_CPU_LIMIT, PROXY_IMAGE, PROXY_MEMORY,
    PROXY_MEMORY_LIMIT,
};
use super::{INIT_CONTAINER, PROXY_CONTAINER, PROXY_UID, Settings};

const PROXY_BINARY: &str = "/usr/local/bin/fairlead-proxy";
const TOKEN_VOLUME: &str = "istio-token";
const ROOT_VOLUME: &str = "istiod-ca-cert";
const POD_VOLUME: &str = "istio-podinfo";
const STATE_VOLUME: &str = "istio-envoy";
/// Twelve hours: the kubelet renews at 80 %, long before a certificate of 24 h runs out.
const TOKEN_SECONDS: i64 = 43_200;

/// What the containers need to know beside the settings.
pub(crate) struct Workload<'a> {
    pub(crate) annotations: Annotations<'a>,
    pub(crate) name: &'a str,
    pub(crate) canonical: &'a (String, String),
    /// JSON for `ISTIO_KUBE_APP_PROBERS` and `ISTIO_PROMETHEUS_ANNOTATIONS`.
    pub(crate) extra_env: Vec<(&'static str, String)>,
    pub(crate) native: bool,
    pub(crate) log_level: Option<&'static str>,
}

/// The container that redirects the pod's traffic to the proxy, once, before anything else runs.
pub(crate) fn init(
    workload: &Workload<'_>,
    settings: &Settings,
) -> Result<Container, InvalidAnnotation> {
    let mut args = vec!["init".to_owned()];
    args.extend(workload.annotations.capture_args()?);
    Ok(Container {
        name: INIT_CONTAINER.to_owned(),
        image: Some(image(workload.annotations, settings)),
        args: Some(args),
        resources: Some(resources(workload.annotations, settings)?),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: Some(vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
                drop: Some(vec!["ALL".to_owned()]),
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(false),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            run_as_user: Some(0),
            ..SecurityContext::default()
        }),
        ..Container::default()
    })
}

/// The container that runs the proxy.
pub(crate) fn proxy(
    workload: &Workload<'_>,
    settings: &Settings,
) -> Result<Container, InvalidAnnotation> {
    Ok(Container {
        name: PROXY_CONTAINER.to_owned(),
        image: Some(image(workload.annotations, settings)),
        args: Some(vec!["sidecar".to_owned()]),
        env: Some(env(workload, settings)),
        ports: Some(vec![ContainerPort {
            container_port: 15090,
            name: Some("http-envoy-prom".to_owned()),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources(workload.annotations, settings)?),
        restart_policy: workload.native.then(|| "Always".to_owned()),
        lifecycle: workload.native.then(drain_first),
        startup_probe: Some(ready_probe(1, 600)),
        readiness_probe: Some(ready_probe(15, 4)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_group: Some(PROXY_UID),
            run_as_non_root: Some(true),
            run_as_user: Some(PROXY_UID),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount(ROOT_VOLUME, "/var/run/secrets/istio", true),
            mount(TOKEN_VOLUME, "/var/run/secrets/tokens", true),
            mount(STATE_VOLUME, "/etc/istio/proxy", false),
            mount(POD_VOLUME, "/etc/istio/pod", true),
        ]),
        ..Container::default()
    })
}

/// The volumes that the proxy's mounts name.
pub(crate) fn volumes() -> Vec<Volume> {
    let named = |name: &str| Volume {
        name: name.to_owned(),
        ..Volume::default()
    };
    let field = |path: &str| DownwardAPIVolumeFile {
        path: path.to_owned(),
        field_ref: Some(field_ref(&format!("metadata.{path}"))),
        ..DownwardAPIVolumeFile::default()
    };
    vec![
        Volume {
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                ..EmptyDirVolumeSource::default()
            }),
            ..named(STATE_VOLUME)
        },
        Volume {
            downward_api: Some(DownwardAPIVolumeSource {
                items: Some(vec![field("labels"), field("annotations")]),
                ..DownwardAPIVolumeSource::default()
            }),
            ..named(POD_VOLUME)
        },
        Volume {
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![VolumeProjection {
                    service_account_token: Some(ServiceAccountTokenProjection {
                        audience: Some(crate::ca::TOKEN_AUDIENCE.to_owned()),
                        expiration_seconds: Some(TOKEN_SECONDS),
                        path: "istio-token".to_owned(),
                    }),
                    ..VolumeProjection::default()
                }]),
                ..ProjectedVolumeSource::default()
            }),
            ..named(TOKEN_VOLUME)
        },
        Volume {
            config_map: Some(ConfigMapVolumeSource {
                name: crate::ca::ROOT_CONFIG_MAP.to_owned(),
                ..ConfigMapVolumeSource::default()
            }),
            ..named(ROOT_VOLUME)
        },
    ]
}

fn image(annotations: Annotations<'_>, settings: &Settings) -> String {
    annotations
        .text(PROXY_IMAGE)
        .unwrap_or(&settings.proxy_image)
        .to_owned()
}

/// What the annotations ask for, else the defaults. The two are not mixed: a request above a
/// default limit would be an invalid pod.
fn resources(
    annotations: Annotations<'_>,
    settings: &Settings,
) -> Result<ResourceRequirements, InvalidAnnotation> {
    let named = |cpu: Option<Quantity>, memory: Option<Quantity>| {
        let all = [("cpu", cpu), ("memory", memory)].into_iter();
        all.filter_map(|(name, quantity)| Some((name.to_owned(), quantity?)))
            .collect::<BTreeMap<_, _>>()
    };
    let asked = |name| annotations.quantity(name);
    let mut requests = named(asked(PROXY_CPU)?, asked(PROXY_MEMORY)?);
    let mut limits = named(asked(PROXY_CPU_LIMIT)?, asked(PROXY_MEMORY_LIMIT)?);
    if requests.is_empty() && limits.is_empty() {
        let default = |quantity: &String| Some(Quantity(quantity.clone()));
        let defaults = &settings.resources;
        requests = named(default(&defaults.cpu), default(&defaults.memory));
        limits = named(
            default(&defaults.cpu_limit),
            default(&defaults.memory_limit),
        );
    }
    Ok(ResourceRequirements {
        requests: (!requests.is_empty()).then_some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        ..ResourceRequirements::default()
    })
}

fn env(workload: &Workload<'_>, settings: &Settings) -> Vec<EnvVar> {
    let plain = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(field_ref(path)),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let (canonical, revision) = workload.canonical;
    let mut env = vec![
        plain("CA_ADDR", &settings.ca_address),
        plain("TRUST_DOMAIN", &settings.trust_domain),
        plain("FAIRLEAD_CLUSTER_DOMAIN", &settings.cluster_domain),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("INSTANCE_IP", "status.podIP"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("HOST_IP", "status.hostIP"),
        field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        plain("ISTIO_META_CLUSTER_ID", &settings.cluster_id),
        plain("ISTIO_META_WORKLOAD_NAME", workload.name),
        plain("CANONICAL_SERVICE", canonical),
        plain("CANONICAL_REVISION", revision),
    ];
    env.extend(
        workload
            .log_level
            .map(|level| plain("FAIRLEAD_LOG_LEVEL", level)),
    );
    env.extend(
        workload
            .extra_env
            .iter()
            .map(|(name, value)| plain(name, value)),
    );
    env
}

fn field_ref(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: path.to_owned(),
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn ready_probe(period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/healthz/ready".to_owned()),
            port: IntOrString::Int(15021),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

/// The kubelet runs the hooks of native sidecars when the pod begins to end, and stops them only
/// after the application: the proxy has to hear of the end before its own SIGTERM.
fn drain_first() -> Lifecycle {
    Lifecycle {
        pre_stop: Some(LifecycleHandler {
            exec: Some(ExecAction {
                command: Some(vec![PROXY_BINARY.to_owned(), "drain".to_owned()]),
            }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    }
}
