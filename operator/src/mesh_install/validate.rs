//! Turns a MeshInstall as written into one that can be built; afterwards nobody reads the raw spec.
//! Pure: what the cluster holds is an argument.

use std::collections::BTreeMap;

use fairlead_crds::mesh_install::{
    ControlPlaneSpec, GatewayServicePort, GatewayServiceSpec, GatewaySpec, MeshInstall,
    MeshInstallSpec, ProxySpec, Resources, ServiceType, SidecarInjectorSpec,
};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

use super::dereference::{ControlPlane, Dereferenced, Root};
use super::profile::{GatewayPreset, Profile};
use crate::context::Settings;

/// Everything that the mesh's objects are built from.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    /// The MeshInstall's name.
    pub(crate) name: String,
    /// Makes the API server delete what we deploy together with the MeshInstall.
    pub(crate) owner: OwnerReference,
    /// Trust domain of the mesh's identities.
    pub(crate) trust_domain: String,
    /// DNS domain of the cluster's Services.
    pub(crate) cluster_domain: String,
    /// The cluster's name in telemetry.
    pub(crate) cluster_id: String,
    /// Images of control plane and proxy.
    pub(crate) images: Images,
    /// Where the operator runs, whose pods are never injected.
    pub(crate) operator_namespace: String,
    /// The control plane.
    pub(crate) control_plane: Workload,
    /// The way in.
    pub(crate) ingress: Option<Gateway>,
    /// The way out.
    pub(crate) egress: Option<Gateway>,
    /// The injector of sidecars.
    pub(crate) injector: Option<Injector>,
    /// Whether gateways can start.
    pub(crate) root: Root,
    /// Requests and limits of sidecars; the control plane's defaults where absent.
    pub(crate) proxy_resources: ResourceRequirements,
}

/// What is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Images {
    /// Of the control plane.
    pub(crate) control_plane: String,
    /// Of the proxy.
    pub(crate) proxy: String,
}

/// How much of a workload runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workload {
    /// Number of pods.
    pub(crate) replicas: i32,
    /// What each pod asks for.
    pub(crate) resources: ResourceRequirements,
}

/// A gateway that is deployed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gateway {
    /// Its pods.
    pub(crate) workload: Workload,
    /// Its Service's type.
    pub(crate) service_type: ServiceType,
    /// Its Service's annotations, for the cloud.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its Service's ports.
    pub(crate) ports: Vec<GatewayServicePort>,
}

/// The injector of sidecars.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Injector {
    /// Whether it may be registered with the API server. As long as no control plane has answered,
    /// it would keep pods from being created; afterwards it stays, also while the control plane
    /// restarts, for pods must not start outside the mesh.
    pub(crate) registration: ControlPlane,
    /// Whether proxies are native sidecars; the cluster's version decides where `None`.
    pub(crate) native: Option<bool>,
}

/// Why a MeshInstall cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The spec does not have the form that the CRD asks for.
    #[error("the spec cannot be read: {0}")]
    Malformed(String),
    /// The operator does not know what to deploy.
    #[error(
        "the operator was started without an image to deploy: give it --{flag}, as the chart does"
    )]
    NoImage {
        /// The flag that names it.
        flag: &'static str,
    },
    /// There is no such profile.
    #[error("there is no profile `{given}`; the profiles are {}", Profile::names())]
    UnknownProfile {
        /// What the spec says.
        given: String,
    },
    /// A number of pods that makes no sense.
    #[error("`{field}` is {given}, but must be 1 or more")]
    InvalidReplicas {
        /// Path of the field.
        field: &'static str,
        /// What the spec says.
        given: i32,
    },
    /// A text that names nothing.
    #[error(
        "`{field}` is `{given}`, which is no name of up to 63 letters, digits, hyphens and dots"
    )]
    InvalidName {
        /// Path of the field.
        field: &'static str,
        /// What the spec says.
        given: String,
    },
    /// Two MeshInstalls want the same objects.
    #[error("MeshInstall `{other}` is older and has installed the mesh; a cluster has one")]
    NotTheOldest {
        /// The older one.
        other: String,
    },
    /// The API server gave no identity, which it always does.
    #[error("the MeshInstall has no name or uid")]
    NoIdentity,
}

impl Error {
    /// The condition's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_)
            | Self::InvalidReplicas { .. }
            | Self::InvalidName { .. }
            | Self::NoIdentity => "InvalidSpec",
            Self::NoImage { .. } => "NoImage",
            Self::UnknownProfile { .. } => "UnknownProfile",
            Self::NotTheOldest { .. } => "AnotherMeshInstall",
        }
    }
}

/// Checks the spec and fills in what the profile says.
pub(crate) fn validate(
    object: &DeserializeGuard<MeshInstall>,
    seen: &Dereferenced,
    settings: &Settings,
) -> Result<Mesh, Error> {
    let object = object
        .0
        .as_ref()
        .map_err(|malformed| Error::Malformed(malformed.error.clone()))?;
    if let Some(other) = &seen.older {
        return Err(Error::NotTheOldest {
            other: other.clone(),
        });
    }
    let MeshInstallSpec {
        profile,
        trust_domain,
        cluster_domain,
        cluster_id,
        control_plane,
        ingress_gateway,
        egress_gateway,
        sidecar_injector,
        proxy,
    } = object.spec.clone();
    let profile = Profile::find(&profile).ok_or(Error::UnknownProfile { given: profile })?;
    let ProxySpec { image, resources } = proxy.unwrap_or_default();
    let images = Images {
        control_plane: found(
            settings.images.control_plane_image.as_ref(),
            "control-plane-image",
        )?,
        proxy: match image {
            Some(image) => image,
            None => found(settings.images.proxy_image.as_ref(), "proxy-image")?,
        },
    };
    Ok(Mesh {
        name: label_value("metadata.name", object.name_any())?,
        owner: object.controller_owner_ref(&()).ok_or(Error::NoIdentity)?,
        trust_domain: name("spec.trustDomain", trust_domain, "cluster.local")?,
        cluster_domain: name("spec.clusterDomain", cluster_domain, "cluster.local")?,
        cluster_id: name("spec.clusterId", cluster_id, "Kubernetes")?,
        images,
        operator_namespace: settings.namespace.clone(),
        control_plane: control_plane_of(profile, control_plane.unwrap_or_default())?,
        ingress: gateway(profile.ingress(), ingress_gateway.unwrap_or_default()),
        egress: gateway(profile.egress(), egress_gateway.unwrap_or_default()),
        injector: injector(seen, &sidecar_injector.unwrap_or_default()),
        root: seen.root,
        proxy_resources: resources.map(requirements).unwrap_or_default(),
    })
}

fn control_plane_of(profile: Profile, spec: ControlPlaneSpec) -> Result<Workload, Error> {
    let ControlPlaneSpec {
        replicas,
        resources,
    } = spec;
    let replicas = replicas.unwrap_or(1);
    if replicas < 1 {
        let field = "spec.controlPlane.replicas";
        return Err(Error::InvalidReplicas {
            field,
            given: replicas,
        });
    }
    let resources = resources.map_or_else(|| profile.control_plane_sizing().into(), requirements);
    Ok(Workload {
        replicas,
        resources,
    })
}

fn gateway(preset: GatewayPreset, spec: GatewaySpec) -> Option<Gateway> {
    let GatewaySpec {
        enabled,
        replicas,
        resources,
        service,
    } = spec;
    if !enabled.unwrap_or(preset.enabled) {
        return None;
    }
    let GatewayServiceSpec {
        r#type,
        annotations,
        ports,
    } = service.unwrap_or_default();
    Some(Gateway {
        workload: Workload {
            replicas: replicas.unwrap_or(1),
            resources: resources.map_or_else(|| preset.sizing.into(), requirements),
        },
        service_type: r#type.unwrap_or(preset.service_type),
        annotations,
        ports: if ports.is_empty() {
            GatewayPreset::ports()
        } else {
            ports
        },
    })
}

fn injector(seen: &Dereferenced, spec: &SidecarInjectorSpec) -> Option<Injector> {
    let SidecarInjectorSpec {
        enabled,
        native_sidecars,
    } = *spec;
    enabled.unwrap_or(true).then_some(Injector {
        registration: seen.control_plane,
        native: native_sidecars,
    })
}

fn requirements(resources: Resources) -> ResourceRequirements {
    let Resources { requests, limits } = resources;
    let quantities = |given: BTreeMap<String, IntOrString>| {
        let quantity = |value| match value {
            IntOrString::Int(number) => Quantity(number.to_string()),
            IntOrString::String(text) => Quantity(text),
        };
        Some(
            given
                .into_iter()
                .map(|(name, value)| (name, quantity(value)))
                .collect(),
        )
    };
    ResourceRequirements {
        requests: quantities(requests),
        limits: quantities(limits),
        ..ResourceRequirements::default()
    }
}

/// Our objects carry the name as a label.
fn label_value(field: &'static str, given: String) -> Result<String, Error> {
    if given.len() <= 63 {
        Ok(given)
    } else {
        Err(Error::InvalidName { field, given })
    }
}

/// Labels of letters, digits and hyphens, joined by dots.
fn name(field: &'static str, given: Option<String>, default: &str) -> Result<String, Error> {
    let name = given.unwrap_or_else(|| default.to_owned());
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(is_label) {
        Ok(name)
    } else {
        Err(Error::InvalidName { field, given: name })
    }
}

/// An image that the operator was told to deploy.
fn found(image: Option<&String>, flag: &'static str) -> Result<String, Error> {
    let image = image.filter(|image| !image.is_empty()).cloned();
    image.ok_or(Error::NoImage { flag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh_install::tests::{install, settings, with_profile};

    fn none_older() -> Dereferenced {
        Dereferenced {
            root: Root::Missing,
            older: None,
            control_plane: ControlPlane::NeverAnswered,
            pods: Vec::new(),
        }
    }

    fn check(spec: MeshInstallSpec) -> Result<Mesh, Error> {
        validate(&install(spec), &none_older(), &settings())
    }

    #[test]
    fn profiles_decide_which_gateways_there_are() {
        let ingress = |profile| {
            check(with_profile(profile))
                .unwrap()
                .ingress
                .map(|gateway| gateway.service_type)
        };
        assert_eq!(ingress("minimal"), None);
        assert_eq!(ingress("default"), Some(ServiceType::LoadBalancer));
        assert_eq!(ingress("demo"), Some(ServiceType::NodePort));
        assert_eq!(check(with_profile("demo")).unwrap().egress, None);
    }

    #[test]
    fn the_spec_overrules_the_profile() {
        let disabled = GatewaySpec {
            enabled: Some(false),
            ..GatewaySpec::default()
        };
        let enabled = GatewaySpec {
            enabled: Some(true),
            replicas: Some(3),
            ..GatewaySpec::default()
        };
        let mesh = check(MeshInstallSpec {
            ingress_gateway: Some(disabled),
            egress_gateway: Some(enabled),
            ..with_profile("demo")
        })
        .unwrap();
        assert_eq!(mesh.ingress, None);
        let egress = mesh.egress.unwrap();
        assert_eq!(egress.workload.replicas, 3);
        assert_eq!(egress.service_type, ServiceType::ClusterIP);
    }

    #[test]
    fn resources_may_be_numbers() {
        let requests = [("cpu".to_owned(), IntOrString::Int(2))].into();
        let resources = Resources {
            requests,
            limits: BTreeMap::new(),
        };
        let control_plane = ControlPlaneSpec {
            resources: Some(resources),
            ..ControlPlaneSpec::default()
        };
        let spec = MeshInstallSpec {
            control_plane: Some(control_plane),
            ..with_profile("demo")
        };
        let requests = check(spec)
            .unwrap()
            .control_plane
            .resources
            .requests
            .unwrap();
        assert_eq!(requests["cpu"], Quantity("2".to_owned()));
    }

    #[test]
    fn refuses_what_makes_no_mesh() {
        let unknown = Error::UnknownProfile {
            given: "huge".to_owned(),
        };
        assert_eq!(check(with_profile("huge")).unwrap_err(), unknown);

        let nobody = ControlPlaneSpec {
            replicas: Some(0),
            ..ControlPlaneSpec::default()
        };
        let spec = MeshInstallSpec {
            control_plane: Some(nobody),
            ..with_profile("demo")
        };
        assert!(matches!(
            check(spec).unwrap_err(),
            Error::InvalidReplicas { given: 0, .. }
        ));

        let spec = MeshInstallSpec {
            trust_domain: Some("a b".to_owned()),
            ..with_profile("demo")
        };
        assert!(matches!(
            check(spec).unwrap_err(),
            Error::InvalidName { .. }
        ));
    }

    #[test]
    fn a_second_mesh_install_is_refused_by_name_of_the_first() {
        let seen = Dereferenced {
            older: Some("first".to_owned()),
            ..none_older()
        };
        let error = validate(&install(with_profile("demo")), &seen, &settings()).unwrap_err();
        assert_eq!(
            error,
            Error::NotTheOldest {
                other: "first".to_owned()
            }
        );
    }
}
