//! All that was learned in one run, and what it says.
//!
//! Pure. It is stored with the run: a new run begins with an empty one, a restart goes on.

use super::{
    Block, Cohorts, Evidence, LatencyEvidence, LatencyTerms, Metric, Opinion, Progress, Terms,
    Verdict,
};

/// What was learned in one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Whether the planned time has passed.
    pub progress: Progress,
    /// About failed requests.
    pub failures: Evidence,
    /// About slow requests.
    pub latency: LatencyEvidence,
}

impl Record {
    /// Adds a block; one that was added before adds nothing.
    pub fn add(&mut self, block: &Block, terms: &Terms) {
        if let Some(effect) = terms.failures {
            self.failures.add(block, 0, &terms.criteria(effect));
        }
        if let Some(LatencyTerms {
            quantile,
            effect,
            bounds,
        }) = &terms.latency
        {
            let criteria = terms.criteria(*effect);
            self.latency
                .add(&block.without_failures(), *quantile, bounds, &criteria);
        }
    }

    /// The id of the last block that was added.
    pub fn last_block(&self) -> Option<u64> {
        let latency = self.latency.evidence.last_block;
        self.failures
            .last_block
            .max(latency)
            .max(self.latency.calibrated)
    }

    /// What it says about each metric that is judged.
    pub fn opinions(&self, terms: &Terms) -> Vec<Opinion> {
        let failures = terms.failures.map(|effect| Opinion {
            metric: Metric::Failures,
            verdict: self
                .failures
                .verdict(&terms.criteria(effect), self.progress),
            bound: None,
            requests: [self.failures.canary[0], self.failures.primary[0]],
            confidence: terms.confidence,
            cohorts: terms.cohorts,
        });
        let latency = terms.latency.as_ref().map(|latency| Opinion {
            metric: Metric::Latency,
            verdict: self.latency.verdict(
                latency.quantile,
                &latency.bounds,
                &terms.criteria(latency.effect),
                self.progress,
            ),
            bound: self.latency.bound(&latency.bounds),
            requests: [
                self.latency.evidence.canary[0],
                self.latency.evidence.primary[0],
            ],
            confidence: terms.confidence,
            cohorts: terms.cohorts,
        });
        failures.into_iter().chain(latency).collect()
    }

    /// The first metric by which the canary is shown to be worse.
    pub fn harm(&self, terms: &Terms) -> Option<Opinion> {
        let is_harm = |opinion: &Opinion| matches!(opinion.verdict, Verdict::Harm(_));
        self.opinions(terms).into_iter().find(is_harm)
    }

    /// The first metric that does not let the canary pass.
    pub fn reservation(&self, terms: &Terms) -> Option<Opinion> {
        let passes = |opinion: &Opinion| matches!(opinion.verdict, Verdict::NoHarmShown { .. });
        self.opinions(terms).into_iter().find(|one| !passes(one))
    }

    /// What a clock that says `now` can have written: the id of a block of one that was ahead
    /// would keep all blocks out until then.
    pub(crate) fn written_by(&mut self, now: u64) {
        for last in [
            &mut self.failures.last_block,
            &mut self.latency.evidence.last_block,
            &mut self.latency.calibrated,
        ] {
            *last = last.map(|last| last.min(now));
        }
    }
}

impl Cohorts {
    /// What has to be said with each verdict.
    pub(super) const fn caution(self) -> &'static str {
        match self {
            Self::Random => "",
            Self::Chosen => {
                " (users are chosen by match or cookie, not by chance: the difference may be theirs)"
            }
        }
    }
}
