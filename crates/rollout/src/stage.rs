//! Explicit steps: each with its own weight, length, checks and size of the canary. Pure data.
//!
//! A step says all that holds in it: what it leaves out is as in a rollout without explicit steps.

use jiff::SignedDuration;

use crate::weight::Weight;

/// One explicit step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The canary's share.
    pub weight: Weight,
    /// How long it lasts at least once its weight is in effect; `None` is one interval.
    pub duration: Option<SignedDuration>,
    /// Whether it then lasts until a person resumes; checks go on meanwhile.
    pub pauses: bool,
    /// The `rollout` hooks that are asked in it.
    pub hooks: Selection,
    /// The metrics that are asked in it.
    pub metrics: Selection,
    /// How many replicas the canary has in it; `None` is as many as the primary.
    pub size: Option<Size>,
}

/// Some of several, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// Those with these names.
    Only(Vec<String>),
}

impl Selection {
    /// Whether `name` is among them.
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|one| one == name),
        }
    }

    /// Whether there can be any.
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::All => false,
            Self::Only(names) => names.is_empty(),
        }
    }
}

/// How many replicas a canary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As many.
    Replicas(u32),
    /// So many percent of the primary's, rounded up.
    Percent(u32),
}

impl Size {
    /// The replicas beside a primary with `primary` of them; at least one.
    pub fn replicas(self, primary: u32) -> u32 {
        let replicas = match self {
            Self::Replicas(replicas) => u64::from(replicas),
            Self::Percent(percent) => (u64::from(primary) * u64::from(percent)).div_ceil(100),
        };
        u32::try_from(replicas).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_primary_is_rounded_up_and_never_nothing() {
        let check = |size: Size, primary, expected| assert_eq!(size.replicas(primary), expected);
        check(Size::Percent(25), 10, 3);
        check(Size::Percent(25), 1, 1);
        check(Size::Percent(0), 10, 1);
        check(Size::Percent(100), u32::MAX, u32::MAX);
        check(Size::Percent(200), 3, 6);
        check(Size::Replicas(0), 10, 1);
        check(Size::Replicas(4), 1, 4);
    }
}
