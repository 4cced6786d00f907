//! What runs in flight are told after a start: lists of their namespace that all of them share, in
//! place of ten reads for each of hundreds before any of them can make its check.
//!
//! Such a list is as good as what is remembered: it was made after changes began to be noted, so
//! that whatever changed since is told by a watch and read again. It may lead to waiting and to
//! questions to metrics; before anything else what concerns the Canary is read.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fairlead_runtime::clock;
use kube::Client;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Reference;
use super::cluster::Cluster;
use super::memory::Memory;
use crate::listed;

/// Fewer read for themselves: a namespace may hold much that concerns none of them.
const LEAST: usize = 8;
/// Whoever has not come after this has to read.
const LONGEST: Duration = Duration::from_mins(1);

/// The lists by namespace, while somebody is to be told.
#[derive(Default)]
pub(super) struct Briefings {
    namespaces: Mutex<HashMap<String, Briefing>>,
}

struct Briefing {
    cluster: Cluster,
    since: Instant,
    /// Who was not told yet.
    awaited: HashSet<Reference>,
}

impl Briefings {
    /// The cluster as the lists of its namespace show it to `canary`, once. `newcomers` are the
    /// Canaries of the namespace that are in flight and were never looked at; of all that concerns
    /// them changes are noted from now on.
    pub(super) fn attend(
        &self,
        canary: &Reference,
        client: &Client,
        memory: &Memory,
        newcomers: impl FnOnce(&str) -> HashSet<Reference>,
    ) -> Option<Cluster> {
        let namespace = canary.namespace.clone().unwrap_or_default();
        let mut namespaces = self.namespaces.lock();
        if !namespaces.contains_key(&namespace) {
            let awaited = newcomers(&namespace);
            if awaited.len() < LEAST {
                return None;
            }
            for newcomer in &awaited {
                memory.expect(newcomer);
            }
            let briefing = Briefing {
                cluster: Cluster::new(listed::client(client.clone())),
                since: clock::instant(),
                awaited,
            };
            namespaces.insert(namespace.clone(), briefing);
        }
        let briefing = namespaces.get_mut(&namespace)?;
        let is_awaited = briefing.awaited.remove(canary);
        let told = is_awaited.then(|| briefing.cluster.clone());
        namespaces.retain(|_, briefing| !briefing.awaited.is_empty());
        told
    }

    /// Drops the lists that somebody has left without being told.
    pub(super) fn expire(&self) {
        let now = clock::instant();
        let mut namespaces = self.namespaces.lock();
        namespaces.retain(|_, briefing| now.duration_since(briefing.since) < LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::ObjectRef;

    use super::*;

    fn canary(number: usize) -> Reference {
        ObjectRef::new(&format!("web-{number}")).within("shop")
    }

    /// Whether each of some Canaries is told, with `count` newcomers.
    fn attend(briefings: &Briefings, count: usize, canaries: &[usize]) -> Vec<bool> {
        let (client, memory) = (crate::fake::cluster(|_| None), Memory::default());
        let told = canaries.iter().map(|number| {
            let newcomers = |_: &str| (0..count).map(canary).collect();
            briefings
                .attend(&canary(*number), &client, &memory, newcomers)
                .is_some()
        });
        told.collect()
    }

    #[tokio::test]
    async fn each_of_many_is_told_once() {
        let briefings = Briefings::default();
        let first = attend(&briefings, LEAST, &[0, 0, LEAST]);
        assert_eq!(first, [true, false, false]);
        let others: Vec<usize> = (1..LEAST).collect();
        assert!(attend(&briefings, 0, &others).iter().all(|told| *told));
        assert!(briefings.namespaces.lock().is_empty(), "nobody is awaited");
    }

    #[tokio::test]
    async fn a_few_read_for_themselves() {
        assert_eq!(attend(&Briefings::default(), LEAST - 1, &[0]), [false]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_late_reads_for_himself() {
        let briefings = Briefings::default();
        attend(&briefings, LEAST, &[0]);
        tokio::time::advance(LONGEST).await;
        briefings.expire();
        assert_eq!(attend(&briefings, 0, &[1]), [false]);
    }
}
