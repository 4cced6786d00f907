//! The window against a world in which every request is known.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_secs(5);
const EVER: Duration = Duration::from_secs(3600);

fn target() -> Target {
    Target {
        namespace: "test".to_owned(),
        workload: Some("podinfo".to_owned()),
        service: "podinfo-canary".to_owned(),
    }
}

/// A world of proxies: who counted what, and what really happened.
struct World {
    start: Instant,
    now: Duration,
    proxies: BTreeMap<Process, (Timestamp, Counts)>,
    silent: BTreeSet<Process>,
    history: History,
}

impl World {
    fn new() -> Self {
        Self {
            start: fairlead_runtime::clock::instant(),
            now: Duration::ZERO,
            proxies: BTreeMap::new(),
            silent: BTreeSet::new(),
            history: History::default(),
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.now
    }

    fn start(&mut self, pod: &str, restarts: i32) {
        let process = process(pod, restarts);
        let time = self.time();
        self.proxies.insert(process, (time, Counts::default()));
    }

    fn count(&mut self, pod: &str, requests: u64, failed: u64) {
        let counted = Counts::for_tests(requests, failed, &[(10.0, requests)]);
        let proxy = self
            .proxies
            .iter_mut()
            .find(|(process, _)| process.pod == pod);
        if let Some((_, (_, counts))) = proxy {
            counts.add(&counted);
        }
    }

    fn read(&mut self) {
        self.read_after(STEP);
    }

    fn read_after(&mut self, pause: Duration) {
        self.now += pause;
        let mut readings = BTreeMap::new();
        for (process, (started, counts)) in &self.proxies {
            if !self.silent.contains(process) {
                let reading = Reading {
                    started: *started,
                    counts: BTreeMap::from([(target(), counts.clone())]),
                };
                readings.insert(process.clone(), reading);
            }
        }
        let snapshot = Snapshot {
            at: self.start + self.now,
            time: self.time(),
            readings,
            silent: self.silent.iter().cloned().collect(),
        };
        self.history.push(snapshot, EVER);
    }

    fn seen(&self, window: Duration) -> (u64, u64) {
        let counts = self.history.window(&target(), window);
        (counts.requests, counts.failed)
    }
}

fn process(pod: &str, restarts: i32) -> Process {
    Process {
        pod: pod.to_owned(),
        restarts,
    }
}

#[test]
fn what_was_counted_before_the_first_reading_is_not_in_the_window() {
    let mut world = World::new();
    world.start("a", 0);
    world.count("a", 1000, 500);
    world.read();
    assert_eq!(world.seen(EVER), (0, 0));
    world.count("a", 10, 1);
    world.read();
    assert_eq!(world.seen(EVER), (10, 1));
}

#[test]
fn frequent_readings_are_not_all_kept_and_lose_nothing() {
    let mut world = World::new();
    world.start("a", 0);
    world.read();
    for _ in 0..100 {
        world.count("a", 10, 1);
        world.read_after(Duration::from_millis(250));
        assert_eq!(
            world.history.last().map(|last| last.at),
            Some(world.start + world.now)
        );
    }
    assert_eq!(world.seen(EVER), (1000, 100));
    assert!(world.history.0.len() <= 14, "{}", world.history.0.len());
}

#[test]
fn a_restarted_proxy_begins_a_new_window_and_takes_nothing_away() {
    let mut world = World::new();
    world.start("a", 0);
    world.read();
    world.count("a", 100, 0);
    world.read();
    world.proxies.clear();
    world.start("a", 1);
    world.count("a", 7, 7);
    world.read();
    assert_eq!(world.seen(EVER), (107, 7));
}

#[test]
fn a_restart_that_nobody_tells_of_is_seen_by_smaller_counters() {
    let mut world = World::new();
    world.start("a", 0);
    world.read();
    world.count("a", 100, 50);
    world.read();
    let (_, counts) = world.proxies.get_mut(&process("a", 0)).unwrap();
    *counts = Counts::for_tests(3, 0, &[(10.0, 3)]);
    world.read();
    assert_eq!(world.seen(EVER), (103, 50));
}

#[test]
fn an_old_proxy_that_is_seen_for_the_first_time_adds_only_what_comes_after() {
    let mut world = World::new();
    world.start("a", 0);
    world.start("b", 0);
    world.count("b", 1000, 1000);
    world.silent.insert(process("b", 0));
    world.read();
    world.silent.clear();
    world.read();
    assert_eq!(world.seen(EVER), (0, 0));
    world.count("b", 5, 0);
    world.read();
    assert_eq!(world.seen(EVER), (5, 0));
}

#[test]
fn a_proxy_that_does_not_answer_once_loses_nothing() {
    let mut world = World::new();
    world.start("a", 0);
    world.start("b", 0);
    world.read();
    world.count("a", 5, 5);
    world.silent.insert(process("a", 0));
    world.read();
    world.silent.clear();
    world.count("a", 5, 0);
    world.read();
    assert_eq!(world.seen(EVER), (10, 5));
}

#[test]
fn only_what_happened_inside_of_the_window_counts() {
    let mut world = World::new();
    world.start("a", 0);
    world.read();
    for _ in 0..10 {
        world.count("a", 1, 0);
        world.read();
    }
    assert_eq!(world.seen(3 * STEP), (3, 0));
    assert_eq!(world.seen(EVER), (10, 0));
    assert_eq!(world.history.span(&target()), 10 * STEP);
}

#[test]
fn old_snapshots_are_forgotten_but_for_the_start_of_the_window() {
    let mut history = History::default();
    let start = fairlead_runtime::clock::instant();
    for count in 0..100_u32 {
        let snapshot = Snapshot {
            at: start + STEP * count,
            time: Timestamp::UNIX_EPOCH,
            readings: BTreeMap::new(),
            silent: Vec::new(),
        };
        history.push(snapshot, 4 * STEP);
    }
    assert_eq!(history.0.len(), 5);
}

/// What may happen between two readings.
#[derive(Clone, Debug)]
enum Happening {
    Start(u8),
    Restart(u8),
    Stop(u8),
    Requests(u8, u64, u64),
    Silence(u8),
    Read,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let pod = || 0..4_u8;
    let one = prop_oneof![
        2 => pod().prop_map(Happening::Start),
        1 => pod().prop_map(Happening::Restart),
        1 => pod().prop_map(Happening::Stop),
        6 => (pod(), 0..100_u64, 0..100_u64).prop_map(|(pod, good, bad)| {
            Happening::Requests(pod, good, bad)
        }),
        1 => pod().prop_map(Happening::Silence),
        4 => Just(Happening::Read),
    ];
    prop::collection::vec(one, 0..80)
}

/// Lets it all happen; returns what the window saw and what really happened since the first reading,
/// and whether anything was lost on the way.
fn play(happenings: &[Happening]) -> ((u64, u64), (u64, u64), bool) {
    let mut world = World::new();
    let mut lives: BTreeMap<u8, i32> = BTreeMap::new();
    let mut truth = (0, 0);
    let mut is_lossy = false;
    // A proxy from before the first reading.
    world.start("first", 0);
    world.read();
    for happening in happenings {
        match happening {
            Happening::Start(pod) if !lives.contains_key(pod) => {
                lives.insert(*pod, 0);
                world.start(&pod.to_string(), 0);
            }
            Happening::Restart(pod) => {
                if let Some(restarts) = lives.get_mut(pod) {
                    world.proxies.remove(&process(&pod.to_string(), *restarts));
                    *restarts += 1;
                    world.start(&pod.to_string(), *restarts);
                    is_lossy = true;
                }
            }
            Happening::Stop(pod) => {
                if let Some(restarts) = lives.remove(pod) {
                    world.proxies.remove(&process(&pod.to_string(), restarts));
                    is_lossy = true;
                }
            }
            Happening::Requests(pod, good, bad) if lives.contains_key(pod) => {
                world.count(&pod.to_string(), good + bad, *bad);
                truth = (truth.0 + good + bad, truth.1 + bad);
            }
            Happening::Silence(pod) => {
                if let Some(restarts) = lives.get(pod) {
                    world.silent.insert(process(&pod.to_string(), *restarts));
                    is_lossy = true;
                }
            }
            Happening::Read => {
                world.read();
                world.silent.clear();
            }
            Happening::Start(_) | Happening::Requests(..) => {}
        }
    }
    world.silent.clear();
    world.read();
    (world.seen(EVER), truth, is_lossy)
}

proptest! {
    #[test]
    fn the_window_never_holds_more_than_what_happened(happenings in happenings()) {
        let (seen, truth, is_lossy) = play(&happenings);
        prop_assert!(seen.0 <= truth.0 && seen.1 <= truth.1, "{seen:?} of {truth:?}");
        if !is_lossy {
            prop_assert_eq!(seen, truth);
        }
    }
}
