//! The bet against "the canary is not worse": wealth that only real harm makes grow.
//!
//! Pure. The rule of the bets is fixed before the first block, so that each look at the wealth is
//! as good as the last one.

/// The bets that run side by side.
const BETS: u8 = 3;

/// The shares of its capital that a bet puts at stake on each block.
///
/// The best share depends on an effect and a spread that nobody knows, so the wealth is divided
/// over a geometric ladder of shares; whichever fits comes to dominate the sum.
const STAKES: [f64; BETS as usize] = [0.1, 0.3, 0.9];

/// Wealth is not counted above this: far above any 1/α, far below what overflows.
const ENOUGH: f64 = 1e12;

/// The wealth of a gambler who started with 1 and bets that the canary is worse.
///
/// # Guarantees
/// While the expected gain is not above 0, `wealth` is a non-negative supermartingale: it reaches
/// 1/α with a probability of α at most, over all looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wager {
    /// What is not yet at stake: kept for harm that only a later step shows.
    pub cash: f64,
    /// The capital of each bet, in the order of growing stakes.
    pub bets: [f64; BETS as usize],
    /// The highest wealth seen: what was shown once stays shown.
    pub peak: f64,
}

impl Default for Wager {
    fn default() -> Self {
        Self {
            cash: 1.0,
            bets: [0.0; BETS as usize],
            peak: 1.0,
        }
    }
}

impl Wager {
    /// Puts half of the cash at stake, for a step that begins.
    pub(super) fn open_step(&mut self) {
        let half = self.cash / 2.0;
        self.cash -= half;
        for bet in &mut self.bets {
            *bet += half / f64::from(BETS);
        }
    }

    /// Settles a block: `gain` is what a full stake wins, -1 where it loses everything.
    pub(super) fn settle(&mut self, gain: f64) {
        let gain = gain.max(-1.0);
        for (bet, stake) in self.bets.iter_mut().zip(STAKES) {
            *bet = (*bet * stake.mul_add(gain, 1.0)).min(ENOUGH);
        }
        self.peak = self.peak.max(self.wealth());
    }

    /// The evidence against "not worse" now.
    pub fn wealth(&self) -> f64 {
        self.cash + self.bets.iter().sum::<f64>()
    }
}
