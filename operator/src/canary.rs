//! Canaries: observe, decide, store the intent, execute, until there is nothing left to do.
//!
//! Decisions are made by [`fairlead_rollout::step`] alone. Watches start a look; only the pace of
//! checks comes from a timer. The order of a look is what makes a crash harmless: the state is
//! stored, guarded by the version that the look began with, before anything follows from it.

mod accept;
mod bake;
mod briefing;
mod capacity;
mod checks;
mod cleanup;
mod cluster;
mod compare;
mod desk;
mod directory;
mod events;
mod evidence;
mod execute;
mod fights;
pub mod forecast;
mod grounds;
pub(crate) mod history;
mod inert;
mod judgement;
mod line;
mod look;
mod measure;
mod memory;
mod metrics;
mod objects;
mod observe;
mod pods;
pub mod preview;
pub mod question;
mod refuse;
mod revision;
mod rival;
mod share;
mod sight;
mod status;
pub mod steer;
mod steps;
mod strategy;
pub mod takeover;
mod urgency;
pub mod validate;
mod wakers;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use fairlead_controller::{ApiError, Class, Failure};
use fairlead_crds::canary::Canary;
use fairlead_runtime::{clock, report};
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt};

pub use self::metrics::Metrics;
pub use self::watch::spawn;

use self::accept::accept;
use self::briefing::Briefings;
use self::cluster::Cluster;
use self::desk::Desk;
use self::directory::Directory;
use self::events::{Teller, Trouble};
use self::fights::Fights;
use self::line::Line;
use self::look::Look;
use self::measure::Sources;
use self::memory::Memory;
use self::rival::{Rival, rival};
use self::sight::Part;
use self::steer::Stamps;
use self::validate::Limits;
use crate::analysis::mesh::Mesh;
use crate::router::apex;
use crate::trace::Tracer;

/// The field manager of everything that a Canary writes.
pub const FIELD_MANAGER: &str = "fairlead-operator";
/// When to look again at a rollout that something outside holds.
const HELD_POLL: Duration = Duration::from_secs(30);

type Guarded = DeserializeGuard<Canary>;
type Reference = ObjectRef<Guarded>;

/// What a look needs.
struct Context {
    cluster: Cluster,
    store: Store<Guarded>,
    directory: Arc<Directory>,
    limits: Limits,
    stamps: Stamps,
    sources: Sources,
    desk: Desk,
    memory: Arc<Memory>,
    briefings: Briefings,
    line: Line,
    fights: Fights,
    teller: Teller,
    tracer: Tracer,
    metrics: Metrics,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The Canary could not be read.
    #[error("failed to read the Canary")]
    Fetch(#[source] ApiError),
    /// Its status could not be written.
    #[error("failed to write the status of the Canary")]
    StoreStatus(#[source] ApiError),
    /// What was stored is not there: the cluster has another definition of the kind.
    #[error(
        "the definition `canaries.flagger.app` of this cluster drops `status.rollout`, without which \
         no rollout is safe: install the chart with `crds.install=true`, or apply \
         `crds/canaries.flagger.app.yaml`"
    )]
    Dropped,
    /// Its finalizer could not be written.
    #[error("failed to write the finalizer of the Canary")]
    Finalize(#[source] ApiError),
    /// The cluster could not be looked at.
    #[error("failed to observe the rollout")]
    Observe(#[source] observe::Error),
    /// An effect failed.
    #[error("failed to carry out the rollout")]
    Execute(#[source] execute::Error),
}

impl Failure for Error {
    fn class(&self) -> Class {
        match self {
            Self::Dropped
            | Self::Execute(execute::Error::Lost(_) | execute::Error::Forgotten(_)) => {
                Class::Waiting(HELD_POLL)
            }
            Self::Fetch(_)
            | Self::StoreStatus(_)
            | Self::Finalize(_)
            | Self::Observe(_)
            | Self::Execute(_) => Class::Transient,
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch",
            Self::StoreStatus(_) => "store-status",
            Self::Dropped => "definition",
            Self::Finalize(_) => "finalize",
            Self::Observe(_) => "observe",
            Self::Execute(_) => "execute",
        }
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// One look at a Canary, when it is its turn.
async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action> {
    let reference = ObjectRef::from_obj(&*object);
    let now = clock::now();
    let endpoints_changed = context.memory.has_changed(&reference, Part::Endpoints);
    let urgency = object.0.as_ref().map_or(now, |canary| {
        urgency::urgency(canary, endpoints_changed, now)
    });
    context.briefings.expire();
    let line = context.line.clone();
    let look = async {
        // What has come in while it waited concerns this look already.
        let newest = context.store.get(&reference).unwrap_or(object);
        Box::pin(look(newest, context)).await
    };
    let outcome = line.pass(urgency, look).await;
    outcome.unwrap_or_else(|| Ok(Action::await_change()))
}

async fn look(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action> {
    let api = context.api(&object);
    let reference = ObjectRef::from_obj(&*object);
    let (known, briefing) = match &object.0 {
        // Of a run in progress that was not looked at yet, what the watch tells is as good: whatever
        // follows from it is guarded by its version.
        Ok(watched) if context.is_newcomer(&reference, watched) => {
            (Some(watched.clone()), context.brief(&reference))
        }
        Ok(watched) => (context.memory.newest(&reference, watched), None),
        Err(invalid) => return context.refuse_unreadable(&object, &invalid.error).await,
    };
    let is_current = known.is_none();
    let canary = match known {
        Some(canary) => canary,
        // client required: the cache may not hold our own last write yet.
        None => match api.get_opt(&object.name_any()).await {
            Ok(Some(canary)) => canary,
            Ok(None) => {
                context.leave(&reference, object.uid());
                return Ok(Action::await_change());
            }
            Err(source) => return Err(Error::Fetch(source.into())),
        },
    };
    // pure
    let accepted = match accept(&canary, &context.limits) {
        Ok(accepted) => accepted,
        Err(error) => {
            let note = error.to_string();
            return Box::pin(context.refuse(&api, canary, Trouble::Invalid, note)).await;
        }
    };
    if let Some(rival) = context.rival(&canary) {
        let note = rival.to_string();
        return Box::pin(context.refuse(&api, canary, Trouble::TargetTaken, note)).await;
    }
    let begun = clock::instant();
    let mut look = Look::new(&context, api, canary, is_current, accepted).briefed(briefing);
    let outcome = Box::pin(look.run()).await;
    context
        .metrics
        .took(look.plan(), begun.elapsed().as_secs_f64());
    if let Err(error) = &outcome {
        context.memory.release(&reference);
        let note = report(error).to_string();
        look.stumble(&note).await;
    }
    outcome
}

impl Context {
    fn api(&self, object: &Guarded) -> Api<Canary> {
        Api::namespaced(
            self.cluster.client.clone(),
            &object.namespace().unwrap_or_default(),
        )
    }

    /// Forgets a Canary that is gone.
    fn leave(&self, canary: &Reference, uid: Option<String>) {
        leave(&self.desk, &self.sources.mesh, &self.memory, canary, uid);
    }

    /// Whether a run is in progress that was never looked at: this has just begun to lead.
    fn is_newcomer(&self, reference: &Reference, canary: &Canary) -> bool {
        let state = || canary.status.as_ref().map(status::load);
        self.memory.is_new(reference) && state().is_some_and(|state| state.is_under_way())
    }

    /// What a newcomer may rely on at first, where there are many of them in its namespace.
    fn brief(&self, reference: &Reference) -> Option<Cluster> {
        let newcomers = |namespace: &str| {
            let is_neighbour =
                |canary: &&Arc<Guarded>| canary.meta().namespace.as_deref() == Some(namespace);
            let all = self.store.state();
            let readable = all
                .iter()
                .filter(is_neighbour)
                .filter_map(|one| one.0.as_ref().ok());
            let named = readable
                .map(|canary| (ObjectRef::new(&canary.name_any()).within(namespace), canary));
            let new = named.filter(|(reference, canary)| self.is_newcomer(reference, canary));
            new.map(|(reference, _)| reference).collect()
        };
        let client = &self.cluster.client;
        self.briefings
            .attend(reference, client, &self.memory, newcomers)
    }

    /// The older Canary that wants the same.
    fn rival(&self, canary: &Canary) -> Option<Rival> {
        let namespace = canary.namespace().unwrap_or_default();
        let target = &canary.spec.target_ref.name;
        let mut named = self.directory.of_target(&namespace, target);
        named.extend(self.directory.of_service(&namespace, apex(canary)));
        let others: Vec<_> = named
            .iter()
            .filter_map(|other| self.store.get(other))
            .collect();
        rival(
            canary,
            others.iter().filter_map(|other| other.0.as_ref().ok()),
        )
    }
}

/// Forgets a Canary that is gone: its questions, what is counted for it and what was read.
fn leave(desk: &Desk, mesh: &Mesh, memory: &Memory, canary: &Reference, uid: Option<String>) {
    let uid = uid.unwrap_or_default();
    desk.clear(&uid, None);
    mesh.stop_comparing(&uid);
    memory.release(canary);
}
