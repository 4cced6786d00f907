//! One resource type of a session: subscriptions, what the client has, what is under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Envelope,
};
use envoy_types::pb::google::protobuf::Any;

use crate::TypeUrl;
use crate::resource::ResourceSet;

/// The name that stands for all resources of a type.
const WILDCARD: &str = "*";

/// The version of what the client may or may not have.
const UNCERTAIN: &str = "";

/// A response that the client has not answered.
#[derive(Clone, Debug)]
struct InFlight {
    nonce: String,
    sent: BTreeMap<String, String>,
    removed: BTreeSet<String>,
}

/// Which resources may go into the next response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// New and changed ones.
    Upserts,
    /// Those too that are no more.
    All,
}

/// How the client answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was no answer, or one to an old response.
    None,
    /// It has what was sent.
    Ack {
        /// Names of what was sent.
        names: BTreeSet<String>,
    },
    /// It refused the response.
    Nack {
        /// What was sent, with its versions.
        sent: BTreeMap<String, String>,
        /// Why.
        message: String,
    },
}

/// The state of one type.
#[derive(Clone, Debug, Default)]
pub(super) struct Delta {
    /// The client has spoken of the type.
    is_open: bool,
    wildcard: bool,
    names: BTreeSet<String>,
    /// What the client has, or was sent and has not taken yet, or has refused.
    known: BTreeMap<String, String>,
    acked: BTreeMap<String, String>,
    /// Subscribed names that do not exist, which the client is to be told.
    absent: BTreeSet<String>,
    in_flight: Option<InFlight>,
    /// The client asked for all and was not answered: it waits even for an answer without anything.
    owes_answer: bool,
    /// Parts of a refused response, to be sent one by one until the bad resource stands alone.
    parts: VecDeque<BTreeSet<String>>,
}

impl Delta {
    /// Takes in what a request says about subscriptions.
    pub(super) fn subscribe(&mut self, kind: TypeUrl, request: &DeltaDiscoveryRequest) {
        let is_first = !self.is_open;
        self.is_open = true;
        if is_first {
            self.wildcard = kind.is_wildcard() && request.resource_names_subscribe.is_empty();
            self.known = request
                .initial_resource_versions
                .iter()
                .map(|(name, version)| (name.clone(), version.clone()))
                .collect();
            self.acked.clone_from(&self.known);
            self.owes_answer = self.wildcard;
        }
        for name in &request.resource_names_subscribe {
            if name == WILDCARD {
                self.wildcard = true;
                self.owes_answer = true;
                continue;
            }
            self.names.insert(name.clone());
            // The protocol: who subscribes again wants the resource again.
            if !is_first {
                self.known.remove(name);
            }
            if !self.known.contains_key(name) {
                self.absent.insert(name.clone());
            }
        }
        for name in &request.resource_names_unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
                let names = &self.names;
                self.known.retain(|name, _| names.contains(name));
                self.acked.retain(|name, _| names.contains(name));
                continue;
            }
            self.names.remove(name);
            self.absent.remove(name);
            if !self.wildcard {
                self.known.remove(name);
                self.acked.remove(name);
            }
        }
    }

    /// Takes in what a request says about the last response.
    pub(super) fn answer(&mut self, request: &DeltaDiscoveryRequest) -> Answer {
        let Some(in_flight) = self
            .in_flight
            .take_if(|in_flight| in_flight.nonce == request.response_nonce)
        else {
            return Answer::None;
        };
        let Some(error) = &request.error_detail else {
            let names = in_flight.sent.keys().cloned().collect();
            for (name, version) in in_flight.sent {
                if self.is_subscribed(&name) {
                    self.acked.insert(name, version);
                }
            }
            for name in in_flight.removed {
                self.acked.remove(&name);
            }
            return Answer::Ack { names };
        };
        if in_flight.sent.len() > 1 {
            let names: Vec<_> = in_flight.sent.keys().cloned().collect();
            // Which of them the client took it did not say, only that not all.
            for name in &names {
                if let Some(version) = self.known.get_mut(name) {
                    UNCERTAIN.clone_into(version);
                }
            }
            let (left, right) = names.split_at(names.len() / 2);
            self.parts.push_front(right.iter().cloned().collect());
            self.parts.push_front(left.iter().cloned().collect());
        }
        Answer::Nack {
            sent: in_flight.sent,
            message: error.message.clone(),
        }
    }

    /// The next response, if there is something to say and nothing under way.
    pub(super) fn respond(
        &mut self,
        kind: TypeUrl,
        wanted: &ResourceSet,
        scope: Scope,
        next_nonce: impl FnOnce() -> String,
    ) -> Option<DeltaDiscoveryResponse> {
        if !self.is_open || self.in_flight.is_some() {
            return None;
        }
        let resources = wanted.of(kind);
        let names = self
            .next_part(kind, wanted)
            .unwrap_or_else(|| self.changed(kind, wanted));
        let removed = match scope {
            Scope::Upserts => BTreeSet::new(),
            Scope::All => self.removed(kind, wanted),
        };
        if names.is_empty() && removed.is_empty() && !self.owes_answer {
            return None;
        }
        self.owes_answer = false;
        let mut sent = BTreeMap::new();
        let mut envelopes = Vec::with_capacity(names.len());
        for encoded in names.iter().filter_map(|name| resources.get(name)) {
            sent.insert(encoded.name.clone(), encoded.version.clone());
            envelopes.push(Envelope {
                name: encoded.name.clone(),
                version: encoded.version.clone(),
                resource: Some(Any {
                    type_url: kind.as_str().to_owned(),
                    value: encoded.body.to_vec(),
                }),
                ..Envelope::default()
            });
        }
        for name in sent.keys() {
            self.absent.remove(name);
        }
        for name in &removed {
            self.known.remove(name);
            self.absent.remove(name);
        }
        self.known.extend(sent.clone());
        let nonce = next_nonce();
        let response = DeltaDiscoveryResponse {
            resources: envelopes,
            type_url: kind.as_str().to_owned(),
            removed_resources: removed.iter().cloned().collect(),
            nonce: nonce.clone(),
            ..DeltaDiscoveryResponse::default()
        };
        self.in_flight = Some(InFlight {
            nonce,
            sent,
            removed,
        });
        Some(response)
    }

    /// The next part of a refused response of which something is still wanted.
    fn next_part(&mut self, kind: TypeUrl, wanted: &ResourceSet) -> Option<BTreeSet<String>> {
        while let Some(mut part) = self.parts.pop_front() {
            let changed = self.changed(kind, wanted);
            part.retain(|name| changed.contains(name));
            if !part.is_empty() {
                return Some(part);
            }
        }
        None
    }

    /// Names of subscribed resources of which the client has no version, or another one.
    fn changed(&self, kind: TypeUrl, wanted: &ResourceSet) -> BTreeSet<String> {
        let resources = wanted.of(kind);
        let is_changed = |name: &String, version: &String| self.known.get(name) != Some(version);
        if self.wildcard {
            return resources
                .iter()
                .filter(|(name, encoded)| is_changed(name, &encoded.version))
                .map(|(name, _)| name.clone())
                .collect();
        }
        self.names
            .iter()
            .filter(|name| {
                resources
                    .get(*name)
                    .is_some_and(|encoded| is_changed(name, &encoded.version))
            })
            .cloned()
            .collect()
    }

    /// Names of what the client has or asked for, and that does not exist.
    fn removed(&self, kind: TypeUrl, wanted: &ResourceSet) -> BTreeSet<String> {
        let resources = wanted.of(kind);
        self.known
            .keys()
            .chain(&self.absent)
            .filter(|name| !resources.contains_key(*name))
            .cloned()
            .collect()
    }

    /// Whether new or changed resources wait to be sent.
    pub(super) fn has_unsent(&self, kind: TypeUrl, wanted: &ResourceSet) -> bool {
        self.is_open
            && (self.owes_answer
                || !self.parts.is_empty()
                || !self.changed(kind, wanted).is_empty())
    }

    /// Whether there is anything that the client was not told.
    pub(super) fn is_behind(&self, kind: TypeUrl, wanted: &ResourceSet) -> bool {
        self.has_unsent(kind, wanted) || self.is_open && !self.removed(kind, wanted).is_empty()
    }

    /// Names that the client is sent for the first time by a response of now.
    pub(super) fn unknown(&self, kind: TypeUrl, wanted: &ResourceSet) -> BTreeSet<String> {
        let mut names = self.changed(kind, wanted);
        names.retain(|name| {
            self.known
                .get(name)
                .is_none_or(|version| version == UNCERTAIN)
        });
        names
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn is_subscribed(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) const fn acked(&self) -> &BTreeMap<String, String> {
        &self.acked
    }
}
