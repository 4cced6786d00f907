//! The profiles: named starting points that a spec refines. Pure data.

use fairlead_crds::mesh_install::{GatewayServicePort, ServiceType};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A named starting point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// An ingress gateway behind a load balancer.
    Default,
    /// No gateways.
    Minimal,
    /// Everything small, the ingress gateway on a port of each node: runs on a laptop.
    Demo,
}

/// What a profile says about a gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct GatewayPreset {
    pub(crate) enabled: bool,
    pub(crate) service_type: ServiceType,
    pub(crate) sizing: Sizing,
}

/// What one pod asks for, and the memory it may take at most. CPU is not limited: throttling a proxy
/// shows as latency of its application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sizing {
    cpu: &'static str,
    memory: &'static str,
    memory_limit: &'static str,
}

impl Profile {
    const ALL: [Self; 3] = [Self::Default, Self::Minimal, Self::Demo];

    /// The profile of that name.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == name)
    }

    /// All names, for people.
    pub(crate) fn names() -> String {
        Self::ALL
            .map(|profile| format!("`{}`", profile.as_str()))
            .join(", ")
    }

    /// The name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Minimal => "minimal",
            Self::Demo => "demo",
        }
    }

    /// The gateway into the mesh.
    pub(crate) fn ingress(self) -> GatewayPreset {
        let service_type = match self {
            Self::Default | Self::Minimal => ServiceType::LoadBalancer,
            Self::Demo => ServiceType::NodePort,
        };
        let enabled = self != Self::Minimal;
        GatewayPreset {
            enabled,
            service_type,
            sizing: self.gateway_sizing(),
        }
    }

    /// The gateway out of the mesh, which no profile has.
    pub(crate) fn egress(self) -> GatewayPreset {
        GatewayPreset {
            enabled: false,
            service_type: ServiceType::ClusterIP,
            sizing: self.gateway_sizing(),
        }
    }

    /// What a pod of the control plane asks for.
    pub(crate) fn control_plane_sizing(self) -> Sizing {
        match self {
            Self::Default | Self::Minimal => Sizing {
                cpu: "100m",
                memory: "128Mi",
                memory_limit: "2Gi",
            },
            Self::Demo => Sizing {
                cpu: "10m",
                memory: "48Mi",
                memory_limit: "512Mi",
            },
        }
    }

    fn gateway_sizing(self) -> Sizing {
        match self {
            Self::Default | Self::Minimal => Sizing {
                cpu: "100m",
                memory: "128Mi",
                memory_limit: "1Gi",
            },
            Self::Demo => Sizing {
                cpu: "10m",
                memory: "40Mi",
                memory_limit: "512Mi",
            },
        }
    }
}

impl GatewayPreset {
    /// The ports of a gateway's Service that says nothing about them.
    pub(crate) fn ports() -> Vec<GatewayServicePort> {
        let port = |name: &str, port, target| GatewayServicePort {
            name: name.to_owned(),
            port,
            target_port: Some(target),
            node_port: None,
        };
        vec![port("http2", 80, 8080), port("https", 443, 8443)]
    }
}

impl From<Sizing> for ResourceRequirements {
    fn from(sizing: Sizing) -> Self {
        let Sizing {
            cpu,
            memory,
            memory_limit,
        } = sizing;
        let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
        Self {
            requests: Some([quantity("cpu", cpu), quantity("memory", memory)].into()),
            limits: Some([quantity("memory", memory_limit)].into()),
            ..Self::default()
        }
    }
}
