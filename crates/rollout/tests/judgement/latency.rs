//! Latency, judged on the bounds of a histogram.

use fairlead_rollout::judgement::{
    Block, Bounds, Confidence, Criteria, LatencyEvidence, Progress, Quantile, Sample, Unclear,
    Verdict,
};

use super::random::Random;

const BOUNDS: [f64; 6] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Requests with a log-normal latency around `median` seconds; the p99 is about 3.2 times that.
fn sample(requests: u32, median: f64, bounds: &[f64], random: &mut Random) -> Sample {
    let mut bad = vec![0.0; bounds.len()];
    for _ in 0..requests {
        let seconds = median * (0.5 * random.normal()).exp();
        for (slower, bound) in bad.iter_mut().zip(bounds) {
            *slower += f64::from(u8::from(seconds > *bound));
        }
    }
    Sample {
        requests: f64::from(requests),
        bad,
    }
}

/// The verdict on the p99 after so many blocks of 50 canary requests.
fn judge(blocks: u32, canary: f64, primary: f64, bounds: &[f64]) -> Verdict {
    let quantile = Quantile::new(0.99).expect("a quantile");
    let criteria = Criteria::new(
        quantile.effect().expect("an effect"),
        0,
        Confidence::DEFAULT,
        2,
    );
    let parsed = Bounds::new(bounds.to_vec()).expect("ascending bounds");
    let mut random = Random::new(3);
    let mut evidence = LatencyEvidence::default();
    for id in 0..blocks {
        let block = Block {
            id: u64::from(id),
            step: 0,
            canary: sample(50, canary, bounds, &mut random),
            primary: sample(200, primary, bounds, &mut random),
        };
        evidence.add(&block, quantile, &parsed, &criteria);
    }
    evidence.verdict(quantile, &parsed, &criteria, Progress::Complete)
}

#[test]
fn a_canary_twice_as_slow_is_harm() {
    let verdict = judge(100, 0.14, 0.07, &BOUNDS);
    assert!(matches!(verdict, Verdict::Harm(_)), "{verdict:?}");
}

#[test]
fn a_canary_as_fast_as_the_primary_shows_no_harm() {
    let verdict = judge(100, 0.07, 0.07, &BOUNDS);
    assert!(
        matches!(verdict, Verdict::NoHarmShown { .. }),
        "{verdict:?}"
    );
}

#[test]
fn a_p99_needs_a_thousand_requests() {
    let verdict = judge(18, 0.07, 0.07, &BOUNDS);
    let Verdict::Inconclusive(Unclear::Samples { needed, .. }) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(needed, 1_000);
}

#[test]
fn slowness_that_hides_in_one_bucket_is_never_a_pass() {
    let verdict = judge(100, 0.14, 0.07, &[0.05, 1.0]);
    let expected = Unclear::Buckets {
        above: 0.05,
        upto: 1.0,
    };
    assert_eq!(verdict, Verdict::Inconclusive(expected));
}

#[test]
fn a_quantile_above_the_last_bound_is_inconclusive() {
    let verdict = judge(100, 0.14, 0.07, &[0.01, 0.02]);
    let expected = Unclear::Buckets {
        above: 0.02,
        upto: f64::INFINITY,
    };
    assert_eq!(verdict, Verdict::Inconclusive(expected));
}

#[test]
fn bounds_that_do_not_ascend_are_refused() {
    for bounds in [
        vec![],
        vec![1.0, 0.5],
        vec![1.0, f64::INFINITY],
        vec![f64::NAN],
    ] {
        assert_eq!(Bounds::new(bounds), None);
    }
}
