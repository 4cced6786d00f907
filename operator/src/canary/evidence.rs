//! What the comparison has learned, to and from `.status`. Pure.

use fairlead_crds::canary::{
    EvidenceStatus, JudgementStatus, LatencyStatus, RecordStatus, SpreadStatus,
};
use fairlead_rollout::judgement::{
    Contrast, Evidence, LatencyEvidence, Moments, Opinion, Progress, Record, Sample, Spread, Wager,
};

/// Reads what was learned.
pub(super) fn load(status: Option<RecordStatus>) -> Record {
    let status = status.unwrap_or_default();
    Record {
        progress: if status.complete {
            Progress::Complete
        } else {
            Progress::Running
        },
        failures: status
            .failures
            .as_ref()
            .map(load_evidence)
            .unwrap_or_default(),
        latency: status.latency.map(load_latency).unwrap_or_default(),
    }
}

/// Writes what was learned; nothing for a run that was never compared.
pub(super) fn store(record: &Record) -> Option<RecordStatus> {
    if *record == Record::default() {
        return None;
    }
    let Record {
        progress,
        failures,
        latency,
    } = record;
    Some(RecordStatus {
        complete: *progress == Progress::Complete,
        failures: (*failures != Evidence::default()).then(|| store_evidence(failures)),
        latency: (*latency != LatencyEvidence::default()).then(|| store_latency(latency)),
    })
}

/// What it says, for people.
pub(super) fn explain(opinions: &[Opinion]) -> Vec<JudgementStatus> {
    let told = opinions.iter().map(|opinion| JudgementStatus {
        metric: opinion.metric.as_str().to_owned(),
        verdict: opinion.word().to_owned(),
        message: opinion.to_string(),
        canary_requests: whole(opinion.requests[0]),
        primary_requests: whole(opinion.requests[1]),
    });
    told.collect()
}

fn load_latency(status: LatencyStatus) -> LatencyEvidence {
    LatencyEvidence {
        kind: status.bound.and_then(|bound| usize::try_from(bound).ok()),
        calibration: Sample {
            requests: status.requests,
            bad: status.slower,
        },
        calibrated: status.calibrated,
        evidence: status
            .evidence
            .as_ref()
            .map(load_evidence)
            .unwrap_or_default(),
    }
}

fn store_latency(latency: &LatencyEvidence) -> LatencyStatus {
    let LatencyEvidence {
        kind,
        calibration,
        calibrated,
        evidence,
    } = latency;
    LatencyStatus {
        bound: kind.and_then(|kind| u32::try_from(kind).ok()),
        calibrated: *calibrated,
        requests: calibration.requests,
        slower: calibration.bad.clone(),
        evidence: (*evidence != Evidence::default()).then(|| store_evidence(evidence)),
    }
}

fn load_evidence(status: &EvidenceStatus) -> Evidence {
    Evidence {
        last_block: status.last_block,
        step: status.weight,
        wager: Wager {
            cash: status.cash,
            bets: status.bets,
            peak: status.peak,
        },
        spread: load_spread(&status.spread),
        canary: status.canary,
        primary: status.primary,
        baseline: status.baseline,
    }
}

fn store_evidence(evidence: &Evidence) -> EvidenceStatus {
    let Evidence {
        last_block,
        step,
        wager: Wager { cash, bets, peak },
        spread,
        canary,
        primary,
        baseline,
    } = evidence;
    EvidenceStatus {
        last_block: *last_block,
        weight: *step,
        cash: *cash,
        bets: *bets,
        peak: *peak,
        canary: *canary,
        primary: *primary,
        baseline: *baseline,
        spread: store_spread(spread),
    }
}

const fn load_spread(status: &SpreadStatus) -> Spread {
    Spread {
        blocks: status.blocks,
        total: load_contrast(status.total),
        canary_part: status.parts[0],
        primary_part: status.parts[1],
        single: load_moments(status.single),
        batch: load_contrast(status.batch),
        batched: load_moments(status.batched),
    }
}

const fn store_spread(spread: &Spread) -> SpreadStatus {
    let Spread {
        blocks,
        total,
        canary_part,
        primary_part,
        single,
        batch,
        batched,
    } = *spread;
    SpreadStatus {
        blocks,
        total: [total.information, total.difference],
        parts: [canary_part, primary_part],
        single: [single.difference, single.product, single.information],
        batch: [batch.information, batch.difference],
        batched: [batched.difference, batched.product, batched.information],
    }
}

const fn load_contrast([information, difference]: [f64; 2]) -> Contrast {
    Contrast {
        information,
        difference,
    }
}

const fn load_moments([difference, product, information]: [f64; 3]) -> Moments {
    Moments {
        difference,
        product,
        information,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count"
)]
const fn whole(requests: f64) -> u64 {
    requests as u64
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::judgement::{Block, Bounds, Cohorts, Confidence, Effect};
    use fairlead_rollout::judgement::{LatencyTerms, Quantile, Terms};

    use super::*;

    fn terms() -> Terms {
        Terms {
            failures: Some(Effect::DEFAULT),
            latency: Some(LatencyTerms {
                quantile: Quantile::new(0.9).unwrap(),
                effect: Effect::DEFAULT,
                bounds: Bounds::new(vec![1.0, 2.0]).unwrap(),
            }),
            minimum_samples: 0,
            confidence: Confidence::DEFAULT,
            cohorts: Cohorts::Random,
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written_through_json() {
        let mut record = Record {
            progress: Progress::Complete,
            ..Record::default()
        };
        for id in 1..50 {
            let sample = |requests: f64, share: f64| Sample {
                requests,
                bad: vec![requests * share, requests / 7.0, requests / 31.0],
            };
            let block = Block {
                id,
                step: 10,
                canary: sample(13.0, 0.3),
                primary: sample(101.0, 0.01),
            };
            record.add(&block, &terms());
        }
        assert!(record.latency.kind.is_some() && record.latency.evidence.spread.blocks > 0);
        let json = serde_json::to_string(&store(&record)).unwrap();
        let read = load(serde_json::from_str(&json).unwrap());
        // A reader of JSON may differ in the last digit, but not once more.
        let again = serde_json::to_string(&store(&read)).unwrap();
        assert_eq!(load(serde_json::from_str(&again).unwrap()), read);
        assert_eq!(read.failures.last_block, Some(49));
        let far = (read.failures.wager.peak / record.failures.wager.peak - 1.0).abs();
        assert!(far < 1e-9, "{far}");
    }

    #[test]
    fn a_run_that_was_never_compared_has_no_record() {
        assert_eq!(store(&Record::default()), None);
        assert_eq!(load(None), Record::default());
    }
}
