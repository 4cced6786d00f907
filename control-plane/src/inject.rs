//! Sidecar injection: whether a pod gets a proxy, and the patch that gives it one.
//!
//! [`inject`] is a pure function from a pod to an outcome; only [`webhook`] does IO.
//! An injected pod carries [`annotation::STATUS`] and is never touched again, so applying the
//! patch twice equals applying it once.

pub mod annotation;
pub mod webhook;

mod container;
mod owner;
mod patch;
mod probe;
mod prometheus;

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;

use annotation::{Annotations, InvalidAnnotation};

/// Name of the container that runs the proxy.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Name of the container that sets up the capture of the pod's traffic.
pub const INIT_CONTAINER: &str = "istio-init";

/// What does not depend on the pod.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Image of the proxy, which is also the image of the init container.
    pub proxy_image: String,
    /// Host and port of the certificate authority and the xDS server.
    pub ca_address: String,
    /// Trust domain of the mesh.
    pub trust_domain: String,
    /// DNS domain of the cluster's Services.
    pub cluster_domain: String,
    /// Name of this cluster in node metadata and telemetry.
    pub cluster_id: String,
    /// What happens to pods that say nothing about injection.
    pub policy: Policy,
    /// Whether the proxy is an init container that keeps running, unless the pod says otherwise.
    pub native_sidecar: bool,
    /// Compute resources of the proxy.
    pub resources: ProxyResources,
}

/// Compute resources of an injected proxy, as Kubernetes quantities.
#[derive(Debug, Clone)]
pub struct ProxyResources {
    /// CPU request.
    pub cpu: String,
    /// CPU limit.
    pub cpu_limit: String,
    /// Memory request.
    pub memory: String,
    /// Memory limit.
    pub memory_limit: String,
}

/// What happens to pods that the webhook sees and that say nothing about injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// They are injected.
    Enabled,
    /// They are left alone.
    Disabled,
}

/// Why a pod is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It shares the node's network: capturing its traffic would capture the node's.
    HostNetwork,
    /// Its namespace belongs to the cluster or to the mesh.
    IgnoredNamespace,
    /// Its label or annotation declines.
    Declined,
    /// It says nothing, and the policy is to leave such pods alone.
    Policy,
    /// It has been injected before.
    AlreadyInjected,
}

/// The result of looking at one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pod stays as it is.
    Skip(Skip),
    /// The pod gets a proxy.
    Inject {
        /// The change, as RFC 6902.
        patch: Patch,
        /// What the user should know, as admission warnings.
        warnings: Vec<String>,
    },
}

/// Namespaces whose pods never get a proxy.
const IGNORED_NAMESPACES: [&str; 6] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
    "istio-system",
    "fairlead-system",
];

/// Decides about `pod`, created in `namespace`, and builds the patch.
///
/// # Errors
/// An annotation that steers injection has a value that cannot be understood.
pub fn inject(
    pod: &Pod,
    namespace: &str,
    settings: &Settings,
) -> Result<Outcome, InvalidAnnotation> {
    if let Some(skip) = decide(pod, namespace, settings.policy)? {
        return Ok(Outcome::Skip(skip));
    }
    let patch = patch::build(pod, namespace, settings)?;
    Ok(Outcome::Inject {
        patch,
        warnings: warnings(pod),
    })
}

fn decide(pod: &Pod, namespace: &str, policy: Policy) -> Result<Option<Skip>, InvalidAnnotation> {
    let annotations = Annotations::of(pod);
    if pod
        .spec
        .as_ref()
        .is_none_or(|spec| spec.host_network == Some(true))
    {
        return Ok(Some(Skip::HostNetwork));
    }
    if IGNORED_NAMESPACES.contains(&namespace) {
        return Ok(Some(Skip::IgnoredNamespace));
    }
    if annotations.text(annotation::STATUS).is_some() {
        return Ok(Some(Skip::AlreadyInjected));
    }
    let label = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(annotation::INJECT));
    let wish = match label
        .map(String::as_str)
        .or_else(|| annotations.text(annotation::INJECT))
    {
        Some("") | None => None,
        Some(value) => Some(annotation::parse_flag(annotation::INJECT, value)?),
    };
    Ok(match (wish, policy) {
        (Some(true), _) | (None, Policy::Enabled) => None,
        (Some(false), _) => Some(Skip::Declined),
        (None, Policy::Disabled) => Some(Skip::Policy),
    })
}

/// Ports that the proxy binds inside the pod.
const PROXY_PORTS: [i32; 6] = [15000, 15001, 15006, 15020, 15021, 15090];
/// The proxy's user; traffic of this user is not captured.
const PROXY_UID: i64 = 1337;

fn warnings(pod: &Pod) -> Vec<String> {
    let mut warnings: Vec<String> = Annotations::of(pod)
        .without_effect()
        .map(|name| format!("annotation `{name}` has no effect on the injected proxy"))
        .collect();
    let Some(spec) = &pod.spec else {
        return warnings;
    };
    let pod_user = spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    for container in spec.containers.iter().filter(|c| c.name != PROXY_CONTAINER) {
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        if own.or(pod_user) == Some(PROXY_UID) {
            warnings.push(format!(
                "container `{}` runs as user 1337, the proxy's own: its traffic bypasses the mesh",
                container.name
            ));
        }
        for port in container
            .ports
            .iter()
            .flatten()
            .map(|port| port.container_port)
        {
            if PROXY_PORTS.contains(&port) {
                warnings.push(format!(
                    "container `{}` uses port {port}, which the proxy binds",
                    container.name
                ));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
