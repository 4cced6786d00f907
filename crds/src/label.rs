//! Labels that we read or write on objects of users and of our own.

/// Turns sidecar injection on (`enabled`) or off (`disabled`) for a namespace.
pub const INJECTION: &str = "istio-injection";
/// Selects the revision of the injector for a namespace or pod.
pub const REVISION: &str = "istio.io/rev";
/// Turns injection on (`true`) or off (`false`) for one pod.
pub const SIDECAR_INJECT: &str = "sidecar.istio.io/inject";
/// The service name that metrics of a workload carry.
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
/// The service version that metrics of a workload carry.
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// How the proxy of a pod may be reached over mutual TLS; `istio` where a sidecar runs.
pub const TLS_MODE: &str = "security.istio.io/tlsMode";
/// The name of a pod's application, which most selectors use.
pub const APP: &str = "app";
/// The version of a pod's application.
pub const VERSION: &str = "version";
/// The recommended name of an application.
pub const KUBERNETES_NAME: &str = "app.kubernetes.io/name";
/// The recommended version of an application.
pub const KUBERNETES_VERSION: &str = "app.kubernetes.io/version";
/// Who manages an object; ours carry [`MANAGED_BY_FAIRLEAD`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on everything that our operator deploys.
pub const MANAGED_BY_FAIRLEAD: &str = "fairlead";
/// Which part of the mesh an object belongs to, for example `ingress-gateway`.
pub const COMPONENT: &str = "fairlead.dev/component";
/// The revision that a copy of a Service has, and so do its EndpointSlices.
pub const RELEASED_REVISION: &str = "fairlead.dev/revision";
/// The `MeshInstall` that an object was deployed for.
pub const MESH_INSTALL: &str = "fairlead.dev/mesh-install";
/// The name of the Kustomization that applied an object.
pub const KUSTOMIZE_NAME: &str = "kustomize.toolkit.fluxcd.io/name";
/// The namespace of the Kustomization that applied an object.
pub const KUSTOMIZE_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
