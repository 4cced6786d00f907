//! Two workloads at one proxy, read every half second.

#![expect(clippy::float_cmp, reason = "counts are whole numbers")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use fairlead_rollout::judgement::{Cohorts, Confidence, Effect};
use jiff::Timestamp;

use super::super::counts::Counts;
use super::super::window::{Process, Reading as Said};
use super::*;

const BLOCK: Duration = Duration::from_millis(500);

fn target(workload: &str) -> Target {
    Target {
        namespace: "test".to_owned(),
        workload: Some(workload.to_owned()),
        service: format!("{workload}-service"),
    }
}

/// One proxy and one Canary; the calls of its waker are counted.
struct Stage {
    comparisons: Comparisons,
    begun: Instant,
    halves: u32,
    canary: [u64; 2],
    primary: [u64; 2],
    record: Record,
    woken: Arc<AtomicUsize>,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            comparisons: Comparisons::default(),
            begun: Instant::now(),
            halves: 0,
            canary: [0; 2],
            primary: [0; 2],
            record: Record::default(),
            woken: Arc::default(),
        };
        assert!(stage.keep(1, 10), "it is new");
        stage
    }

    fn keep(&mut self, run: u64, weight: u32) -> bool {
        let woken = Arc::clone(&self.woken);
        let comparison = Comparison {
            run,
            weight,
            canary: target("podinfo"),
            primary: target("podinfo-primary"),
            pods: Pods {
                key: "app".to_owned(),
                values: ["podinfo".to_owned(), "podinfo-primary".to_owned()],
            },
            block_length: BLOCK,
            warmup: Duration::ZERO,
            terms: terms(),
            record: self.record.clone(),
            wake: Arc::new(move || {
                woken.fetch_add(1, Ordering::Relaxed);
            }),
        };
        self.comparisons.keep("a", comparison)
    }

    /// Half a second with 5 requests to the canary and 45 to the primary, of which some fail.
    fn pass(&mut self, failed: [u64; 2], warmth: Warmth) {
        self.halves += 1;
        for (all, (requests, failed)) in [
            (&mut self.canary, (5, failed[0])),
            (&mut self.primary, (45, failed[1])),
        ] {
            all[0] += requests;
            all[1] += failed;
        }
        let counts = |[requests, failed]: [u64; 2]| Counts::for_tests(requests, failed, &[]);
        let said = Said {
            started: Timestamp::UNIX_EPOCH,
            counts: BTreeMap::from([
                (target("podinfo"), counts(self.canary)),
                (target("podinfo-primary"), counts(self.primary)),
            ]),
        };
        let process = Process {
            pod: "caller".to_owned(),
            restarts: 0,
        };
        let past = BLOCK * self.halves;
        let snapshot = Snapshot {
            at: self.begun + past,
            time: Timestamp::UNIX_EPOCH + past,
            readings: BTreeMap::from([(process, said)]),
            silent: Vec::new(),
        };
        self.comparisons.read("a", &snapshot, warmth);
    }

    fn blocks(&self) -> Vec<Block> {
        self.comparisons.counted("a").unwrap().blocks
    }

    fn woken(&self) -> usize {
        self.woken.swap(0, Ordering::Relaxed)
    }
}

fn terms() -> Terms {
    Terms {
        failures: Some(Effect::DEFAULT),
        latency: None,
        minimum_samples: 0,
        confidence: Confidence::DEFAULT,
        cohorts: Cohorts::Random,
    }
}

#[test]
fn each_reading_ends_a_block_of_both_versions() {
    let mut stage = Stage::new();
    for _ in 0..4 {
        stage.pass([1, 2], Warmth::Warm);
    }
    let blocks = stage.blocks();
    assert_eq!(blocks.len(), 3, "the first reading only begins one");
    for block in &blocks {
        assert_eq!((block.step, block.canary.requests), (10, 5.0));
        assert_eq!((block.primary.requests, block.primary.bad[0]), (45.0, 2.0));
        assert_eq!(block.canary.bad[0], 1.0);
    }
    assert!(blocks.is_sorted_by(|one, next| one.id < next.id));
}

#[test]
fn harm_wakes_at_once_and_nothing_else_more_often_than_needed() {
    let mut stage = Stage::new();
    for _ in 0..6 {
        stage.pass([0, 0], Warmth::Warm);
    }
    assert_eq!(
        stage.woken(),
        2,
        "the first and the fifth, two seconds later"
    );
    let shows_harm = |stage: &Stage| {
        let mut record = Record::default();
        for block in stage.blocks() {
            record.add(&block, &terms());
        }
        record.harm(&terms()).is_some()
    };
    let mut blocks = 0;
    while !shows_harm(&stage) {
        stage.woken();
        stage.pass([3, 0], Warmth::Warm);
        blocks += 1;
    }
    assert_eq!(stage.woken(), 1, "with the block that shows it");
    assert!(blocks <= 4, "{blocks} blocks of half a second");
}

#[test]
fn what_is_stored_is_handed_over_no_more() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        stage.pass([0, 0], Warmth::Warm);
    }
    for block in stage.blocks() {
        stage.record.add(&block, &terms());
    }
    assert!(!stage.keep(1, 10), "it goes on");
    assert_eq!(stage.blocks().len(), 0);
    stage.pass([0, 0], Warmth::Warm);
    assert_eq!(stage.blocks().len(), 1, "the block goes on too");
}

#[test]
fn a_new_weight_begins_a_new_block_and_a_new_run_forgets_all() {
    let mut stage = Stage::new();
    stage.pass([0, 0], Warmth::Warm);
    stage.keep(1, 20);
    stage.pass([0, 0], Warmth::Warm);
    assert_eq!(stage.blocks().len(), 0, "no block has two weights");
    stage.pass([0, 0], Warmth::Warm);
    assert_eq!(stage.blocks()[0].step, 20);
    assert!(stage.keep(2, 20), "it is new");
    assert_eq!(stage.blocks().len(), 0);
}

#[test]
fn nothing_is_counted_while_a_pod_warms_up() {
    let mut stage = Stage::new();
    stage.pass([0, 0], Warmth::Warm);
    stage.pass([5, 0], Warmth::WarmingUp);
    stage.pass([5, 0], Warmth::Warm);
    assert_eq!(stage.blocks().len(), 0);
    stage.pass([0, 0], Warmth::Warm);
    assert_eq!(stage.blocks()[0].canary.bad[0], 0.0);
}

#[test]
fn what_keeps_proxies_from_being_read_is_told() {
    let mut stage = Stage::new();
    stage.comparisons.miss("a", "no pod has a proxy");
    let counted = stage.comparisons.counted("a").unwrap();
    assert_eq!(counted.trouble.as_deref(), Some("no pod has a proxy"));
    stage.comparisons.end("a");
    assert!(stage.comparisons.counted("a").is_none());
}
