//! What holds for any blocks.

use fairlead_rollout::judgement::{
    Arm, Block, Confidence, Criteria, CriteriaError, Effect, Evidence, Pairing, Progress, Reading,
    Sample, Unclear, Verdict,
};
use proptest::prelude::*;

use super::random::Random;

fn criteria() -> Criteria {
    Criteria::new(Effect::DEFAULT, 0, Confidence::DEFAULT, 1)
}

fn sample(requests: f64, bad: f64) -> Sample {
    Sample {
        requests,
        bad: vec![bad],
    }
}

fn block(id: u64, canary: Sample, primary: Sample) -> Block {
    Block {
        id,
        step: u32::try_from(id / 10).expect("a small id"),
        canary,
        primary,
    }
}

fn count() -> impl Strategy<Value = Sample> {
    (1u32..500, 0.0..1.0f64)
        .prop_map(|(requests, part)| sample(requests.into(), (part * f64::from(requests)).floor()))
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    prop::collection::vec((count(), count()), 1..40).prop_map(|pairs| {
        let numbered = (1..).zip(pairs);
        numbered
            .map(|(id, (canary, primary))| block(id, canary, primary))
            .collect()
    })
}

fn weigh<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Evidence {
    let mut evidence = Evidence::default();
    for block in blocks {
        evidence.add(block, 0, &criteria());
    }
    evidence
}

proptest! {
    #[test]
    fn one_more_bad_answer_of_the_canary_never_weakens_the_evidence(
        before in blocks(), canary in count(), primary in count(),
    ) {
        let worse = sample(canary.requests, (canary.bad[0] + 1.0).min(canary.requests));
        let mut milder = before.clone();
        milder.push(block(1_000, canary, primary.clone()));
        let mut harsher = before;
        harsher.push(block(1_000, worse, primary));
        let (milder, harsher) = (weigh(&milder), weigh(&harsher));
        prop_assert!(harsher.wager.wealth() >= milder.wager.wealth() * (1.0 - 1e-12));
    }

    #[test]
    fn no_block_is_counted_twice_and_none_out_of_order(
        blocks in blocks(), again in any::<prop::sample::Index>(),
    ) {
        let once = weigh(&blocks);
        let repeated = blocks.get(again.index(blocks.len()));
        prop_assert_eq!(&weigh(blocks.iter().chain(repeated)), &once);
        prop_assert_eq!(&weigh(blocks.iter().flat_map(|block| [block, block])), &once);
    }

    #[test]
    fn harm_once_shown_stays_shown(blocks in blocks()) {
        let mut evidence = Evidence::default();
        let mut shown = false;
        for block in &blocks {
            evidence.add(block, 0, &criteria());
            let verdict = evidence.verdict(&criteria(), Progress::Running);
            let is_harm = matches!(verdict, Verdict::Harm(_));
            prop_assert!(is_harm || !shown);
            let passed = matches!(verdict, Verdict::NoHarmShown { .. });
            prop_assert!(!passed, "passed before the planned time");
            shown = is_harm;
        }
    }

    #[test]
    fn counts_that_cannot_be_counts_add_nothing(
        blocks in blocks(),
        bad in prop_oneof![
            Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(1e9),
        ],
    ) {
        let broken = [
            block(1_000, sample(10.0, bad), sample(10.0, 1.0)),
            block(1_001, sample(10.0, 1.0), sample(10.0, bad)),
            block(1_002, sample(f64::NAN, 0.0), sample(10.0, 0.0)),
            block(1_003, sample(0.0, 0.0), sample(10.0, 0.0)),
        ];
        let clean = weigh(&blocks);
        let disturbed = weigh(blocks.iter().chain(&broken));
        prop_assert_eq!(disturbed.wager, clean.wager);
        prop_assert_eq!(disturbed.spread, clean.spread);
        let verdict = weigh(&broken).verdict(&criteria(), Progress::Complete);
        prop_assert_eq!(verdict, Verdict::Inconclusive(Unclear::NoData));
    }

    #[test]
    fn resets_give_no_negative_count_and_no_harm(
        scrapes in prop::collection::vec((0u32..50, any::<bool>(), any::<bool>()), 2..200),
    ) {
        let mut pairing = Pairing::new(4_000);
        let mut counters = [0.0; 2];
        let mut evidence = Evidence::default();
        for (scrape, (served, canary_resets, primary_resets)) in (0..).zip(scrapes) {
            let readings = [(Arm::Canary, canary_resets), (Arm::Primary, primary_resets)];
            let readings = readings.map(|(arm, resets)| {
                let requests = &mut counters[usize::from(arm == Arm::Primary)];
                *requests = if resets { 0.0 } else { *requests + f64::from(served) };
                let counters = sample(*requests, (*requests / 20.0).floor());
                Reading { arm, series: "pod".to_owned(), at: scrape * 1_000, counters }
            });
            if let Some(block) = pairing.read(0, &readings) {
                for sample in [&block.canary, &block.primary] {
                    prop_assert!(sample.requests >= 0.0 && sample.bad.iter().all(|bad| *bad >= 0.0));
                }
                evidence.add(&block, 0, &criteria());
            }
        }
        let verdict = evidence.verdict(&criteria(), Progress::Complete);
        prop_assert!(!matches!(verdict, Verdict::Harm(_)), "{:?}", verdict);
    }
}

/// Equal versions whose common rate jumps about, looked at after each of 300 blocks: the odds that
/// anyone ever sees a wealth of `k` are one in `k` at most.
#[test]
fn wealth_under_the_null_obeys_villes_inequality_at_every_look() {
    const RUNS: u32 = 2_000;
    let mut above = [0u32; 3];
    let levels = [5.0, 20.0, 40.0];
    for seed in 0..RUNS {
        let mut random = Random::new(seed.into());
        let mut evidence = Evidence::default();
        for id in 1..=300 {
            let rate = random.between(0.0, 0.1);
            let canary = sample(20.0, random.binomial(20.0, (rate + 0.002).min(1.0)));
            let primary = sample(80.0, random.binomial(80.0, rate));
            let block = Block {
                id,
                step: 0,
                canary,
                primary,
            };
            evidence.add(&block, 0, &criteria());
        }
        for (count, level) in above.iter_mut().zip(levels) {
            *count += u32::from(evidence.wager.peak >= level);
        }
    }
    for (count, level) in above.into_iter().zip(levels) {
        let rate = f64::from(count) / f64::from(RUNS);
        assert!(rate <= 1.0 / level, "wealth {level} in {rate} of the runs");
    }
}

#[test]
fn counts_beyond_all_measure_are_never_a_pass() {
    // Half of the largest number: each sum of two is one, the information of ten is none.
    let endless = || sample(f64::MAX / 2.0, 0.0);
    let blocks: Vec<_> = (1..=10).map(|id| block(id, endless(), endless())).collect();
    let evidence = weigh(&blocks);
    let verdict = evidence.verdict(&criteria(), Progress::Complete);
    assert!(
        matches!(verdict, Verdict::Inconclusive(Unclear::Spread { .. })),
        "{verdict:?}"
    );
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    for confidence in [0.0, 0.49, 1.0, 95.0, f64::NAN] {
        assert_eq!(Confidence::new(confidence).ok(), None);
    }
    for effect in [0.0, -0.1, 1.0, 2.0, f64::NAN] {
        assert_eq!(Effect::new(effect).ok(), None);
    }
    let message = CriteriaError::Effect(2.0).to_string();
    assert!(message.contains("as in 0.02"), "{message}");
}
