//! The evidence about one kind of bad request, block by block.
//!
//! Pure. It is a plain struct of numbers: whoever keeps it can stop and go on with it, and whoever
//! loses it starts anew, which spends its chance of a false alarm once more.

use super::spread::Contrast;
use super::{Block, Criteria, Harm, Progress, Sample, Spread, Unclear, Verdict, Wager};

/// What is expected of a primary that nothing is known of: one bad request in a hundred.
const PRIOR: (f64, f64) = (1.0, 100.0);

/// What was learned of one comparison in this run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The id of the last block that was seen, usable or not.
    pub last_block: Option<u64>,
    /// The step of that block.
    pub step: Option<u32>,
    /// The bet that the canary is worse.
    pub wager: Wager,
    /// The sums behind the excess and its precision.
    pub spread: Spread,
    /// The canary's requests of the run, and how many were bad.
    pub canary: [f64; 2],
    /// The primary's requests of the run, and how many were bad.
    pub primary: [f64; 2],
    /// The primary's requests in this step, and how many were bad; outages count as scaled down,
    /// so that one of them does not make all later stakes small.
    pub baseline: [f64; 2],
}

/// One kind of bad request of one block.
#[derive(Clone, Copy)]
struct Pair {
    canary: [f64; 2],
    primary: [f64; 2],
}

impl Pair {
    fn of(block: &Block, kind: usize) -> Self {
        let count = |sample: &Sample| [sample.requests, sample.bad(kind)];
        Self {
            canary: count(&block.canary),
            primary: count(&block.primary),
        }
    }

    /// The canary's part of the requests.
    fn share(&self) -> f64 {
        self.canary[0] / (self.canary[0] + self.primary[0])
    }

    fn contrast(&self) -> Contrast {
        let share = self.share();
        Contrast {
            information: self.primary[0] * share,
            difference: self.canary[1].mul_add(1.0 - share, -(self.primary[1] * share)),
        }
    }

    /// What a full stake wins on this block, at least -1.
    ///
    /// The bad requests of both roles are a pot of which an equal canary expects its share.
    /// `ordinary` is the largest pot that counts in full, known before the block is seen; a larger
    /// one is scaled down to it.
    fn gain(&self, ordinary: f64, tolerance: f64) -> f64 {
        let contrast = self.contrast();
        let allowed = contrast.information * tolerance;
        let worst = ordinary.mul_add(self.share(), allowed);
        (contrast.difference - allowed) * self.scale(ordinary) / worst
    }

    /// How much of the pot counts: an outage that hits both roles makes it large, and only its
    /// division speaks about the canary.
    fn scale(&self, ordinary: f64) -> f64 {
        ordinary / ordinary.max(self.canary[1] + self.primary[1])
    }
}

impl Evidence {
    /// Adds the bad requests of `kind` of a block.
    ///
    /// A block that is not newer than the last one, or of which a role had no usable counts, adds
    /// nothing.
    pub fn add(&mut self, block: &Block, kind: usize, criteria: &Criteria) {
        if self.last_block.is_some_and(|last| block.id <= last) {
            return;
        }
        self.last_block = Some(block.id);
        if !block.is_usable() {
            return;
        }
        if self.step != Some(block.step) {
            self.step = Some(block.step);
            self.baseline = [0.0; 2];
            self.wager.open_step();
        }
        let pair = Pair::of(block, kind);
        let ordinary = ordinary(self.expected(&pair));
        self.wager
            .settle(pair.gain(ordinary, criteria.effect.tolerance()));
        self.spread
            .add(pair.canary[0], pair.primary[0], pair.contrast());
        for index in 0..2 {
            self.canary[index] += pair.canary[index];
            self.primary[index] += pair.primary[index];
        }
        self.baseline[0] += pair.primary[0];
        self.baseline[1] += pair.primary[1] * pair.scale(ordinary);
    }

    /// The bad requests of a block, if both roles did as the primary did so far in this step.
    fn expected(&self, pair: &Pair) -> f64 {
        let rate = (self.baseline[1] + PRIOR.0) / (self.baseline[0] + PRIOR.1);
        (pair.canary[0] + pair.primary[0]) * rate
    }

    /// What the evidence says so far.
    pub fn verdict(&self, criteria: &Criteria, progress: Progress) -> Verdict {
        if self.wager.peak >= criteria.proof() {
            return Verdict::Harm(Harm {
                excess: self.spread.excess(),
                canary: share(self.canary),
                primary: share(self.primary),
                odds: self.wager.peak,
            });
        }
        match self.unclear(criteria, progress) {
            Some(unclear) => Verdict::Inconclusive(unclear),
            None => Verdict::NoHarmShown {
                excess: self.spread.excess(),
                resolution: self.resolution(criteria),
            },
        }
    }

    fn unclear(&self, criteria: &Criteria, progress: Progress) -> Option<Unclear> {
        let effect = criteria.effect.get();
        let resolution = self.resolution(criteria);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let requests = self.canary[0] as u64;
        if self.spread.blocks == 0 {
            Some(Unclear::NoData)
        } else if progress == Progress::Running {
            Some(Unclear::Running)
        } else if requests < criteria.minimum_samples {
            Some(Unclear::Samples {
                requests,
                needed: criteria.minimum_samples,
            })
        } else if resolution <= effect {
            None
        } else {
            // Also where absurd counts left no number at all.
            Some(Unclear::Spread { resolution, effect })
        }
    }

    fn resolution(&self, criteria: &Criteria) -> f64 {
        self.spread.resolution(
            share(self.primary),
            criteria.effect.get(),
            criteria.effect.tolerance(),
            criteria.proof(),
        )
    }
}

/// Bad requests over all.
fn share([requests, bad]: [f64; 2]) -> f64 {
    if requests > 0.0 { bad / requests } else { 0.0 }
}

/// The largest pot that counts in full where so many bad requests are expected.
///
/// One deviation above the expectation: a smaller pot would waste what honest harm adds to it, a
/// larger one makes each stake smaller.
fn ordinary(expected: f64) -> f64 {
    expected + expected.sqrt() + 1.0
}
