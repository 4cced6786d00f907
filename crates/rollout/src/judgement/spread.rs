//! How much the pairs spread, hence what the samples could have shown.
//!
//! Pure sums over blocks; they decide "no harm shown" against "inconclusive", never harm.

/// The standard normal quantile for nine in ten.
const NINE_IN_TEN: f64 = 1.2816;

/// Consecutive blocks that are summed to see whether they move together.
const BATCH: u32 = 6;

/// How much one pair weighs and what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Contrast {
    /// Half the harmonic mean of the two numbers of requests.
    pub information: f64,
    /// Information times the canary's share of bad requests above the primary's.
    pub difference: f64,
}

impl Contrast {
    fn add(&mut self, other: Self) {
        self.information += other.information;
        self.difference += other.difference;
    }
}

/// Second moments of contrasts, from which their scatter about any excess follows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Squares of the difference, summed.
    pub difference: f64,
    /// Differences times information, summed.
    pub product: f64,
    /// Squares of the information, summed.
    pub information: f64,
}

impl Moments {
    fn add(&mut self, contrast: Contrast) {
        self.difference += contrast.difference * contrast.difference;
        self.product += contrast.difference * contrast.information;
        self.information += contrast.information * contrast.information;
    }

    /// The sum of squares about an excess.
    fn about(&self, excess: f64) -> f64 {
        let cross = excess.mul_add(self.information, -2.0 * self.product);
        excess.mul_add(cross, self.difference)
    }
}

/// Sums over paired blocks, from which the excess and its precision follow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Usable blocks.
    pub blocks: u32,
    /// All contrasts, summed.
    pub total: Contrast,
    /// Squared information over the canary's requests, summed.
    pub canary_part: f64,
    /// Squared information over the primary's requests, summed.
    pub primary_part: f64,
    /// Block by block.
    pub single: Moments,
    /// The batch of blocks that is being filled.
    pub batch: Contrast,
    /// Finished batch by finished batch: larger than `single` where blocks move together.
    pub batched: Moments,
}

impl Spread {
    /// Adds a block of so many requests.
    pub(super) fn add(&mut self, canary: f64, primary: f64, contrast: Contrast) {
        let squared = contrast.information * contrast.information;
        self.blocks += 1;
        self.total.add(contrast);
        self.canary_part += squared / canary;
        self.primary_part += squared / primary;
        self.single.add(contrast);
        self.batch.add(contrast);
        if self.blocks.is_multiple_of(BATCH) {
            self.batched.add(self.batch);
            self.batch = Contrast::default();
        }
    }

    /// The canary's share above the primary's (Mantel and Haenszel): strata are never pooled.
    pub fn excess(&self) -> f64 {
        if self.total.information > 0.0 {
            self.total.difference / self.total.information
        } else {
            0.0
        }
    }

    /// The smallest excess that these samples would have shown nine times in ten.
    ///
    /// `primary` is its share of bad requests, `proof` the wealth that shows harm, `tolerance` what
    /// harm must exceed. The variance is the largest of what chance alone gives a canary that is
    /// worse by `effect`, of what was seen block by block, and of what was seen batch by batch.
    pub(super) fn resolution(&self, primary: f64, effect: f64, tolerance: f64, proof: f64) -> f64 {
        if self.total.information <= 0.0 {
            return f64::INFINITY;
        }
        let worse = (primary + effect).min(0.5);
        let chance = self.canary_part.mul_add(
            worse * (1.0 - worse),
            self.primary_part * primary * (1.0 - primary),
        );
        let excess = self.excess();
        let variance = chance
            .max(self.single.about(excess))
            .max(self.batched.about(excess));
        let deviation = variance.sqrt() / self.total.information;
        ((2.0 * proof.ln()).sqrt() + NINE_IN_TEN).mul_add(deviation, tolerance)
    }
}
