//! Services as targets: what is released is where a Service leads, not the pods behind it.
//!
//! The target is its author's and is never written. Primary and canary are copies of it, and carry
//! their revision as a label: the endpoint controller puts the labels of a Service onto its
//! EndpointSlices, so that these tell which revision their endpoints are of.

use fairlead_crds::{annotation, label};
use fairlead_rollout::{Readiness, Revision};
use futures::future::{BoxFuture, ready};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::controller::settings;
use super::{Content, Error, Names, PrimaryPlan, Snapshot, Template, Workload};
use crate::canary::FIELD_MANAGER;

/// Where a Service leads, and how. All else is about how the target itself is reached: addresses,
/// node ports and load balancers, which no two Services can share.
const COPIED: [&str; 10] = [
    "externalName",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "ports",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
];
/// Of these, what the cluster chooses: copied, but no revision.
const CHOSEN: [&str; 2] = ["ipFamilies", "ipFamilyPolicy"];

/// The Services of one cluster.
#[derive(Clone)]
pub(super) struct Services {
    client: Client,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// Uses `client`.
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, namespace: &str) -> Api<Service> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn find(&self, namespace: &str, name: &str) -> Result<Option<Snapshot>, Error> {
        let found = self.api(namespace).get_opt(name).await;
        let found = found.map_err(|source| Error::Read {
            object: describe(namespace, name),
            source: source.into(),
        })?;
        Ok(found.map(|service| snapshot(&service)))
    }
}

impl Workload for Services {
    fn target<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>> {
        Box::pin(self.find(&names.namespace, &names.target))
    }

    fn primary<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>> {
        Box::pin(self.find(&names.namespace, &names.primary))
    }

    /// The cluster keeps nothing of what a Service was.
    fn content<'a>(
        &'a self,
        _names: &'a Names,
        _identity: &'a str,
    ) -> BoxFuture<'a, Result<Option<Content>, Error>> {
        Box::pin(ready(Ok(None)))
    }

    /// There is no size, and nobody asks for one.
    fn scale<'a>(
        &'a self,
        _names: &'a Names,
        _replicas: u32,
        _guard: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(ready(Ok(())))
    }

    fn apply_primary<'a>(
        &'a self,
        names: &'a Names,
        plan: PrimaryPlan<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let object = || describe(&names.namespace, &names.primary);
            let Content::Service(spec) = &plan.content else {
                return Err(Error::OtherKind { object: object() });
            };
            let place = Place {
                namespace: &names.namespace,
                name: &names.primary,
                owner: &plan.owner,
                guard: plan.guard.as_deref(),
            };
            let copy = copy(plan.target, spec, plan.revision, &place);
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let applied = self
                .api(&names.namespace)
                .patch(&names.primary, &params, &Patch::Apply(&copy))
                .await;
            applied.map(drop).map_err(|source| Error::Write {
                object: object(),
                source: source.into(),
            })
        })
    }
}

fn describe(namespace: &str, name: &str) -> String {
    format!("Service `{namespace}/{name}`")
}

fn snapshot(service: &Service) -> Snapshot {
    let spec = plain(&json!(service.spec));
    Snapshot {
        resource_version: service.resource_version().unwrap_or_default(),
        desired: 1,
        replica_managers: Vec::new(),
        updated: 1,
        readiness: Readiness::Ready,
        observed: true,
        template: Ok(Template {
            identity: identity(&spec),
            label: None,
            content: Content::Service(spec),
        }),
        selector: None,
        revision: service
            .annotations()
            .get(annotation::REVISION)
            .cloned()
            .map(Revision),
        settings: settings(service, &json!({})),
    }
}

/// What a copy takes over of a Service's spec. A target that is reached from outside is copied as
/// one that is reached from inside only.
pub(super) fn plain(spec: &Value) -> Value {
    let copied = COPIED.into_iter().filter(|field| !spec[*field].is_null());
    let mut plain: Map<String, Value> = copied
        .map(|field| (field.to_owned(), spec[field].clone()))
        .collect();
    for port in plain
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        port.as_object_mut().map(|port| port.remove("nodePort"));
    }
    let leads_away = spec["type"] == "ExternalName";
    let kind = if leads_away {
        "ExternalName"
    } else {
        "ClusterIP"
    };
    plain.insert("type".to_owned(), json!(kind));
    if spec["clusterIP"] == "None" {
        plain.insert("clusterIP".to_owned(), json!("None"));
    }
    Value::Object(plain)
}

/// The same for what leads to the same place, whatever the API server has filled in.
pub fn identity(plain: &Value) -> String {
    let mut spec = plain.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields
            .retain(|field, value| !CHOSEN.contains(&field.as_str()) && !is_default(field, value));
    }
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let number = port["port"].clone();
        if let Some(fields) = port.as_object_mut() {
            fields.retain(|field, value| {
                !(field == "targetPort" && *value == number
                    || field == "protocol" && value == "TCP")
            });
        }
    }
    // The order of keys must not depend on how we parse.
    spec.sort_all_objects();
    let digest = Sha256::digest(spec.to_string().as_bytes());
    hex::encode(&digest[..5])
}

/// Whether the API server sets a field so where its author does not.
fn is_default(field: &str, value: &Value) -> bool {
    match field {
        "type" => value == "ClusterIP",
        "sessionAffinity" => value == "None",
        "sessionAffinityConfig" => *value == json!({ "clientIP": { "timeoutSeconds": 10800 } }),
        "internalTrafficPolicy" => value == "Cluster",
        "publishNotReadyAddresses" => value == false,
        _ => false,
    }
}

/// Where a copy stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Who owns it.
    pub owner: &'a OwnerReference,
    /// The version that must still stand, when it exists already.
    pub guard: Option<&'a str>,
}

/// Builds a copy of a target with the spec of one of its revisions.
pub fn copy(target: &Snapshot, spec: &Value, revision: &Revision, place: &Place<'_>) -> Value {
    let mut labels = target.settings["labels"].clone();
    labels[label::RELEASED_REVISION] = json!(revision.0);
    let mut annotations = target.settings["annotations"].clone();
    annotations[annotation::REVISION] = json!(revision.0);
    for held in [
        annotation::KUSTOMIZE_RECONCILE,
        annotation::HELM_DRIFT_DETECTION,
    ] {
        annotations[held] = json!(annotation::DISABLED);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": place.name,
            "namespace": place.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [place.owner],
            "resourceVersion": place.guard.unwrap_or(crate::ABSENT),
        },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &Value) -> Service {
        let service = json!({
            "metadata": {
                "name": "web", "namespace": "shop", "resourceVersion": "7",
                "labels": { "team": "a" },
                "annotations": {
                    "note": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}",
                },
            },
            "spec": spec,
        });
        serde_json::from_value(service).unwrap()
    }

    fn revision(spec: &Value) -> String {
        snapshot(&service(spec)).template.unwrap().identity
    }

    /// As its author wrote it.
    fn written() -> Value {
        json!({ "selector": { "app": "web", "version": "1" }, "ports": [{ "port": 80 }] })
    }

    /// As the API server holds it.
    fn stored() -> Value {
        json!({
            "selector": { "app": "web", "version": "1" },
            "ports": [{ "port": 80, "targetPort": 80, "protocol": "TCP", "nodePort": 31000 }],
            "type": "LoadBalancer", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
            "allocateLoadBalancerNodePorts": true,
        })
    }

    #[test]
    fn what_the_cluster_fills_in_is_no_revision() {
        assert_eq!(revision(&stored()), revision(&written()));
    }

    #[test]
    fn where_it_leads_is() {
        let changed = |path: &str, value: Value| {
            let mut spec = written();
            spec[path] = value;
            revision(&spec)
        };
        let same = revision(&written());
        let other = [
            changed("selector", json!({ "app": "web", "version": "2" })),
            changed("ports", json!([{ "port": 80, "targetPort": 8080 }])),
            changed("ports", json!([{ "port": 80, "appProtocol": "h2c" }])),
            changed("sessionAffinity", json!("ClientIP")),
            changed("publishNotReadyAddresses", json!(true)),
            changed("clusterIP", json!("None")),
        ];
        for found in &other {
            assert_ne!(*found, same);
        }
        let away = |name: &str| revision(&json!({ "type": "ExternalName", "externalName": name }));
        assert_ne!(away("one.example"), away("two.example"));
    }

    #[test]
    fn a_copy_leads_where_its_revision_does_and_has_no_address_of_the_targets() {
        let target = snapshot(&service(&stored()));
        let Ok(Template {
            content: Content::Service(spec),
            identity,
            ..
        }) = &target.template
        else {
            unreachable!("a Service has a spec")
        };
        let place = Place {
            namespace: "shop",
            name: "web-canary",
            owner: &OwnerReference::default(),
            guard: None,
        };
        let copy = copy(&target, spec, &Revision(identity.clone()), &place);
        let meta = &copy["metadata"];
        assert_eq!(meta["name"], "web-canary");
        assert_eq!(meta["resourceVersion"], crate::ABSENT);
        assert_eq!(meta["labels"]["team"], "a");
        assert_eq!(meta["labels"][label::RELEASED_REVISION], identity.as_str());
        assert_eq!(meta["annotations"]["note"], "b");
        assert!(meta["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].is_null());
        let spec = &copy["spec"];
        assert_eq!(spec["type"], "ClusterIP");
        assert_eq!(spec["selector"]["version"], "1");
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        assert!(spec["ports"][0]["nodePort"].is_null());
        for field in ["clusterIP", "clusterIPs", "externalTrafficPolicy"] {
            assert!(spec[field].is_null(), "{field}");
        }
    }

    #[test]
    fn a_target_without_addresses_is_copied_as_such() {
        let headless = json!({ "clusterIP": "None", "selector": { "app": "web" } });
        assert_eq!(plain(&headless)["clusterIP"], "None");
        let away = json!({ "type": "ExternalName", "externalName": "web.example" });
        assert_eq!(plain(&away), away);
    }
}
