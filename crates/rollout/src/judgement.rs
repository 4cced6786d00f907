//! Judgement: is the canary worse than the primary, said at any time with one stated confidence.
//!
//! Pure functions: no IO, no clock, no randomness.
//! Both roles are compared over the same few seconds ([`Block`]), so that what hits both, such as
//! a slow database or the time of day, cancels out.
//! The evidence is the wealth of a gambler who bets, block by block, that the canary is worse
//! ([`Wager`]): under "not worse" the wealth is expected not to grow, so it ever reaches 1/α with a
//! probability of α at most, however often someone looks (Ville's inequality).
//! Harm may therefore be said early; "no harm shown" needs the planned time, the samples, and a
//! spread small enough that the stated effect would have been seen.
//!
//! Sources: Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid
//! inference" (2023); Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
//! betting" (2024); Mantel and Haenszel (1959) for the excess over strata.
//!
//! ```text
//!  readings of counters ─► Pairing ─► Block ─► Record::add ─► Record::opinions
//!                                                one Evidence for each metric
//! ```

mod block;
mod criteria;
mod evidence;
mod latency;
mod opinion;
mod pairing;
mod record;
mod spread;
mod terms;
mod verdict;
mod wager;

pub use block::{Block, Sample};
pub use criteria::{Confidence, Criteria, CriteriaError, Effect};
pub use evidence::Evidence;
pub use latency::{Bounds, LatencyEvidence, Quantile};
pub use opinion::Opinion;
pub use pairing::{Arm, Pairing, Reading};
pub use record::Record;
pub use spread::{Contrast, Moments, Spread};
pub use terms::{Cohorts, LatencyTerms, Metric, Terms};
pub use verdict::{Harm, Progress, Unclear, Verdict};
pub use wager::Wager;
