//! Weights, the split of traffic, and the ladder of steps. Pure data.

use std::fmt;

/// A share of traffic in percent, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weight(u8);

impl Weight {
    /// No traffic.
    pub const ZERO: Self = Self(0);
    /// All traffic.
    pub const FULL: Self = Self(100);

    /// A weight, or `None` above 100.
    pub fn new(percent: i64) -> Option<Self> {
        u8::try_from(percent)
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Self)
    }

    /// The nearest weight to `percent`.
    pub fn clamped(percent: i64) -> Self {
        Self::new(percent.clamp(0, 100)).unwrap_or(Self::FULL)
    }

    /// The number, 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// What is left for the other side.
    pub const fn rest(self) -> Self {
        Self(100 - self.0)
    }

    /// This weight and `other`, at most 100.
    pub fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(100))
    }

    /// This weight without `other`, at least 0.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How traffic is divided: the canary's share, and whether it gets copies of the rest.
///
/// With a `match` in the strategy the share is that of the matched requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Split {
    /// The canary's share; the primary has the rest.
    pub canary: Weight,
    /// Whether the canary also gets a copy of the primary's requests.
    pub mirrored: bool,
    /// Whether clients that once got the canary are led to it again, beside its share.
    pub sticky: bool,
}

impl Split {
    /// Everything to the primary, nothing mirrored.
    pub const PRIMARY: Self = Self {
        canary: Weight::ZERO,
        mirrored: false,
        sticky: false,
    };

    /// A plain division without mirroring.
    pub const fn to_canary(canary: Weight) -> Self {
        Self {
            canary,
            mirrored: false,
            sticky: false,
        }
    }

    /// Whether any request reaches the canary.
    pub fn reaches_canary(self) -> bool {
        self.mirrored || self.sticky || self.canary > Weight::ZERO
    }

    /// Whether going from `self` to `next` sends the canary more than it had.
    pub fn raises_canary(self, next: Self) -> bool {
        next.canary > self.canary
            || (next.mirrored && !self.mirrored)
            || (next.sticky && !self.sticky)
    }

    /// Whether going from `self` to `next` sends the primary more than it had.
    pub fn raises_primary(self, next: Self) -> bool {
        next.canary < self.canary || (self.sticky && !next.sticky && next.canary < Weight::FULL)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mirrored = if self.mirrored { ", mirrored" } else { "" };
        let sticky = if self.sticky { ", sticky" } else { "" };
        write!(
            f,
            "{}/{}{mirrored}{sticky}",
            self.canary.rest(),
            self.canary
        )
    }
}

/// The canary's weights, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ladder {
    /// Equal steps until the weight is at or above `max`; the last one may overshoot it, as in
    /// Flagger (20 at a time to 50 gives 60).
    Linear {
        /// The increment; never zero.
        step: Weight,
        /// No increase at or above this.
        max: Weight,
    },
    /// These weights in order; the last one is the greatest.
    Listed(Vec<Weight>),
}

impl Ladder {
    /// The weight after `current`, or `None` when the top is reached.
    pub fn next(&self, current: Weight) -> Option<Weight> {
        match self {
            Self::Linear { step, max } => {
                (current < *max && *step > Weight::ZERO).then(|| current.plus(*step))
            }
            Self::Listed(weights) => weights.iter().copied().find(|weight| *weight > current),
        }
    }

    /// The greatest weight that this ladder can reach.
    pub fn top(&self) -> Weight {
        let mut weight = Weight::ZERO;
        while let Some(next) = self.next(weight) {
            weight = next;
        }
        weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ladder: &Ladder, expected: &[u8]) {
        let mut weights = Vec::new();
        let mut at = Weight::ZERO;
        while let Some(next) = ladder.next(at) {
            weights.push(next.get());
            at = next;
        }
        assert_eq!(weights, expected);
    }

    fn linear(step: i64, max: i64) -> Ladder {
        Ladder::Linear {
            step: Weight::clamped(step),
            max: Weight::clamped(max),
        }
    }

    #[test]
    fn equal_steps_may_overshoot_the_maximum_once() {
        check(&linear(25, 50), &[25, 50]);
        check(&linear(20, 50), &[20, 40, 60]);
        check(&linear(40, 100), &[40, 80, 100]);
    }

    #[test]
    fn a_list_is_climbed_from_wherever_the_weight_stands() {
        let list = Ladder::Listed([5, 20, 60].map(Weight::clamped).to_vec());
        check(&list, &[5, 20, 60]);
        assert_eq!(list.next(Weight::clamped(7)), Some(Weight::clamped(20)));
    }

    #[test]
    fn a_step_of_zero_never_climbs() {
        check(&linear(0, 50), &[]);
    }
}
