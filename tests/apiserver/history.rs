//! What the API server says happened: every version of routes, endpoints, workloads and phases in
//! the order of its own revisions.
//!
//! Nothing here asks the operator; whether what happened was right stands in `rules`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use fairlead_tests::players::{gateway_routes_resource, routes_resource, slice_resource};
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::Value;

use crate::rules;
use crate::stage::PATIENCE;
use crate::target::{self, Target};

/// Versions that are told of what led to a broken rule.
const TOLD_BEFORE: usize = 12;

/// The versions of one namespace, by resource version.
pub(crate) type Versions = BTreeMap<u64, Fact>;

/// One version of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Routes to both roles.
    Route(Route),
    /// So many endpoints of a role's Service.
    Endpoints(Role, usize),
    /// What a role's workload asks for; `None` when it was deleted.
    Workload(Role, Option<Workload>),
    /// What the canary's copy of a Service as target leads to, by its image.
    Copy(String),
    /// The phase that the status shows.
    Phase(CanaryPhase),
}

/// One of the two versions of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    Canary,
}

/// How routes divide traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one object"
)]
pub(crate) struct Route {
    /// The canary's weight.
    pub(crate) canary: u8,
    /// Whether the canary gets copies of requests.
    pub(crate) mirrored: bool,
    /// Whether clients are bound to the canary, by a rule that leads nowhere else.
    pub(crate) bound: bool,
    /// Whether the weights of each rule make 100.
    pub(crate) whole: bool,
    /// Whether every proxy has this version.
    pub(crate) in_effect: bool,
}

/// What a workload asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) size: i64,
    pub(crate) image: String,
}

/// What a version of an object tells.
type Reading = Box<dyn Fn(&DynamicObject, Life) -> Option<Fact> + Send + Sync>;

/// The kinds that are recorded, and what their versions tell.
fn readings() -> Vec<(ApiResource, Reading)> {
    let mut readings: Vec<(ApiResource, Reading)> = vec![
        (routes_resource(), Box::new(|one, _| istio_route(one))),
        (
            gateway_routes_resource(),
            Box::new(|one, _| gateway_route(one)),
        ),
        (slice_resource(), Box::new(|one, _| endpoints(one))),
        (
            ApiResource::erase::<Canary>(&()),
            Box::new(|one, _| phase(one)),
        ),
    ];
    readings.extend(Target::ALL.map(|kind| {
        let reading: Reading = Box::new(move |one, life| workload(kind, one, life));
        (kind.resource(), reading)
    }));
    readings
}

/// Watches the whole cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    namespaces: Arc<Mutex<HashMap<String, Versions>>>,
    /// The newest version of each kind that was told, by the kind's plural.
    told: Arc<Mutex<HashMap<String, u64>>>,
    broken: Arc<Mutex<Option<String>>>,
}

impl Recorder {
    /// Records until dropped.
    pub(crate) async fn record(self, client: Client) {
        let followed = readings().into_iter().map(|(resource, fact)| {
            let api = Api::all_with(client.clone(), &resource);
            self.follow(api, resource.plural, fact)
        });
        if let Err(error) = try_join_all(followed).await {
            *self.broken.lock() = Some(error.to_string());
        }
    }

    async fn follow(
        &self,
        api: Api<DynamicObject>,
        plural: String,
        fact: impl Fn(&DynamicObject, Life) -> Option<Fact>,
    ) -> kube::Result<()> {
        let note = |object: &DynamicObject, life| {
            let version = object.resource_version().unwrap_or_default();
            let number = version.parse().unwrap_or_default();
            if let Some(fact) = fact(object, life) {
                let mut namespaces = self.namespaces.lock();
                let namespace = object.namespace().unwrap_or_default();
                namespaces
                    .entry(namespace)
                    .or_default()
                    .insert(number, fact);
            }
            let mut told = self.told.lock();
            let newest = told.entry(plural.clone()).or_default();
            *newest = number.max(*newest);
            version
        };
        loop {
            let list = api.list(&ListParams::default()).await?;
            for object in &list {
                note(object, Life::Living);
            }
            let mut version = list.metadata.resource_version.clone().unwrap_or_default();
            // Ends with an error of the server's cache only; then all is listed again.
            'watching: loop {
                let Ok(events) = api.watch(&WatchParams::default(), &version).await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let mut events = std::pin::pin!(events);
                // A connection that breaks is taken up where it broke: nothing is missed.
                while let Ok(Some(event)) = events.try_next().await {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            version = note(&object, Life::Living);
                        }
                        WatchEvent::Deleted(object) => version = note(&object, Life::Gone),
                        WatchEvent::Bookmark(_) => {}
                        WatchEvent::Error(_) => break 'watching,
                    }
                }
            }
        }
    }

    /// What is recorded of a namespace.
    pub(crate) fn of(&self, namespace: &str) -> History {
        History {
            recorder: self.clone(),
            namespace: namespace.to_owned(),
        }
    }
}

/// Whether an object is still there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Living,
    Gone,
}

/// The versions of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct History {
    recorder: Recorder,
    namespace: String,
}

impl History {
    /// Returns once all that the API server holds of the namespace by now is recorded: each kind has
    /// a watch of its own, and any of them may be behind what was seen by another way.
    pub(crate) async fn settled(&self, client: &Client) -> Result<()> {
        for (kind, _) in readings() {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), &self.namespace, &kind);
            let list = api.list(&ListParams::default()).await?;
            let versions = list
                .iter()
                .filter_map(|one| one.resource_version()?.parse().ok());
            let newest: u64 = versions.max().unwrap_or_default();
            let is_told = || self.recorder.told.lock().get(&kind.plural) >= Some(&newest);
            let told = async {
                while newest > 0 && !is_told() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let waited = tokio::time::timeout(PATIENCE, told).await;
            waited.with_context(|| format!("{} are not recorded", kind.plural))?;
        }
        Ok(())
    }

    /// All versions so far.
    pub(crate) fn versions(&self) -> Versions {
        let namespaces = self.recorder.namespaces.lock();
        namespaces.get(&self.namespace).cloned().unwrap_or_default()
    }

    /// The weights of the canary, each once.
    pub(crate) fn weights(&self) -> Vec<u8> {
        let versions = self.versions();
        let mut weights: Vec<u8> = versions.values().filter_map(Fact::weight).collect();
        weights.dedup();
        weights
    }

    /// The phases, each once.
    pub(crate) fn phases(&self) -> Vec<CanaryPhase> {
        let versions = self.versions();
        let mut phases: Vec<CanaryPhase> = versions.values().filter_map(Fact::phase).collect();
        phases.dedup();
        phases
    }

    /// The phase that the status shows last.
    pub(crate) fn phase(&self) -> CanaryPhase {
        self.phases().last().copied().unwrap_or_default()
    }

    /// The pods that a role's workload asks for, while it exists.
    pub(crate) fn size(&self, role: Role) -> Option<i64> {
        Some(self.workload(role)?.size)
    }

    /// The image that a role's workload runs, while it exists.
    pub(crate) fn image(&self, role: Role) -> Option<String> {
        Some(self.workload(role)?.image)
    }

    fn workload(&self, role: Role) -> Option<Workload> {
        let versions = self.versions();
        let of_role = |fact: &Fact| match fact {
            Fact::Workload(whose, workload) if *whose == role => Some(workload.clone()),
            _ => None,
        };
        versions.values().rev().find_map(of_role)?
    }

    /// Each weight above 0 that the canary got, with the pods that it was asked to have then.
    pub(crate) fn sizes_at_weights(&self) -> Vec<(u8, i64)> {
        let (mut size, mut sizes) = (0, Vec::new());
        for fact in self.versions().values() {
            match fact {
                Fact::Workload(Role::Canary, Some(workload)) => size = workload.size,
                Fact::Route(route) if route.canary > 0 => sizes.push((route.canary, size)),
                _ => {}
            }
        }
        sizes.dedup_by_key(|(weight, _)| *weight);
        sizes
    }

    /// Whether requests were ever copied to the canary.
    pub(crate) fn is_mirrored(&self) -> bool {
        let mirrors = |fact: &Fact| matches!(fact, Fact::Route(route) if route.mirrored);
        self.versions().values().any(mirrors)
    }

    /// Whether every change kept the rules.
    pub(crate) fn judge(&self) -> Result<()> {
        let broken = self.recorder.broken.lock().clone();
        ensure!(broken.is_none(), "the history has a gap: {broken:?}");
        let versions = self.versions();
        let violations = rules::violations(&versions);
        let Some((first, _)) = violations.first() else {
            return Ok(());
        };
        let mut before: Vec<_> = versions.range(..=first).rev().take(TOLD_BEFORE).collect();
        before.reverse();
        bail!("broken rules: {violations:#?}; it came to the first by {before:#?}")
    }
}

impl Route {
    /// The same once every proxy has it.
    pub(crate) const fn taken(self) -> Self {
        Self {
            in_effect: true,
            ..self
        }
    }
}

impl Fact {
    /// Tells what this is a version of.
    pub(crate) const fn concerns(&self) -> (u8, Option<Role>) {
        match self {
            Self::Route(_) => (0, None),
            Self::Endpoints(role, _) => (1, Some(*role)),
            Self::Workload(role, _) => (2, Some(*role)),
            Self::Phase(_) => (3, None),
            Self::Copy(_) => (4, None),
        }
    }

    fn weight(&self) -> Option<u8> {
        match self {
            Self::Route(route) => Some(route.canary),
            Self::Endpoints(..) | Self::Workload(..) | Self::Phase(_) | Self::Copy(_) => None,
        }
    }

    fn phase(&self) -> Option<CanaryPhase> {
        match self {
            Self::Phase(phase) => Some(*phase),
            Self::Endpoints(..) | Self::Workload(..) | Self::Route(_) | Self::Copy(_) => None,
        }
    }
}

/// The first rule that divides traffic.
fn istio_route(object: &DynamicObject) -> Option<Fact> {
    let rules = object.data["spec"]["http"].as_array()?;
    let share = |rule: &Value| {
        let hosts = rule["route"].as_array().into_iter().flatten();
        share(hosts.map(|one| (&one["destination"]["host"], &one["weight"])))
    };
    let binds = |rule: &Value| is_canary(&rule["route"][0]["destination"]["host"]);
    let rule = rules
        .iter()
        .find(|rule| !binds(rule) && share(rule).is_some())?;
    let status = &object.data["status"];
    Some(Fact::Route(Route {
        canary: share(rule)?,
        mirrored: is_canary(&rule["mirror"]["host"]),
        bound: rules.iter().any(binds),
        whole: rules.iter().all(|rule| is_whole(&rule["route"])),
        in_effect: status["observedGeneration"].as_i64() >= object.metadata.generation,
    }))
}

/// The first rule that divides traffic.
fn gateway_route(object: &DynamicObject) -> Option<Fact> {
    let rules = object.data["spec"]["rules"].as_array()?;
    let share = |rule: &Value| {
        let backends = rule["backendRefs"].as_array().into_iter().flatten();
        share(backends.map(|one| (&one["name"], &one["weight"])))
    };
    let binds = |rule: &Value| is_canary(&rule["backendRefs"][0]["name"]);
    let rule = rules
        .iter()
        .find(|rule| !binds(rule) && share(rule).is_some())?;
    let mut filters = rule["filters"].as_array().into_iter().flatten();
    let accepted = &object.data["status"]["parents"][0]["conditions"][0];
    Some(Fact::Route(Route {
        canary: share(rule)?,
        mirrored: filters.any(|one| is_canary(&one["requestMirror"]["backendRef"]["name"])),
        bound: rules.iter().any(binds),
        whole: rules.iter().all(|rule| is_whole(&rule["backendRefs"])),
        in_effect: accepted["observedGeneration"].as_i64() >= object.metadata.generation,
    }))
}

fn share<'a>(mut weights: impl Iterator<Item = (&'a Value, &'a Value)>) -> Option<u8> {
    let (_, weight) = weights.find(|(name, _)| is_canary(name))?;
    weight.as_u64()?.try_into().ok()
}

fn is_canary(name: &Value) -> bool {
    name.as_str().is_some_and(|name| name.ends_with("-canary"))
}

/// A single destination needs no weight.
fn is_whole(destinations: &Value) -> bool {
    let weights = destinations.as_array().into_iter().flatten();
    let weights: Vec<Option<i64>> = weights.map(|one| one["weight"].as_i64()).collect();
    weights == [None] || weights.into_iter().flatten().sum::<i64>() == 100
}

fn endpoints(object: &DynamicObject) -> Option<Fact> {
    let ready = object.data["endpoints"].as_array().map_or(0, Vec::len);
    match object.name_any().as_str() {
        "podinfo-canary" => Some(Fact::Endpoints(Role::Canary, ready)),
        "podinfo-primary" => Some(Fact::Endpoints(Role::Primary, ready)),
        _ => None,
    }
}

fn workload(kind: Target, object: &DynamicObject, life: Life) -> Option<Fact> {
    let spec = &object.data["spec"];
    if kind == Target::Service && spec["selector"]["version"].is_null() {
        // That of a workload, which is told of by itself.
        return None;
    }
    let role = match object.name_any().as_str() {
        "podinfo" => Role::Canary,
        "podinfo-primary" => Role::Primary,
        "podinfo-canary" => return Some(Fact::Copy(target::image(spec))),
        _ => return None,
    };
    let workload = Workload {
        size: kind.size(spec),
        image: target::image(spec),
    };
    Some(Fact::Workload(
        role,
        (life == Life::Living).then_some(workload),
    ))
}

fn phase(object: &DynamicObject) -> Option<Fact> {
    let phase = object.data["status"].get("phase")?;
    let own = object.name_any() == "podinfo";
    own.then(|| serde_json::from_value(phase.clone()).ok().map(Fact::Phase))?
}
