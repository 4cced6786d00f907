//! Rewriting of the application's probes: the kubelet has no certificate of the mesh, so it asks
//! the proxy on its agent port, and the proxy asks the application over the loopback.
//!
//! The originals travel to the proxy as JSON in `ISTIO_KUBE_APP_PROBERS`, keyed by path.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, GRPCAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

/// The port on which the proxy answers probes for the application.
pub(crate) const AGENT_PORT: i32 = 15020;

/// One original probe, as the proxy needs it.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Prober {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_get: Option<HTTPGetAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_socket: Option<TCPSocketAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc: Option<GRPCAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<i32>,
}

/// A probe of a container that is to be replaced.
#[derive(Debug, PartialEq)]
pub(crate) struct Rewrite {
    /// Field of the container, in JSON.
    pub(crate) field: &'static str,
    /// The probe that takes its place.
    pub(crate) probe: Probe,
}

/// Rewrites the probes of `container` and files the originals in `probers`.
///
/// Exec probes never leave the container, and a probe whose named port does not exist is left as
/// it is: it fails with the kubelet's own message, as it would without a mesh.
pub(crate) fn rewrite(
    container: &Container,
    probers: &mut BTreeMap<String, Prober>,
) -> Vec<Rewrite> {
    let probes = [
        ("livenessProbe", "livez", &container.liveness_probe),
        ("readinessProbe", "readyz", &container.readiness_probe),
        ("startupProbe", "startupz", &container.startup_probe),
    ];
    let mut rewrites = Vec::new();
    for (field, kind, probe) in probes {
        let Some(probe) = probe else { continue };
        let Some(prober) = prober(probe, container) else {
            continue;
        };
        let path = format!("/app-health/{}/{kind}", container.name);
        rewrites.push(Rewrite {
            field,
            probe: redirected(probe, &path),
        });
        probers.insert(path, prober);
    }
    rewrites
}

fn prober(probe: &Probe, container: &Container) -> Option<Prober> {
    let mut prober = Prober {
        http_get: None,
        tcp_socket: None,
        grpc: None,
        timeout_seconds: probe.timeout_seconds,
    };
    if let Some(http) = &probe.http_get {
        let port = number(&http.port, container)?;
        if port == AGENT_PORT {
            return None;
        }
        prober.http_get = Some(HTTPGetAction {
            port: IntOrString::Int(port),
            ..http.clone()
        });
    } else if let Some(tcp) = &probe.tcp_socket {
        let port = IntOrString::Int(number(&tcp.port, container)?);
        prober.tcp_socket = Some(TCPSocketAction {
            port,
            ..tcp.clone()
        });
    } else {
        prober.grpc = Some(probe.grpc.clone()?);
    }
    Some(prober)
}

fn number(port: &IntOrString, container: &Container) -> Option<i32> {
    match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name));
            named
                .map(|port| port.container_port)
                .or_else(|| name.parse().ok())
        }
    }
}

fn redirected(probe: &Probe, path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(AGENT_PORT),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        tcp_socket: None,
        grpc: None,
        ..probe.clone()
    }
}
