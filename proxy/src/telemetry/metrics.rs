//! The standard metrics of a mesh, counted by one worker in plain values.
//!
//! Labels are interned: a request's labels are a few small numbers, and counting it is one look-up.

use std::collections::HashMap;
use std::sync::Arc;

use super::histogram::Histogram;
use super::{Flags, Peer, Service};

/// Which end of a request counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reporter {
    /// The client's proxy.
    Source,
    /// The server's proxy.
    Destination,
}

/// How the connection between the two proxies was secured, as the destination knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Security {
    /// Both ends proved who they are.
    MutualTls,
    /// Neither did.
    Plain,
    /// The source does not tell.
    Unknown,
}

/// What a request spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP of any version.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
    /// Bytes.
    Tcp,
}

/// A number that stands for an interned value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u32);

impl Id {
    /// Stands for a peer or service of which nothing is known.
    pub const UNKNOWN: Self = Self(u32::MAX);
}

/// The ends of a request or connection and how they talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Which end counts.
    pub reporter: Reporter,
    /// The client.
    pub source: Id,
    /// The server.
    pub destination: Id,
    /// What the client asked for.
    pub service: Id,
    /// How they talk.
    pub protocol: Protocol,
    /// How it was secured.
    pub security: Security,
}

/// Labels of a finished request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// The status, 0 if there was none.
    pub code: u16,
    /// The status in gRPC's own terms.
    pub grpc: Option<u16>,
    /// Why it is so.
    pub flags: Flags,
}

/// Values of one set of request labels.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// How many.
    pub total: u64,
    /// How long they took, in milliseconds.
    pub duration: Histogram,
    /// Sizes of the requests' bodies.
    pub request_bytes: Histogram,
    /// Sizes of the responses' bodies.
    pub response_bytes: Histogram,
}

impl Requests {
    fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.duration.merge(&other.duration);
        self.request_bytes.merge(&other.request_bytes);
        self.response_bytes.merge(&other.response_bytes);
    }
}

/// Values of one set of connection labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// How many were opened.
    pub opened: u64,
    /// How many of them were closed.
    pub closed: u64,
    /// Bytes from server to client.
    pub sent: u64,
    /// Bytes from client to server.
    pub received: u64,
}

impl Connections {
    fn merge(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.sent += other.sent;
        self.received += other.received;
    }
}

#[derive(Debug, Clone)]
struct Interned<T> {
    ids: HashMap<Arc<T>, Id>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T: Eq + std::hash::Hash + Clone + Default> Interned<T> {
    fn intern(&mut self, value: &T) -> Id {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        let id = Id(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        let value = Arc::new(value.clone());
        self.values.push(Arc::clone(&value));
        self.ids.insert(value, id);
        id
    }

    fn resolve(&self, id: Id) -> Arc<T> {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        // What is not known has no labels of its own.
        self.values.get(index).cloned().unwrap_or_default()
    }
}

/// Callers that are told apart. Each names itself, and could do so with another name each time.
const MOST_CALLERS: usize = 4096;

/// All that one worker counts.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    peers: Interned<Peer>,
    services: Interned<Service>,
    requests: HashMap<(Ends, Outcome), Requests>,
    connections: HashMap<(Ends, Flags), Connections>,
    /// Lines of the access log that were dropped because nobody took them.
    pub dropped_log_lines: u64,
    /// Connections that are open now, accepted from downstream.
    pub downstream_active: u64,
}

impl Metrics {
    /// The number that stands for `peer`.
    pub fn peer(&mut self, peer: &Peer) -> Id {
        self.peers.intern(peer)
    }

    /// The number that stands for a caller that says it is `peer`; beyond a limit new ones stay
    /// unknown, so that nobody fills our memory with names.
    pub fn caller(&mut self, peer: &Peer) -> Id {
        if self.peers.values.len() >= MOST_CALLERS && !self.peers.ids.contains_key(peer) {
            return Id::UNKNOWN;
        }
        self.peer(peer)
    }

    /// The number that stands for `service`.
    pub fn service(&mut self, service: &Service) -> Id {
        self.services.intern(service)
    }

    /// The values to count a finished request in.
    pub fn requests(&mut self, ends: Ends, outcome: Outcome) -> &mut Requests {
        self.requests.entry((ends, outcome)).or_default()
    }

    /// The values to count a connection in.
    pub fn connections(&mut self, ends: Ends, flags: Flags) -> &mut Connections {
        self.connections.entry((ends, flags)).or_default()
    }

    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        for ((ends, outcome), values) in &other.requests {
            let ends = self.adopt(*ends, other);
            self.requests(ends, *outcome).merge(values);
        }
        for ((ends, flags), values) in &other.connections {
            let ends = self.adopt(*ends, other);
            self.connections(ends, *flags).merge(*values);
        }
        self.dropped_log_lines += other.dropped_log_lines;
        self.downstream_active += other.downstream_active;
    }

    /// Request series with their labels spelled out.
    pub fn request_series(
        &self,
    ) -> impl Iterator<Item = (Ends, [Arc<Peer>; 2], Arc<Service>, Outcome, &Requests)> {
        self.requests.iter().map(|((ends, outcome), values)| {
            (
                *ends,
                self.peers_of(*ends),
                self.services.resolve(ends.service),
                *outcome,
                values,
            )
        })
    }

    /// Connection series with their labels spelled out.
    pub fn connection_series(
        &self,
    ) -> impl Iterator<Item = (Ends, [Arc<Peer>; 2], Arc<Service>, Flags, Connections)> {
        self.connections.iter().map(|((ends, flags), values)| {
            (
                *ends,
                self.peers_of(*ends),
                self.services.resolve(ends.service),
                *flags,
                *values,
            )
        })
    }

    fn peers_of(&self, ends: Ends) -> [Arc<Peer>; 2] {
        [
            self.peers.resolve(ends.source),
            self.peers.resolve(ends.destination),
        ]
    }

    fn adopt(&mut self, ends: Ends, other: &Self) -> Ends {
        let [source, destination] = other.peers_of(ends);
        Ends {
            source: self.peer(&source),
            destination: self.peer(&destination),
            service: self.service(&other.services.resolve(ends.service)),
            ..ends
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_with_ever_new_names_stay_unknown_beyond_a_limit() {
        let mut metrics = Metrics::default();
        let caller = |number: usize| Peer {
            workload: number.to_string(),
            ..Peer::default()
        };
        let known: Vec<_> = (0..MOST_CALLERS)
            .map(|number| metrics.caller(&caller(number)))
            .collect();
        assert_eq!(metrics.caller(&caller(MOST_CALLERS)), Id::UNKNOWN);
        assert_eq!(metrics.caller(&caller(7)), known[7]);
        assert_ne!(metrics.peer(&caller(MOST_CALLERS)), Id::UNKNOWN);
    }
}
