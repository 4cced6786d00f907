//! The open streams, for debugging and for shutting down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fairlead_runtime::clock;
use fairlead_xds::TypeUrl;
use fairlead_xds::node::Node;
use fairlead_xds::resource::ResourceSet;
use fairlead_xds::server::Session;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::metrics::Metrics;
use crate::registry::watch::Live;
use crate::status::Tracker;
use crate::status::progress::StreamId;

/// How long a proxy whose pod lives is expected back, by the longest pause between its attempts.
pub const RECONNECT: Duration = Duration::from_secs(16);

/// The open streams.
#[derive(Debug)]
pub struct Connections {
    next: AtomicU64,
    open: Mutex<BTreeMap<StreamId, Arc<Connection>>>,
    tracker: Arc<Tracker>,
    live: Arc<Live>,
    metrics: Metrics,
}

/// One stream of a proxy that has said who it is.
#[derive(Debug)]
pub struct Connection {
    id: StreamId,
    node: Arc<Node>,
    peer: Option<SocketAddr>,
    since: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wanted: Arc<ResourceSet>,
    types: BTreeMap<&'static str, TypeState>,
    is_settled: bool,
}

/// What was sent and answered of one type.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TypeState {
    /// Resources that the proxy should have.
    pub resources: usize,
    /// Responses sent.
    pub sent: u64,
    /// Responses refused.
    pub rejected: u64,
    /// What is refused now, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<String, String>,
}

/// One stream, as `/debug/syncz` shows it.
#[derive(Debug, Serialize)]
pub struct SyncState {
    proxy: String,
    proxy_type: &'static str,
    proxy_version: String,
    service_account: String,
    peer: Option<SocketAddr>,
    connected_at: Timestamp,
    status: &'static str,
    types: BTreeMap<&'static str, TypeState>,
}

/// One resource, as `/debug/config_dump` shows it.
#[derive(Debug, Serialize)]
pub struct DumpedResource {
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// Keeps a stream among the open ones until it is dropped.
#[derive(Debug)]
pub struct Guard {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Connections {
    /// No stream yet.
    pub fn new(tracker: Arc<Tracker>, live: Arc<Live>, metrics: Metrics) -> Self {
        Self {
            next: AtomicU64::new(1),
            open: Mutex::default(),
            tracker,
            live,
            metrics,
        }
    }

    /// Adds a stream.
    pub fn open(
        self: &Arc<Self>,
        node: Arc<Node>,
        peer: Option<SocketAddr>,
        now: Timestamp,
    ) -> Guard {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            id,
            node,
            peer,
            since: now,
            state: Mutex::default(),
        });
        self.open.lock().insert(id, Arc::clone(&connection));
        self.metrics.connected.inc();
        let name = connection.name().into();
        self.tracker.update(|progress| progress.connected(id, name));
        Guard {
            connections: Arc::clone(self),
            connection,
        }
    }

    /// All streams, for `/debug/syncz`.
    pub fn sync_states(&self) -> Vec<SyncState> {
        self.open
            .lock()
            .values()
            .map(|connection| connection.sync_state())
            .collect()
    }

    /// What the newest stream of a proxy should have, by type.
    pub fn config_dump(&self, proxy: &str) -> Option<BTreeMap<&'static str, Vec<DumpedResource>>> {
        let open = self.open.lock();
        let connection = open
            .values()
            .rev()
            .find(|connection| connection.name() == proxy)?;
        let wanted = Arc::clone(&connection.state.lock().wanted);
        let dump = TypeUrl::ALL.into_iter().map(|kind| {
            let resources = wanted.of(kind).values().map(|encoded| DumpedResource {
                name: encoded.name.clone(),
                version: encoded.version.clone(),
                content: content(kind, &encoded.body),
            });
            (kind.short(), resources.collect())
        });
        Some(dump.collect())
    }
}

/// The resource as text, unless it is secret.
fn content(kind: TypeUrl, body: &[u8]) -> Option<String> {
    match kind {
        TypeUrl::Secret => None,
        TypeUrl::Cluster | TypeUrl::Endpoint | TypeUrl::Listener | TypeUrl::Route => {
            fairlead_xds::proto::decode_as(kind, body)
                .ok()
                .map(|resource| format!("{resource:?}"))
        }
    }
}

impl Connection {
    fn name(&self) -> String {
        let id = &self.node.id;
        format!("{}.{}", id.pod, id.namespace)
    }

    fn sync_state(&self) -> SyncState {
        let state = self.state.lock();
        SyncState {
            proxy: self.name(),
            proxy_type: self.node.id.kind.as_str(),
            proxy_version: self.node.metadata.version.clone(),
            service_account: self.node.metadata.service_account.clone(),
            peer: self.peer,
            connected_at: self.since,
            status: if state.is_settled {
                "SYNCED"
            } else {
                "PENDING"
            },
            types: state.types.clone(),
        }
    }
}

impl Guard {
    /// The stream's number.
    pub fn id(&self) -> StreamId {
        self.connection.id
    }

    /// Notes what the proxy should have from now on.
    pub fn want(&self, wanted: &Arc<ResourceSet>) {
        let mut state = self.connection.state.lock();
        for kind in TypeUrl::ALL {
            state.types.entry(kind.short()).or_default().resources = wanted.of(kind).len();
        }
        state.wanted = Arc::clone(wanted);
    }

    /// Notes that a response was sent.
    pub fn sent(&self, kind: TypeUrl) {
        self.connection
            .state
            .lock()
            .types
            .entry(kind.short())
            .or_default()
            .sent += 1;
    }

    /// Notes how far the proxy is.
    pub fn settle(&self, session: &Session, is_settled: bool) {
        let mut state = self.connection.state.lock();
        state.is_settled = is_settled;
        for state in state.types.values_mut() {
            state.refusals.clear();
        }
        for (kind, name, rejection) in session.rejections() {
            let refusals = &mut state.types.entry(kind.short()).or_default().refusals;
            refusals.insert(name.to_owned(), rejection.message.clone());
        }
    }

    /// Notes a refusal.
    pub fn rejected(&self, kind: TypeUrl) {
        self.connection
            .state
            .lock()
            .types
            .entry(kind.short())
            .or_default()
            .rejected += 1;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.connection.id);
        self.connections.metrics.connected.dec();
        let id = self.connection.id;
        let node = &self.connection.node.id;
        let runs = self
            .connections
            .live
            .read(|registry| registry.runs(&node.namespace, &node.pod));
        let until = runs.then(|| clock::instant() + RECONNECT);
        self.connections
            .tracker
            .update(|progress| progress.disconnected(id, until));
    }
}
