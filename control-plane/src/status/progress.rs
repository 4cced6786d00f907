//! How far each generation of an object has come: which proxies that use it have accepted it.
//!
//! Pure bookkeeping. A proxy counts for an object while it uses it, or used it in what it last
//! accepted: a proxy that must forget a route counts as much as one that must learn it. A proxy
//! whose stream ended while its pod lives goes on counting for a while: it still carries traffic by
//! what it knows, and is about to connect again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::ObjectRef;

/// Number of a snapshot; later ones are greater.
pub type Sequence = u64;
/// Number of a proxy's stream.
pub type StreamId = u64;
/// The objects that a proxy's configuration was made from.
pub type Uses = Arc<BTreeSet<ObjectRef>>;

/// What is known about the objects and the proxies.
#[derive(Debug, Default)]
pub struct Progress {
    objects: BTreeMap<ObjectRef, Object>,
    proxies: BTreeMap<StreamId, Proxy>,
    /// Those without a stream, by name, and until when they count.
    absent: BTreeMap<Arc<str>, (Proxy, Instant)>,
}

/// One object, in the form that the newest snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its uid, which tells it from a later one of the same name.
    pub uid: Option<String>,
    /// Its generation.
    pub generation: i64,
    /// The first snapshot that held this generation.
    pub since: Sequence,
    /// Why a part of it has no effect.
    pub problems: Vec<String>,
    /// What probably was not meant.
    pub hints: Vec<String>,
}

#[derive(Debug)]
struct Proxy {
    name: Arc<str>,
    sent: Sequence,
    accepted: Sequence,
    uses_sent: Uses,
    uses_accepted: Uses,
    rejection: Option<(Sequence, String)>,
}

/// Where one generation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every proxy that uses it has accepted it.
    Live,
    /// Some proxies have not answered yet.
    Pending {
        /// Their names.
        waiting: Vec<Arc<str>>,
    },
    /// A proxy refused what was made of it.
    Rejected {
        /// The proxy.
        proxy: Arc<str>,
        /// What it said.
        message: String,
    },
    /// A part of it has no effect, whatever proxies say.
    Invalid,
}

impl Progress {
    /// Notes the objects of a new snapshot.
    pub fn snapshot(&mut self, objects: BTreeMap<ObjectRef, Object>) {
        let previous = std::mem::replace(&mut self.objects, objects);
        for (key, known) in previous {
            if let Some(object) = self.objects.get_mut(&key)
                && object.generation == known.generation
                && object.uid == known.uid
            {
                object.since = known.since;
            }
        }
    }

    /// Notes a new stream, which has accepted nothing yet.
    pub fn connected(&mut self, stream: StreamId, name: Arc<str>) {
        let before = self.absent.remove(&name);
        let mut proxy = Proxy::new(name);
        if let Some((before, _)) = before {
            proxy.uses_accepted = before.uses_accepted;
        }
        self.proxies.insert(stream, proxy);
    }

    /// Notes the end of a stream; the proxy counts until the time given, if any.
    pub fn disconnected(&mut self, stream: StreamId, until: Option<Instant>) {
        if let (Some(proxy), Some(until)) = (self.proxies.remove(&stream), until) {
            self.absent.insert(Arc::clone(&proxy.name), (proxy, until));
        }
    }

    /// Notes a proxy that is known to run without a stream here. Where it is awaited already, it
    /// is for no longer.
    pub fn expect(&mut self, name: Arc<str>, until: Instant) {
        if self.proxies.values().all(|proxy| proxy.name != name) {
            self.absent
                .entry(name)
                .or_insert_with_key(|name| (Proxy::new(Arc::clone(name)), until));
        }
    }

    /// Forgets proxies without a stream that no longer count, or that `counts` says nothing for.
    pub fn retain_absent(&mut self, now: Instant, counts: impl Fn(&str) -> bool) {
        self.absent
            .retain(|name, (_, until)| now < *until && counts(name));
    }

    /// Notes that a stream has been sent all that snapshot `sequence` changes for it.
    pub fn sent(&mut self, stream: StreamId, sequence: Sequence, uses: Uses) {
        if let Some(proxy) = self.proxies.get_mut(&stream) {
            proxy.sent = sequence;
            proxy.uses_sent = uses;
        }
    }

    /// Notes that a stream has accepted all that it was sent.
    pub fn accepted(&mut self, stream: StreamId) {
        if let Some(proxy) = self.proxies.get_mut(&stream) {
            proxy.accepted = proxy.sent;
            proxy.uses_accepted = Uses::clone(&proxy.uses_sent);
            proxy.rejection = None;
        }
    }

    /// Notes that a stream has refused something that it was sent.
    pub fn rejected(&mut self, stream: StreamId, message: String) {
        if let Some(proxy) = self.proxies.get_mut(&stream) {
            proxy.rejection = Some((proxy.sent, message));
        }
    }

    /// The objects of the newest snapshot.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectRef, &Object)> {
        self.objects.iter()
    }

    /// One object of the newest snapshot.
    pub fn object(&self, of: &ObjectRef) -> Option<&Object> {
        self.objects.get(of)
    }

    /// Whether a proxy that uses an object has refused what it was sent last.
    pub fn is_refused(&self, object: &ObjectRef) -> bool {
        let mut refusing = self
            .proxies
            .values()
            .filter(|proxy| proxy.rejection.is_some());
        refusing.any(|proxy| proxy.uses_sent.contains(object))
    }

    /// Names of the proxies with a stream.
    pub fn connected_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.proxies.values().map(|proxy| &proxy.name)
    }

    /// Names of the proxies without a stream that count.
    pub fn absent_names(&self, now: Instant) -> impl Iterator<Item = &Arc<str>> {
        self.absent
            .iter()
            .filter(move |(_, (_, until))| now < *until)
            .map(|(name, _)| name)
    }

    /// Where the newest generation of an object stands with the proxies that have a stream.
    pub fn verdict_of_streams(&self, of: &ObjectRef) -> Option<Verdict> {
        self.judge(of, None)
    }

    /// Where the newest generation of an object stands, if it is in the newest snapshot.
    pub fn verdict(&self, of: &ObjectRef, now: Instant) -> Option<Verdict> {
        self.judge(of, Some(now))
    }

    fn judge(&self, of: &ObjectRef, absent_at: Option<Instant>) -> Option<Verdict> {
        let object = self.objects.get(of)?;
        if !object.problems.is_empty() {
            return Some(Verdict::Invalid);
        }
        let users = || {
            let absent = self.absent.values();
            let absent = absent.filter(|(_, until)| absent_at.is_some_and(|now| now < *until));
            let known = self.proxies.values().chain(absent.map(|(proxy, _)| proxy));
            known.filter(|proxy| proxy.concerns(of, object.since))
        };
        let refusal = users().find_map(|proxy| match &proxy.rejection {
            Some((sequence, message))
                if proxy.accepted < object.since && object.since <= *sequence =>
            {
                let proxy = Arc::clone(&proxy.name);
                Some(Verdict::Rejected {
                    proxy,
                    message: message.clone(),
                })
            }
            _ => None,
        });
        if refusal.is_some() {
            return refusal;
        }
        let waiting: Vec<Arc<str>> = users()
            .filter(|proxy| proxy.accepted < object.since)
            .map(|proxy| Arc::clone(&proxy.name))
            .collect();
        Some(if waiting.is_empty() {
            Verdict::Live
        } else {
            Verdict::Pending { waiting }
        })
    }
}

impl Proxy {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            sent: 0,
            accepted: 0,
            uses_sent: Uses::default(),
            uses_accepted: Uses::default(),
            rejection: None,
        }
    }

    /// A proxy that has not been sent the generation yet may be about to use it.
    fn concerns(&self, object: &ObjectRef, since: Sequence) -> bool {
        self.sent < since || self.uses_sent.contains(object) || self.uses_accepted.contains(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlead_translate::{Kind, ObjectKey};

    fn now() -> Instant {
        Instant::now()
    }

    fn key(name: &str) -> ObjectRef {
        ObjectRef {
            kind: Kind::VirtualService,
            key: ObjectKey::new("shop", name),
        }
    }

    fn object(name: &str, generation: i64, since: Sequence) -> (ObjectRef, Object) {
        let (problems, hints) = (Vec::new(), Vec::new());
        (
            key(name),
            Object {
                uid: None,
                generation,
                since,
                problems,
                hints,
            },
        )
    }

    fn uses(names: &[&str]) -> Uses {
        Arc::new(names.iter().map(|name| key(name)).collect())
    }

    fn progress(generation: i64, sequence: Sequence) -> Progress {
        let mut progress = Progress::default();
        progress.snapshot([object("web", generation, sequence)].into());
        progress
    }

    #[test]
    fn an_object_that_no_proxy_uses_is_live_at_once() {
        let progress = progress(1, 1);
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
        assert_eq!(progress.verdict(&key("gone"), now()), None);
    }

    #[test]
    fn waits_for_every_proxy_that_uses_it() {
        let mut progress = progress(1, 1);
        progress.connected(1, "a".into());
        progress.connected(2, "b".into());
        progress.sent(1, 1, uses(&["web"]));
        progress.accepted(1);
        progress.sent(2, 1, uses(&["web"]));
        let pending = Verdict::Pending {
            waiting: vec!["b".into()],
        };
        assert_eq!(progress.verdict(&key("web"), now()), Some(pending));
        progress.accepted(2);
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
    }

    #[test]
    fn a_proxy_that_does_not_use_it_does_not_hold_it_up() {
        let mut progress = progress(1, 1);
        progress.connected(1, "other".into());
        progress.sent(1, 1, uses(&["elsewhere"]));
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
    }

    #[test]
    fn a_proxy_that_must_forget_it_counts_until_it_has() {
        let mut progress = progress(1, 1);
        progress.connected(1, "a".into());
        progress.sent(1, 1, uses(&["web"]));
        progress.accepted(1);
        progress.snapshot([object("web", 2, 2)].into());
        progress.sent(1, 2, uses(&[]));
        assert!(matches!(
            progress.verdict(&key("web"), now()),
            Some(Verdict::Pending { .. })
        ));
        progress.accepted(1);
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
    }

    #[test]
    fn a_snapshot_without_a_new_generation_changes_no_verdict() {
        let mut progress = progress(1, 1);
        progress.connected(1, "a".into());
        progress.sent(1, 1, uses(&["web"]));
        progress.accepted(1);
        progress.snapshot([object("web", 1, 2)].into());
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
    }

    #[test]
    fn a_refusal_is_reported_until_the_proxy_accepts_something_newer() {
        let mut progress = progress(1, 1);
        progress.connected(1, "a".into());
        progress.sent(1, 1, uses(&["web"]));
        progress.rejected(1, "no such cluster".to_owned());
        let rejected = Verdict::Rejected {
            proxy: "a".into(),
            message: "no such cluster".to_owned(),
        };
        assert_eq!(progress.verdict(&key("web"), now()), Some(rejected));
        progress.sent(1, 2, uses(&["web"]));
        progress.accepted(1);
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
    }

    #[test]
    fn a_refusal_says_nothing_about_what_was_accepted_before() {
        let mut progress = progress(1, 1);
        progress.connected(1, "a".into());
        progress.sent(1, 1, uses(&["web"]));
        progress.accepted(1);
        progress.snapshot([object("web", 1, 2), object("new", 1, 2)].into());
        progress.sent(1, 2, uses(&["web", "new"]));
        progress.rejected(1, "bad".to_owned());
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
        assert!(matches!(
            progress.verdict(&key("new"), now()),
            Some(Verdict::Rejected { .. })
        ));
    }

    #[test]
    fn a_proxy_that_goes_away_is_no_longer_waited_for() {
        let mut progress = progress(1, 1);
        progress.connected(1, "a".into());
        assert!(matches!(
            progress.verdict(&key("web"), now()),
            Some(Verdict::Pending { .. })
        ));
        progress.disconnected(1, None);
        assert_eq!(progress.verdict(&key("web"), now()), Some(Verdict::Live));
    }

    #[test]
    fn a_proxy_without_a_stream_counts_for_a_while_by_what_it_knows() {
        let mut progress = progress(1, 1);
        progress.connected(1, "a".into());
        progress.sent(1, 1, uses(&["web"]));
        progress.accepted(1);
        let start = now();
        let until = start + std::time::Duration::from_secs(10);
        progress.disconnected(1, Some(until));
        assert_eq!(progress.verdict(&key("web"), start), Some(Verdict::Live));
        progress.snapshot([object("web", 2, 2)].into());
        let pending = Some(Verdict::Pending {
            waiting: vec!["a".into()],
        });
        assert_eq!(progress.verdict(&key("web"), start), pending);
        assert_eq!(progress.verdict(&key("web"), until), Some(Verdict::Live));
        progress.connected(2, "a".into());
        assert_eq!(progress.verdict(&key("web"), until), pending);
        // It no longer uses it, but has to forget it first.
        progress.sent(2, 2, uses(&[]));
        assert_eq!(progress.verdict(&key("web"), until), pending);
        progress.accepted(2);
        assert_eq!(progress.verdict(&key("web"), until), Some(Verdict::Live));
    }

    #[test]
    fn a_proxy_that_runs_is_waited_for_before_it_connects_and_not_after_it_is_gone() {
        let mut progress = progress(1, 1);
        let start = now();
        let until = start + std::time::Duration::from_secs(10);
        progress.expect("a".into(), until);
        assert!(matches!(
            progress.verdict(&key("web"), start),
            Some(Verdict::Pending { .. })
        ));
        progress.retain_absent(start, |name| name != "a");
        assert_eq!(progress.verdict(&key("web"), start), Some(Verdict::Live));
    }
}
