//! Which lists of Kubernetes' own kinds a strategic merge patch merges, and by which keys.
//!
//! The API's own description of its types says so (`x-kubernetes-list-map-keys` and
//! `x-kubernetes-patch-merge-key`); lists that are not named here are replaced as a whole.

/// A type of the Kubernetes API, as far as its lists matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Unknown,
    /// An object whose `spec` has the shape.
    Object(&'static Self),
    ObjectMeta,
    Workload,
    CronJob,
    JobTemplate,
    PodTemplate,
    PodTemplateObject,
    Pod,
    Container,
    Resources,
    Service,
    ServiceAccount,
    Webhooks,
    AdmissionPolicy,
}

/// How a patch changes a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// The patch's list takes its place.
    Replace,
    /// Items with the same values under these keys are merged.
    Keys(&'static [&'static str]),
    /// Missing values are added.
    Set,
}

impl Shape {
    pub(super) fn of_kind(group: &str, kind: &str) -> Self {
        match (group, kind) {
            ("", "Pod") => Self::Object(&Self::Pod),
            ("", "PodTemplate") => Self::PodTemplateObject,
            ("", "Service") => Self::Object(&Self::Service),
            ("", "ServiceAccount") => Self::ServiceAccount,
            (
                "" | "apps" | "batch" | "extensions",
                "ReplicationController"
                | "Deployment"
                | "ReplicaSet"
                | "DaemonSet"
                | "StatefulSet"
                | "Job",
            ) => Self::Object(&Self::Workload),
            ("batch", "CronJob") => Self::Object(&Self::CronJob),
            (
                "admissionregistration.k8s.io",
                "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
            ) => Self::Webhooks,
            ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
                Self::Object(&Self::AdmissionPolicy)
            }
            (group, _) if !group.contains('.') || group.ends_with(".k8s.io") => {
                Self::Object(&Self::Unknown)
            }
            _ => Self::Unknown,
        }
    }

    /// The shape of a field, or of the items of a list.
    pub(super) fn field(self, name: &str) -> (Self, List) {
        const ATOM: (Shape, List) = (Shape::Unknown, List::Replace);
        const PORT_PROTOCOL: List = List::Keys(&["port", "protocol"]);
        let plain = |shape| (shape, List::Replace);
        let by = |shape, keys| (shape, List::Keys(keys));
        match (self, name) {
            (Self::Object(spec), "spec") => plain(*spec),
            (
                Self::Object(_)
                | Self::ServiceAccount
                | Self::Webhooks
                | Self::PodTemplate
                | Self::PodTemplateObject
                | Self::JobTemplate,
                "metadata",
            ) => plain(Self::ObjectMeta),
            (Self::ObjectMeta, "ownerReferences") => by(Self::Unknown, &["uid"]),
            (Self::ObjectMeta, "finalizers") => (Self::Unknown, List::Set),
            (Self::Workload | Self::PodTemplateObject, "template") => plain(Self::PodTemplate),
            (Self::CronJob, "jobTemplate") => plain(Self::JobTemplate),
            (Self::JobTemplate, "spec") => plain(Self::Workload),
            (Self::PodTemplate, "spec") => plain(Self::Pod),
            (Self::Pod, "containers" | "initContainers" | "ephemeralContainers") => {
                by(Self::Container, &["name"])
            }
            (Self::Pod, "volumes" | "imagePullSecrets" | "resourceClaims" | "schedulingGates") => {
                by(Self::Unknown, &["name"])
            }
            (Self::Pod, "hostAliases") => by(Self::Unknown, &["ip"]),
            (Self::Pod, "topologySpreadConstraints") => {
                by(Self::Unknown, &["topologyKey", "whenUnsatisfiable"])
            }
            (Self::Container, "env") => by(Self::Unknown, &["name"]),
            (Self::Container, "ports") => by(Self::Unknown, &["containerPort", "protocol"]),
            (Self::Container, "volumeMounts") => by(Self::Unknown, &["mountPath"]),
            (Self::Container, "volumeDevices") => by(Self::Unknown, &["devicePath"]),
            (Self::Container, "resources") => plain(Self::Resources),
            (Self::Resources, "claims") => by(Self::Unknown, &["name"]),
            (Self::Service, "ports") => (Self::Unknown, PORT_PROTOCOL),
            (Self::ServiceAccount, "secrets") => by(Self::Unknown, &["name"]),
            (Self::Webhooks, "webhooks") => by(Self::Unknown, &["name"]),
            (Self::AdmissionPolicy, "variables" | "matchConditions") => {
                by(Self::Unknown, &["name"])
            }
            _ => ATOM,
        }
    }
}
