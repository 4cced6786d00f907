//! A session: all types of one stream, pushed make before break.
//!
//! New and changed clusters go first, then endpoints, listeners and routes. Listeners and routes
//! wait until the client has taken the clusters, and the endpoints of those that are new to it:
//! only then does no request meet a cluster that is not ready. What is no more goes in the other
//! order: clusters are removed when the client has taken listeners and routes that no longer name
//! them. Each type has at most one response under way; what changes meanwhile is sent after the
//! answer, in its latest state only.
//!
//! A refused response is sent again in halves, until the bad resource stands alone; so its
//! neighbours arrive. The bad one is not sent again before it changes.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};

use super::delta::{Answer, Delta, Scope};
use crate::TypeUrl;
use crate::resource::ResourceSet;

/// Why a client refused a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The version that was refused.
    pub version: String,
    /// The client's words.
    pub message: String,
}

/// How far a version of a resource has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<'s> {
    /// The client did not ask for the resource.
    NotSubscribed,
    /// The client has not answered yet.
    Pending,
    /// The client has it.
    Acked,
    /// The client refused it.
    Rejected(&'s Rejection),
}

/// One client's stream.
#[derive(Clone, Debug, Default)]
pub struct Session {
    types: BTreeMap<TypeUrl, Delta>,
    rejections: BTreeMap<(TypeUrl, String), Rejection>,
    /// Clusters that are new to the client and whose endpoints it has not taken yet.
    warming: BTreeSet<String>,
    /// The client has clusters of an earlier stream, and listeners and routes that name them.
    resumes: bool,
    nonces: u64,
}

impl Session {
    /// Takes in a request; `wanted` is what the client should have by now.
    ///
    /// A request of a type that is not ours changes nothing.
    pub fn on_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        wanted: &ResourceSet,
    ) -> Vec<DeltaDiscoveryResponse> {
        let Some(kind) = TypeUrl::parse(&request.type_url) else {
            return Vec::new();
        };
        let delta = self.types.entry(kind).or_default();
        let answer = delta.answer(request);
        delta.subscribe(kind, request);
        self.take_answer(kind, answer);
        if kind == TypeUrl::Cluster && !request.initial_resource_versions.is_empty() {
            self.resumes = true;
        }
        if kind == TypeUrl::Endpoint {
            for name in &request.resource_names_unsubscribe {
                self.warming.remove(name);
            }
        }
        self.advance(wanted)
    }

    /// Takes in a change of what the client should have.
    pub fn on_snapshot(&mut self, wanted: &ResourceSet) -> Vec<DeltaDiscoveryResponse> {
        self.warming
            .retain(|name| wanted.of(TypeUrl::Cluster).contains_key(name));
        self.advance(wanted)
    }

    /// Whether listeners or routes wait for clusters and endpoints to be taken, or clusters stay
    /// because a client that came back has not asked for listeners yet. A client that never asks
    /// must not wait for ever: the caller limits the time and calls [`Self::release`].
    pub fn is_holding(&self, wanted: &ResourceSet) -> bool {
        let holds_changes = self.must_hold(wanted)
            && [TypeUrl::Listener, TypeUrl::Route].into_iter().any(|kind| {
                self.delta(kind)
                    .is_some_and(|delta| delta.has_unsent(kind, wanted))
            });
        let holds_removals = self.lacks_listeners()
            && self
                .delta(TypeUrl::Cluster)
                .is_some_and(|delta| delta.is_behind(TypeUrl::Cluster, wanted));
        holds_changes || holds_removals
    }

    /// Goes on without what was waited for.
    pub fn release(&mut self, wanted: &ResourceSet) -> Vec<DeltaDiscoveryResponse> {
        self.resumes = false;
        self.warming.clear();
        self.advance(wanted)
    }

    /// How far `version` of a resource has come.
    pub fn delivery(&self, kind: TypeUrl, name: &str, version: &str) -> Delivery<'_> {
        let Some(delta) = self.delta(kind).filter(|delta| delta.is_subscribed(name)) else {
            return Delivery::NotSubscribed;
        };
        if delta
            .acked()
            .get(name)
            .is_some_and(|acked| acked == version)
        {
            return Delivery::Acked;
        }
        self.rejections
            .get(&(kind, name.to_owned()))
            .filter(|rejection| rejection.version == version)
            .map_or(Delivery::Pending, Delivery::Rejected)
    }

    /// The versions that the client has said to have.
    pub fn acked(&self, kind: TypeUrl) -> Option<&BTreeMap<String, String>> {
        self.delta(kind).map(Delta::acked)
    }

    /// What the client has refused and not taken in a newer version since, with its name.
    pub fn rejections(&self) -> impl Iterator<Item = (TypeUrl, &str, &Rejection)> {
        self.rejections
            .iter()
            .map(|((kind, name), rejection)| (*kind, name.as_str(), rejection))
    }

    /// Whether the client was told everything and has answered everything.
    pub fn is_settled(&self, wanted: &ResourceSet) -> bool {
        self.types
            .iter()
            .all(|(kind, delta)| !delta.is_in_flight() && !delta.is_behind(*kind, wanted))
    }

    fn delta(&self, kind: TypeUrl) -> Option<&Delta> {
        self.types.get(&kind)
    }

    fn take_answer(&mut self, kind: TypeUrl, answer: Answer) {
        match answer {
            Answer::None => {}
            Answer::Ack { names } => {
                for name in names {
                    if kind == TypeUrl::Endpoint {
                        self.warming.remove(&name);
                    }
                    self.rejections.remove(&(kind, name));
                }
            }
            Answer::Nack { sent, message } => {
                // Nobody asks for the endpoints of a cluster that was refused.
                match kind {
                    TypeUrl::Cluster | TypeUrl::Endpoint => {
                        self.warming.retain(|name| !sent.contains_key(name));
                    }
                    TypeUrl::Listener | TypeUrl::Route | TypeUrl::Secret => {}
                }
                for (name, version) in sent {
                    let rejection = Rejection {
                        version,
                        message: message.clone(),
                    };
                    self.rejections.insert((kind, name), rejection);
                }
            }
        }
    }

    /// Listeners and routes must not name what the client does not have.
    fn must_hold(&self, wanted: &ResourceSet) -> bool {
        let clusters = self.delta(TypeUrl::Cluster);
        clusters
            .is_some_and(|delta| delta.is_in_flight() || delta.has_unsent(TypeUrl::Cluster, wanted))
            || self
                .delta(TypeUrl::Endpoint)
                .is_some_and(|delta| delta.has_unsent(TypeUrl::Endpoint, wanted))
            || !self.warming.is_empty()
    }

    /// A client that came back uses listeners that this stream does not know of yet. It asks for
    /// its routes before it answers the listeners, so that these are enough to wait for.
    fn lacks_listeners(&self) -> bool {
        self.resumes && self.delta(TypeUrl::Listener).is_none()
    }

    /// Clusters may go when nothing that the client uses can name them.
    fn may_remove(&self, wanted: &ResourceSet) -> bool {
        !self.lacks_listeners()
            && [TypeUrl::Listener, TypeUrl::Route].into_iter().all(|kind| {
                self.delta(kind)
                    .is_none_or(|delta| !delta.is_in_flight() && !delta.is_behind(kind, wanted))
            })
    }

    fn advance(&mut self, wanted: &ResourceSet) -> Vec<DeltaDiscoveryResponse> {
        let mut responses = Vec::new();
        self.push(TypeUrl::Cluster, wanted, Scope::Upserts, &mut responses);
        self.push(TypeUrl::Endpoint, wanted, Scope::Upserts, &mut responses);
        if !self.must_hold(wanted) {
            self.push(TypeUrl::Listener, wanted, Scope::All, &mut responses);
            self.push(TypeUrl::Route, wanted, Scope::All, &mut responses);
        }
        self.push(TypeUrl::Secret, wanted, Scope::All, &mut responses);
        if self.may_remove(wanted) {
            self.push(TypeUrl::Cluster, wanted, Scope::All, &mut responses);
            self.push(TypeUrl::Endpoint, wanted, Scope::All, &mut responses);
        }
        responses
    }

    fn push(
        &mut self,
        kind: TypeUrl,
        wanted: &ResourceSet,
        scope: Scope,
        responses: &mut Vec<DeltaDiscoveryResponse>,
    ) {
        let Some(delta) = self.types.get_mut(&kind).filter(|delta| delta.is_open()) else {
            return;
        };
        let fresh = match kind {
            TypeUrl::Cluster => delta.unknown(kind, wanted),
            TypeUrl::Endpoint | TypeUrl::Listener | TypeUrl::Route | TypeUrl::Secret => {
                BTreeSet::new()
            }
        };
        let nonces = &mut self.nonces;
        let next_nonce = || {
            *nonces += 1;
            nonces.to_string()
        };
        let Some(response) = delta.respond(kind, wanted, scope, next_nonce) else {
            return;
        };
        // A cluster with endpoints of its own name is one whose endpoints come by EDS.
        let endpoints = wanted.of(TypeUrl::Endpoint);
        let taken = self.delta(TypeUrl::Endpoint).map(Delta::acked);
        let is_taken = |name: &String| taken.is_some_and(|taken| taken.contains_key(name));
        let warming: Vec<_> = fresh
            .into_iter()
            .filter(|name| endpoints.contains_key(name) && !is_taken(name))
            .collect();
        self.warming.extend(warming);
        responses.push(response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: TypeUrl, nonce: &str) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: kind.as_str().to_owned(),
            response_nonce: nonce.to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    #[test]
    fn who_asks_for_all_is_answered_once_even_where_there_is_nothing() {
        let (mut session, nothing) = (Session::default(), ResourceSet::default());
        let answers = session.on_request(&request(TypeUrl::Cluster, ""), &nothing);
        assert_eq!(answers.len(), 1);
        assert!(answers[0].resources.is_empty());
        assert!(!session.is_settled(&nothing));
        let nonce = answers[0].nonce.clone();
        assert!(
            session
                .on_request(&request(TypeUrl::Cluster, &nonce), &nothing)
                .is_empty()
        );
        assert!(session.is_settled(&nothing));
    }
}
