//! What an observer of the API sees of a rollout: every phase and every weight, with its time.
//!
//! It watches the Canary and the VirtualService on its own, so that what it tells does not rest
//! on the operator's word.

use std::sync::Arc;

use fairlead_crds::canary::Canary;
use fairlead_crds::networking::VirtualService;
use fairlead_runtime::clock;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The Canary's phase, with what it says.
    Phase(String, String),
    /// The canary's weight in the VirtualService, in percent.
    Weight(i64),
    /// How many checks of the run have failed.
    FailedChecks(i64),
}

/// Records in the background until it is dropped.
#[derive(Debug)]
pub struct Timeline {
    seen: Arc<Mutex<Vec<(Timestamp, Seen)>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Timeline {
    /// Starts to watch the Canary `name` and the VirtualService of the same name.
    pub fn start(client: &Client, namespace: &str, name: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let canaries: Api<Canary> = Api::namespaced(client.clone(), namespace);
        let routes: Api<VirtualService> = Api::namespaced(client.clone(), namespace);
        let (of_canary, of_route) = (Arc::clone(&seen), Arc::clone(&seen));
        let (canary_name, route_name) = (name.to_owned(), name.to_owned());
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the timeline is dropped"
        )]
        let tasks = vec![
            tokio::spawn(async move {
                let mut stream = Box::pin(watcher::watch_object(canaries, &canary_name));
                while let Some(next) = stream.next().await {
                    if let Ok(Some(canary)) = next {
                        for seen in status(&canary) {
                            record(&of_canary, seen);
                        }
                    }
                }
            }),
            tokio::spawn(async move {
                let mut stream = Box::pin(watcher::watch_object(routes, &route_name));
                while let Some(next) = stream.next().await {
                    if let Ok(Some(route)) = next
                        && let Some(weight) = canary_weight(&route)
                    {
                        record(&of_route, Seen::Weight(weight));
                    }
                }
            }),
        ];
        Self { seen, tasks }
    }

    /// Everything so far, oldest first.
    pub fn all(&self) -> Vec<(Timestamp, Seen)> {
        self.seen.lock().clone()
    }

    /// The phases in order, repetitions left out.
    pub fn phases(&self) -> Vec<String> {
        let mut phases: Vec<String> = Vec::new();
        for (_, seen) in self.seen.lock().iter() {
            if let Seen::Phase(phase, _) = seen
                && phases.last() != Some(phase)
            {
                phases.push(phase.clone());
            }
        }
        phases
    }

    /// What the Canary said last of its phase.
    pub fn message(&self) -> Option<String> {
        let seen = self.seen.lock();
        seen.iter().rev().find_map(|(_, seen)| match seen {
            Seen::Phase(_, message) => Some(message.clone()),
            Seen::Weight(_) | Seen::FailedChecks(_) => None,
        })
    }

    /// The weights in order.
    pub fn weights(&self) -> Vec<i64> {
        let seen = self.seen.lock();
        seen.iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Weight(weight) => Some(*weight),
                Seen::Phase(..) | Seen::FailedChecks(_) => None,
            })
            .collect()
    }

    /// When `is` first held for something seen after `from`.
    pub fn first_after(&self, from: Timestamp, is: impl Fn(&Seen) -> bool) -> Option<Timestamp> {
        let seen = self.seen.lock();
        seen.iter()
            .find(|(at, seen)| *at >= from && is(seen))
            .map(|(at, _)| *at)
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn record(list: &Mutex<Vec<(Timestamp, Seen)>>, seen: Seen) {
    let mut list = list.lock();
    let same_kind = |old: &Seen| std::mem::discriminant(old) == std::mem::discriminant(&seen);
    let last = list
        .iter()
        .rev()
        .find(|(_, old)| same_kind(old))
        .map(|(_, old)| old);
    if last != Some(&seen) {
        list.push((clock::now(), seen));
    }
}

fn status(canary: &Canary) -> Vec<Seen> {
    let Some(status) = &canary.status else {
        return Vec::new();
    };
    let promoted = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Promoted");
    let message = promoted
        .map(|condition| condition.message.clone())
        .unwrap_or_default();
    let phase = status.phase.unwrap_or_default().to_string();
    let run = status
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.run.as_ref());
    let failed = run.map_or(0, |run| i64::from(run.failed_checks));
    vec![Seen::FailedChecks(failed), Seen::Phase(phase, message)]
}

/// The weight of the destination whose host ends in `-canary`, in the first route that has one.
pub fn canary_weight(route: &VirtualService) -> Option<i64> {
    let value = serde_json::to_value(&route.spec).ok()?;
    let routes = value.get("http")?.as_array()?;
    routes.iter().find_map(|http| {
        http.get("route")?
            .as_array()?
            .iter()
            .find_map(|destination| {
                let host = destination.pointer("/destination/host")?.as_str()?;
                let short = host.split('.').next()?;
                let weight = destination
                    .get("weight")
                    .and_then(serde_json::Value::as_i64);
                short.ends_with("-canary").then_some(weight.unwrap_or(0))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_not_recorded() {
        let list = Mutex::new(Vec::new());
        for weight in [0, 10, 10, 20] {
            record(&list, Seen::Weight(weight));
            record(&list, Seen::Phase("Progressing".to_owned(), String::new()));
        }
        assert_eq!(list.lock().len(), 4);
    }
}
