//! A session: subscriptions that follow from clusters and listeners, versions, ACK and NACK.
//!
//! It outlives its streams: on a new one, [`Session::connect`] says what the client still has, and
//! only what has changed is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fmt::Write as _;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Envelope,
};
use envoy_types::pb::google::rpc::Status;

use super::subscription::Uses;
use crate::TypeUrl;
use crate::node::Node;
use crate::proto;
use crate::resource::Resource;

/// `INVALID_ARGUMENT` of gRPC, the code of a NACK.
const INVALID_ARGUMENT: i32 = 3;

/// What a response brings.
#[derive(Debug)]
pub struct Received {
    /// The type of all that it brings.
    pub kind: TypeUrl,
    /// Resources that are new or changed, and valid.
    pub updates: Vec<Resource>,
    /// Names of resources that are no more.
    pub removed: Vec<String>,
    /// Requests to be sent at once: subscriptions that follow from the updates.
    pub requests: Vec<DeltaDiscoveryRequest>,
    /// The answer, to be sent when the updates are in effect.
    pub reply: Reply,
}

/// The answer to a response.
#[derive(Debug)]
#[must_use = "the server waits for the answer"]
pub struct Reply {
    kind: TypeUrl,
    names: Vec<String>,
    request: DeltaDiscoveryRequest,
}

impl Reply {
    /// The request to be sent: an ACK, or a NACK if some of the resources were not valid.
    pub fn into_request(self) -> DeltaDiscoveryRequest {
        self.request
    }

    /// Why some of the resources were refused, if they were.
    pub fn rejection(&self) -> Option<&str> {
        self.request
            .error_detail
            .as_ref()
            .map(|status| status.message.as_str())
    }
}

/// One client, over all of its streams.
#[derive(Clone, Debug)]
pub struct Session {
    node: core::Node,
    /// Secrets that the client has by itself, and does not ask for.
    local_secrets: BTreeSet<String>,
    versions: BTreeMap<TypeUrl, BTreeMap<String, String>>,
    clusters: BTreeMap<String, Uses>,
    listeners: BTreeMap<String, Uses>,
    endpoints: BTreeSet<String>,
    routes: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Session {
    /// A client that has nothing yet.
    pub fn new(node: &Node, local_secrets: impl IntoIterator<Item = String>) -> Self {
        Self {
            node: node.to_proto(),
            local_secrets: local_secrets.into_iter().collect(),
            versions: BTreeMap::new(),
            clusters: BTreeMap::new(),
            listeners: BTreeMap::new(),
            endpoints: BTreeSet::new(),
            routes: BTreeSet::new(),
            secrets: BTreeSet::new(),
        }
    }

    /// The first requests of a new stream.
    pub fn connect(&self) -> Vec<DeltaDiscoveryRequest> {
        let mut requests: Vec<_> = TypeUrl::ALL
            .into_iter()
            .filter(|kind| kind.is_wildcard() || !self.subscribed(*kind).is_empty())
            .map(|kind| DeltaDiscoveryRequest {
                type_url: kind.as_str().to_owned(),
                resource_names_subscribe: self.subscribed(kind).iter().cloned().collect(),
                initial_resource_versions: self
                    .versions
                    .get(&kind)
                    .map(|versions| versions.clone().into_iter().collect())
                    .unwrap_or_default(),
                ..DeltaDiscoveryRequest::default()
            })
            .collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some(self.node.clone());
        }
        requests
    }

    /// Takes in a response. `None` if its type is not ours, which asks for no answer.
    ///
    /// Resources that are not valid are refused by name; their neighbours are taken.
    pub fn on_response(&mut self, response: DeltaDiscoveryResponse) -> Option<Received> {
        let kind = TypeUrl::parse(&response.type_url)?;
        let mut updates = Vec::new();
        let mut names = Vec::new();
        let mut rejection = String::new();
        for envelope in response.resources {
            // It was on its way when the client stopped asking for it.
            if !self.is_subscribed(kind, &envelope.name) {
                continue;
            }
            match decode(kind, &envelope) {
                Ok(resource) => {
                    self.versions
                        .entry(kind)
                        .or_default()
                        .insert(envelope.name.clone(), envelope.version);
                    names.push(envelope.name);
                    updates.push(resource);
                }
                Err(error) => explain(&mut rejection, &envelope.name, &error),
            }
        }
        for name in &response.removed_resources {
            if let Some(versions) = self.versions.get_mut(&kind) {
                versions.remove(name);
            }
        }
        self.note_uses(kind, &updates, &response.removed_resources);
        let request = DeltaDiscoveryRequest {
            type_url: kind.as_str().to_owned(),
            response_nonce: response.nonce,
            error_detail: (!rejection.is_empty()).then(|| refusal(rejection)),
            ..DeltaDiscoveryRequest::default()
        };
        Some(Received {
            kind,
            updates,
            removed: response.removed_resources,
            requests: self.resubscribe(),
            reply: Reply {
                kind,
                names,
                request,
            },
        })
    }

    /// Refuses a response whose resources are valid but could not be put into effect.
    pub fn reject(&mut self, reply: Reply, reason: &str) -> DeltaDiscoveryRequest {
        if let Some(versions) = self.versions.get_mut(&reply.kind) {
            for name in &reply.names {
                versions.remove(name);
            }
        }
        let mut request = reply.request;
        let message = match request.error_detail {
            Some(status) => format!("{}; {reason}", status.message),
            None => reason.to_owned(),
        };
        request.error_detail = Some(refusal(message));
        request
    }

    /// Whether the client asks for a resource; what it no longer asks for it may forget, and will
    /// not be told that it is no more.
    pub fn is_subscribed(&self, kind: TypeUrl, name: &str) -> bool {
        kind.is_wildcard() || self.subscribed(kind).contains(name)
    }

    /// Names that are asked for; none for the types of which all are.
    fn subscribed(&self, kind: TypeUrl) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        match kind {
            TypeUrl::Cluster | TypeUrl::Listener => &NONE,
            TypeUrl::Endpoint => &self.endpoints,
            TypeUrl::Route => &self.routes,
            TypeUrl::Secret => &self.secrets,
        }
    }

    fn note_uses(&mut self, kind: TypeUrl, updates: &[Resource], removed: &[String]) {
        for update in updates {
            match update {
                Resource::Cluster(cluster) => {
                    self.clusters
                        .insert(cluster.name.clone(), Uses::of_cluster(cluster));
                }
                Resource::Listener(listener) => {
                    self.listeners
                        .insert(listener.name.clone(), Uses::of_listener(listener));
                }
                Resource::Endpoint(_) | Resource::Route(_) | Resource::Secret(_) => {}
            }
        }
        for name in removed {
            match kind {
                TypeUrl::Cluster => self.clusters.remove(name),
                TypeUrl::Listener => self.listeners.remove(name),
                TypeUrl::Endpoint | TypeUrl::Route | TypeUrl::Secret => None,
            };
        }
    }

    /// Requests that bring the subscriptions in line with what clusters and listeners use.
    fn resubscribe(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let mut wanted = Uses::default();
        for uses in self.clusters.values().chain(self.listeners.values()) {
            wanted.endpoints.extend(uses.endpoints.iter().cloned());
            wanted.routes.extend(uses.routes.iter().cloned());
            wanted
                .secrets
                .extend(uses.secrets.difference(&self.local_secrets).cloned());
        }
        let changes = [
            (TypeUrl::Endpoint, &mut self.endpoints, wanted.endpoints),
            (TypeUrl::Route, &mut self.routes, wanted.routes),
            (TypeUrl::Secret, &mut self.secrets, wanted.secrets),
        ];
        let mut requests = Vec::new();
        for (kind, current, wanted) in changes {
            let subscribe: Vec<_> = wanted.difference(current).cloned().collect();
            let unsubscribe: Vec<_> = current.difference(&wanted).cloned().collect();
            if let Some(versions) = self.versions.get_mut(&kind) {
                for name in &unsubscribe {
                    versions.remove(name);
                }
            }
            *current = wanted;
            if !subscribe.is_empty() || !unsubscribe.is_empty() {
                requests.push(DeltaDiscoveryRequest {
                    type_url: kind.as_str().to_owned(),
                    resource_names_subscribe: subscribe,
                    resource_names_unsubscribe: unsubscribe,
                    ..DeltaDiscoveryRequest::default()
                });
            }
        }
        requests
    }
}

fn decode(kind: TypeUrl, envelope: &Envelope) -> proto::Result<Resource> {
    let any = envelope
        .resource
        .as_ref()
        .ok_or_else(|| proto::Error::Missing("resource".to_owned()))?;
    if any.type_url != kind.as_str() {
        return Err(proto::Error::UnknownType(any.type_url.clone()));
    }
    let resource = proto::decode_as(kind, &any.value)?;
    if resource.name() == envelope.name {
        Ok(resource)
    } else {
        Err(proto::Error::Invalid {
            field: "name".to_owned(),
            value: resource.name().to_owned(),
        })
    }
}

fn explain(rejection: &mut String, name: &str, error: &proto::Error) {
    if !rejection.is_empty() {
        rejection.push_str("; ");
    }
    let mut message = format!("{name}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _infallible = write!(message, ": {error}");
        cause = error.source();
    }
    rejection.push_str(&message);
}

fn refusal(message: String) -> Status {
    Status {
        code: INVALID_ARGUMENT,
        message,
        details: Vec::new(),
    }
}
