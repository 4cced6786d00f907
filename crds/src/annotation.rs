//! Annotations that we read or write on objects of users and of our own.

/// What the injector did to a pod, as JSON; its presence means "already injected".
pub const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
/// The image of the proxy, in place of the injector's.
pub const SIDECAR_PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
/// The CPU request of the proxy.
pub const SIDECAR_PROXY_CPU: &str = "sidecar.istio.io/proxyCPU";
/// The CPU limit of the proxy.
pub const SIDECAR_PROXY_CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
/// The memory request of the proxy.
pub const SIDECAR_PROXY_MEMORY: &str = "sidecar.istio.io/proxyMemory";
/// The memory limit of the proxy.
pub const SIDECAR_PROXY_MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
/// The log level of the proxy.
pub const SIDECAR_LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
/// `false` leaves the application's HTTP probes as they are.
pub const SIDECAR_REWRITE_PROBES: &str = "sidecar.istio.io/rewriteAppHTTPProbers";
/// Whether the proxy runs as a native sidecar, `true` or `false`.
pub const SIDECAR_NATIVE: &str = "sidecar.istio.io/nativeSidecar";
/// Inbound ports that are redirected to the proxy.
pub const INCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeInboundPorts";
/// Inbound ports that bypass the proxy.
pub const EXCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
/// Outbound ports that are redirected to the proxy.
pub const INCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
/// Outbound ports that bypass the proxy.
pub const EXCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
/// Outbound address ranges that are redirected to the proxy.
pub const INCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
/// Outbound address ranges that bypass the proxy.
pub const EXCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
/// The proxy's configuration for one pod, as YAML.
pub const PROXY_CONFIG: &str = "proxy.istio.io/config";
/// `false` keeps the application's metrics out of the proxy's endpoint.
pub const PROMETHEUS_MERGE: &str = "prometheus.istio.io/merge-metrics";

/// `true` asks Prometheus to scrape a pod.
pub const PROMETHEUS_SCRAPE: &str = "prometheus.io/scrape";
/// The port that Prometheus scrapes.
pub const PROMETHEUS_PORT: &str = "prometheus.io/port";
/// The path that Prometheus scrapes.
pub const PROMETHEUS_PATH: &str = "prometheus.io/path";
/// The scheme that Prometheus scrapes with.
pub const PROMETHEUS_SCHEME: &str = "prometheus.io/scheme";

/// `disabled` keeps GitOps from applying an object; canaries set it on what they own.
pub const KUSTOMIZE_RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
/// How GitOps applies an object: `Override`, `Merge`, `IfNotPresent` or `Ignore`.
pub const KUSTOMIZE_SSA: &str = "kustomize.toolkit.fluxcd.io/ssa";
/// `disabled` keeps GitOps from deleting an object.
pub const KUSTOMIZE_PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
/// `enabled` lets GitOps delete and create an object whose immutable field changed.
pub const KUSTOMIZE_FORCE: &str = "kustomize.toolkit.fluxcd.io/force";
/// `disabled` keeps variables of `postBuild` out of an object.
pub const KUSTOMIZE_SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";
/// `disabled` keeps Helm controllers from correcting an object.
pub const HELM_DRIFT_DETECTION: &str = "helm.toolkit.fluxcd.io/driftDetection";
/// The value that turns such a behaviour off.
pub const DISABLED: &str = "disabled";
/// The value that turns such a behaviour on.
pub const ENABLED: &str = "enabled";
/// Any new value asks for a reconciliation now; status repeats it when done.
pub const RECONCILE_REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// A new value, equal to the one of [`RECONCILE_REQUESTED_AT`], forces an apply.
pub const RECONCILE_FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";

/// The hash of the specification that an object was made from.
pub const SPEC_HASH: &str = "fairlead.dev/spec-hash";
/// A command to a rollout, `verb[=value]@id`, carried out once.
pub const COMMAND: &str = "fairlead.dev/command";
/// Who gave it, `USER COMMAND`; of another command it says nothing. Proof only where admission
/// lets nothing but the truth in.
pub const COMMANDED_BY: &str = "fairlead.dev/commanded-by";
/// The revision of the canary that an object was made for.
pub const REVISION: &str = "fairlead.dev/revision";
/// When the pods of a workload were asked to restart.
pub const RESTARTED_AT: &str = "fairlead.dev/restartedAt";
/// The run of a canary that wrote an object last.
pub const RUN_ID: &str = "fairlead.dev/run-id";
