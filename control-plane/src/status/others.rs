//! The other replicas of the control plane, asked by the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::peers::{self, Answer, Peers, Question};
use super::progress::Verdict;
use super::writer::Candidate;
use crate::registry::watch::Live;

/// The other replicas, as the newest EndpointSlices name them.
#[derive(Debug, Clone)]
pub struct Others {
    /// Where the slices are.
    pub live: Arc<Live>,
    /// Namespace of the control plane.
    pub namespace: String,
    /// Service of the control plane.
    pub service: String,
    /// Name of this pod.
    pub pod: String,
    /// How they are asked.
    pub peers: Peers,
}

/// What the other replicas said.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By the name of the replica; nothing from one that did not answer.
    by_replica: BTreeMap<String, Option<Answer>>,
}

impl Others {
    /// Asks the others about objects.
    pub(super) async fn ask(&self, candidates: &[Candidate]) -> Answers {
        let replicas = self.live.read(|registry| {
            let slices = registry.endpoint_slices.objects().iter();
            let own = slices.filter(|(key, _)| key.namespace == self.namespace);
            peers::replicas(own.map(|(_, slice)| &**slice), &self.service, &self.pod)
        });
        if replicas.is_empty() || candidates.is_empty() {
            return Answers::default();
        }
        let question: Question = candidates
            .iter()
            .map(|candidate| {
                (
                    peers::name_of(&candidate.object),
                    candidate.state.generation,
                )
            })
            .collect();
        let mut answers = self.peers.ask(&replicas, &question).await;
        let by_replica = replicas.into_keys().map(|replica| {
            let answer = answers.remove(&replica);
            (replica, answer)
        });
        Answers {
            by_replica: by_replica.collect(),
        }
    }

    /// Names of the proxies that run.
    pub(super) fn proxies(&self) -> BTreeSet<String> {
        self.live.read(|registry| registry.proxies().collect())
    }
}

impl Answers {
    /// Whether a proxy is connected to one of them.
    pub(super) fn has(&self, proxy: &str) -> bool {
        let mut known = self.by_replica.values().flatten();
        known.any(|answer| answer.connected.contains(proxy))
    }

    /// Proxies that ought to be connected to somebody, and are to none of them.
    pub(super) fn absent(&self) -> impl Iterator<Item = &str> {
        let absent = self
            .by_replica
            .values()
            .flatten()
            .flat_map(|answer| &answer.absent);
        absent.map(String::as_str).filter(|proxy| !self.has(proxy))
    }

    /// The verdict on an object, with what they said about it.
    pub(super) fn merge(&self, candidate: &Candidate) -> Verdict {
        let name = peers::name_of(&candidate.object);
        self.by_replica
            .iter()
            .fold(candidate.verdict.clone(), |verdict, (replica, answer)| {
                let standing = answer
                    .as_ref()
                    .and_then(|answer| answer.standings.get(&name));
                peers::merge(replica, standing, verdict)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_proxy_that_moved_to_another_replica_is_not_absent() {
        let left = Answer {
            absent: names(&["moved", "lost"]),
            ..Answer::default()
        };
        let found = Answer {
            connected: names(&["moved"]),
            ..Answer::default()
        };
        let answers = Answers {
            by_replica: [("b".to_owned(), Some(left)), ("c".to_owned(), Some(found))].into(),
        };
        assert_eq!(answers.absent().collect::<Vec<_>>(), ["lost"]);
        assert!(answers.has("moved"));
    }
}
