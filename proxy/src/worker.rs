//! One worker: a thread with its own listeners, pools, balancers and counters.
//!
//! Workers share nothing but immutable snapshots. The control thread talks to them through
//! [`Command`]s; a snapshot is acknowledged to the control plane only after each worker runs on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::acceptor::Acceptor;
use crate::cluster::Cluster;
use crate::config::Snapshot;
use crate::drain::Drain;
use crate::telemetry::access_log::Log;
use crate::telemetry::metrics::Id;
use crate::telemetry::{Metrics, Peer};

/// Commands that may wait for a worker; it takes them between requests.
const COMMANDS: usize = 16;
/// How often idle connections are looked through and log lines are handed over.
const TICK: Duration = Duration::from_secs(1);

/// What the control thread asks of a worker.
#[derive(Debug)]
pub enum Command {
    /// Run on this from now on, and tell when you do: with what went wrong, if something did.
    Apply(Arc<Snapshot>, oneshot::Sender<Vec<String>>),
    /// Tell what you have counted.
    Collect(oneshot::Sender<Metrics>),
    /// Tell about your clusters, one line for each fact.
    Clusters(oneshot::Sender<String>),
    /// End.
    Stop,
}

/// Who we are.
#[derive(Debug, Clone)]
pub struct Me {
    /// For metrics.
    pub peer: Peer,
    /// For other proxies.
    pub header: HeaderValue,
}

/// The state of one worker.
#[derive(Debug)]
pub struct Worker {
    /// Who we are.
    pub me: Arc<Me>,
    /// The number that stands for us in this worker's metrics.
    pub me_id: Id,
    /// What we run on.
    pub snapshot: RefCell<Arc<Snapshot>>,
    /// What we count.
    pub metrics: RefCell<Metrics>,
    /// Where we log.
    pub log: Log,
    /// How far the end has come.
    pub drain: Drain,
    clusters: RefCell<HashMap<String, Rc<Cluster>>>,
    seed: Cell<u64>,
    spread: Cell<u64>,
    connections: Cell<u64>,
}

impl Worker {
    /// A worker that runs on nothing yet. `seed` makes its choices differ from others'.
    pub fn new(me: Arc<Me>, log: Option<SyncSender<String>>, drain: Drain, seed: u64) -> Self {
        let mut metrics = Metrics::default();
        let me_id = metrics.peer(&me.peer);
        Self {
            me,
            me_id,
            snapshot: RefCell::default(),
            metrics: RefCell::new(metrics),
            log: Log::new(log),
            drain,
            clusters: RefCell::default(),
            seed: Cell::new(seed),
            spread: Cell::new(seed),
            connections: Cell::new(0),
        }
    }

    /// A random number (splitmix64).
    pub fn roll(&self) -> u64 {
        let state = self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `total` from a sequence that spreads evenly (Weyl, golden ratio): shares of
    /// traffic come out as configured after few requests already, not only in the long run.
    pub fn spread(&self, total: u64) -> u64 {
        let state = self.spread.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.spread.set(state);
        let scaled = (u128::from(state) * u128::from(total)) >> 64;
        u64::try_from(scaled).unwrap_or_default()
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &str) -> Option<Rc<Cluster>> {
        self.clusters.borrow().get(name).map(Rc::clone)
    }

    /// Notes that a connection was accepted, until the guard is dropped.
    pub fn connected(self: &Rc<Self>) -> Connected {
        self.connections.set(self.connections.get() + 1);
        Connected(Rc::clone(self))
    }

    fn apply(&self, snapshot: &Arc<Snapshot>) {
        let mut clusters = self.clusters.borrow_mut();
        clusters.retain(|name, _| snapshot.clusters.contains_key(name));
        for (name, config) in &snapshot.clusters {
            let known = clusters.get(name);
            if known.is_some_and(|known| Arc::ptr_eq(&known.config, config)) {
                continue;
            }
            let cluster = Cluster::new(
                Arc::clone(config),
                known.map(|known| &**known),
                &self.metrics,
            );
            clusters.insert(name.clone(), Rc::new(cluster));
        }
        *self.snapshot.borrow_mut() = Arc::clone(snapshot);
    }

    fn collect(&self) -> Metrics {
        let mut metrics = self.metrics.borrow().clone();
        metrics.dropped_log_lines = self.log.dropped();
        metrics.downstream_active = self.connections.get();
        metrics
    }

    fn describe_clusters(&self) -> String {
        let clusters = self.clusters.borrow();
        let mut names: Vec<_> = clusters.keys().collect();
        names.sort_unstable();
        let now = fairlead_runtime::clock::instant();
        let mut text = String::new();
        for cluster in names.into_iter().filter_map(|name| clusters.get(name)) {
            let name = &cluster.config.spec.name;
            for host in cluster.every_host() {
                let address = host.address;
                let ejected = host.health.is_ejected(now);
                let health = if ejected {
                    "/failed_outlier_check"
                } else {
                    "healthy"
                };
                let fields = [
                    ("rq_active", host.active.get().to_string()),
                    ("weight", host.weight.to_string()),
                    ("health_flags", health.to_owned()),
                    ("hostname", host.hostname.clone()),
                ];
                for (field, value) in fields {
                    let _infallible = writeln!(text, "{name}::{address}::{field}::{value}");
                }
            }
        }
        text
    }

    fn tick(&self) {
        let now = fairlead_runtime::clock::instant();
        for cluster in self.clusters.borrow().values() {
            cluster.sweep(now);
        }
        self.log.flush();
    }
}

/// A connection that counts as open.
#[derive(Debug)]
pub struct Connected(Rc<Worker>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0
            .connections
            .set(self.0.connections.get().saturating_sub(1));
    }
}

/// What a worker needs to start.
#[derive(Debug)]
pub struct Start {
    /// Its number.
    pub index: usize,
    /// Who we are.
    pub me: Arc<Me>,
    /// Where log lines go.
    pub log: Option<SyncSender<String>>,
    /// How far the end has come.
    pub drain: Drain,
    /// Makes its choices differ from others'.
    pub seed: u64,
}

/// A running worker, seen from the control thread.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<thread::JoinHandle<io::Result<()>>>>,
}

impl Handle {
    /// Sends a command; false when the worker is gone.
    pub async fn send(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Waits for the worker's end.
    pub fn join(&self) -> io::Result<()> {
        let Some(thread) = self.thread.lock().take() else {
            return Ok(());
        };
        thread
            .join()
            .unwrap_or_else(|_panic| Err(io::Error::other("a worker panicked")))
    }
}

/// Starts a worker on a thread of its own.
pub fn start(start: Start) -> io::Result<Handle> {
    let (commands, receiver) = mpsc::channel(COMMANDS);
    let thread = thread::Builder::new()
        .name(format!("worker-{}", start.index))
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())?;
            runtime.block_on(run(start, receiver));
            Ok(())
        })?;
    Ok(Handle {
        commands,
        thread: Mutex::new(Some(thread)),
    })
}

async fn run(start: Start, mut commands: mpsc::Receiver<Command>) {
    let Start {
        index: _,
        me,
        log,
        drain,
        seed,
    } = start;
    let worker = Rc::new(Worker::new(me, log, drain, seed));
    let mut acceptor = Acceptor::new(Rc::clone(&worker));
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = ticks.tick() => {
                worker.tick();
                continue;
            }
        };
        match command {
            None | Some(Command::Stop) => break,
            Some(Command::Apply(snapshot, done)) => {
                worker.apply(&snapshot);
                // Nobody waits any more: the control thread is on its way out.
                let _gone = done.send(acceptor.apply(&snapshot));
            }
            Some(Command::Collect(reply)) => {
                let _gone = reply.send(worker.collect());
            }
            Some(Command::Clusters(reply)) => {
                let _gone = reply.send(worker.describe_clusters());
            }
        }
    }
    acceptor.stop();
    worker.log.flush();
}
