//! Blocks from the counters of pods.

use fairlead_rollout::judgement::{Arm, Pairing, Reading, Sample};

fn reading(arm: Arm, series: &str, at: i64, requests: f64, bad: f64) -> Reading {
    Reading {
        arm,
        series: series.to_owned(),
        at,
        counters: Sample {
            requests,
            bad: vec![bad],
        },
    }
}

fn both(canary: (i64, f64), primary: (i64, f64)) -> [Reading; 2] {
    [
        reading(Arm::Canary, "c", canary.0, canary.1, 0.0),
        reading(Arm::Primary, "p", primary.0, primary.1, 0.0),
    ]
}

#[test]
fn a_block_holds_what_both_roles_counted_since_the_last() {
    let mut pairing = Pairing::new(4_000);
    assert_eq!(pairing.read(0, &both((0, 100.0), (0, 900.0))), None);
    assert_eq!(pairing.read(0, &both((2_000, 105.0), (2_000, 950.0))), None);
    let block = pairing
        .read(0, &both((4_000, 110.0), (4_000, 990.0)))
        .unwrap();
    assert_eq!(
        (block.canary.requests, block.primary.requests),
        (10.0, 90.0)
    );
    let block = pairing
        .read(0, &both((8_000, 111.0), (8_000, 995.0)))
        .unwrap();
    assert_eq!((block.canary.requests, block.primary.requests), (1.0, 5.0));
}

#[test]
fn a_late_scrape_delays_the_block_for_both_roles() {
    let mut pairing = Pairing::new(4_000);
    pairing.read(0, &both((0, 0.0), (0, 0.0)));
    assert_eq!(pairing.read(0, &both((4_000, 10.0), (2_000, 50.0))), None);
    let block = pairing
        .read(0, &both((6_000, 15.0), (6_000, 150.0)))
        .unwrap();
    assert_eq!(
        (block.canary.requests, block.primary.requests),
        (15.0, 150.0)
    );
}

#[test]
fn a_pod_that_stays_late_is_left_out() {
    let mut pairing = Pairing::new(4_000);
    pairing.read(0, &both((0, 0.0), (0, 0.0)));
    let block = pairing
        .read(0, &both((12_000, 30.0), (2_000, 50.0)))
        .unwrap();
    assert_eq!((block.canary.requests, block.primary.requests), (30.0, 0.0));
}

#[test]
fn a_counter_that_begins_anew_is_a_new_window() {
    let mut pairing = Pairing::new(4_000);
    pairing.read(0, &both((0, 1_000.0), (0, 0.0)));
    let block = pairing.read(0, &both((4_000, 3.0), (4_000, 40.0))).unwrap();
    assert_eq!((block.canary.requests, block.primary.requests), (0.0, 40.0));
    let block = pairing.read(0, &both((8_000, 9.0), (8_000, 80.0))).unwrap();
    assert_eq!((block.canary.requests, block.primary.requests), (6.0, 40.0));
}

#[test]
fn a_new_step_drops_the_open_block() {
    let mut pairing = Pairing::new(4_000);
    pairing.read(0, &both((0, 0.0), (0, 0.0)));
    assert_eq!(pairing.read(1, &both((4_000, 10.0), (4_000, 90.0))), None);
    let block = pairing
        .read(1, &both((8_000, 12.0), (8_000, 95.0)))
        .unwrap();
    assert_eq!((block.canary.requests, block.primary.requests), (2.0, 5.0));
}
