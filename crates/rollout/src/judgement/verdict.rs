//! What the evidence says.
//!
//! Data only.

/// Whether the rollout has spent the time that was planned for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// More blocks will come: only harm can be said.
    #[default]
    Running,
    /// All planned time has passed.
    Complete,
}

/// What the evidence of one comparison says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The canary is worse, with the stated confidence.
    Harm(Harm),
    /// The planned time has passed, and the stated effect would have been seen.
    NoHarmShown {
        /// The canary's share of bad requests above the primary's, over paired blocks.
        excess: f64,
        /// The smallest excess that these samples would have shown nine times in ten.
        resolution: f64,
    },
    /// Neither can be said; never a pass.
    Inconclusive(Unclear),
}

/// The evidence of harm, as shown to a person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Harm {
    /// The canary's share of bad requests above the primary's, over paired blocks.
    pub excess: f64,
    /// The canary's share of bad requests.
    pub canary: f64,
    /// The primary's share of bad requests.
    pub primary: f64,
    /// The odds against chance: what was shown would come from an equal canary in one of so many
    /// runs at most.
    pub odds: f64,
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unclear {
    /// The planned time has not passed.
    Running,
    /// No block had usable counts of both roles.
    NoData,
    /// The canary had too few requests.
    Samples {
        /// What it had.
        requests: u64,
        /// What is needed.
        needed: u64,
    },
    /// The counts spread too much for the stated effect.
    Spread {
        /// The smallest excess that these samples would have shown nine times in ten.
        resolution: f64,
        /// The stated effect.
        effect: f64,
    },
    /// The histogram has no bound near the primary's quantile.
    Buckets {
        /// The bound below the quantile.
        above: f64,
        /// The bound above it; infinite where the quantile is in the last bucket.
        upto: f64,
    },
}
