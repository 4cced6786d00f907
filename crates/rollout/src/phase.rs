//! The eleven phases of a Canary, and which may follow which. Pure data.
//!
//! The spelling is Flagger's, since `kubectl get canaries` and scripts read it.
//!
//! | from | to | why |
//! |---|---|---|
//! | Initializing | Initialized | the primary serves and the routes lead to it |
//! | Initialized | Waiting | a new revision, and `confirm-rollout` hooks to ask |
//! | Initialized | Progressing | a new revision |
//! | Waiting | Progressing | `confirm-rollout` passed, or `promote-full` |
//! | Waiting | Succeeded | the target went back to the promoted revision |
//! | Waiting | Failed | `abort` |
//! | Progressing | WaitingPromotion | `confirm-promotion` refused |
//! | Progressing | Promoting | all steps passed, or analysis is skipped |
//! | Progressing | Succeeded | the target went back to the promoted revision |
//! | Progressing | Failed | threshold, deadline, a `rollback` hook or `abort` |
//! | WaitingPromotion | Progressing | a newer revision, `set-weight` or `promote-full` |
//! | WaitingPromotion | Promoting | `confirm-promotion` passed |
//! | WaitingPromotion | Succeeded | the target went back to the promoted revision |
//! | WaitingPromotion | Failed | threshold, deadline, a `rollback` hook or `abort` |
//! | Promoting | Progressing | a newer revision before the primary got this one |
//! | Promoting | Finalising | the primary is ready and has all traffic |
//! | Promoting | Failed | the primary did not become ready, or `abort` |
//! | Finalising | Promoting | the primary was lost before it was proven |
//! | Finalising | Succeeded | the canary is scaled down |
//! | Succeeded | Waiting | a new revision, and `confirm-rollout` hooks to ask |
//! | Succeeded | Progressing | a new revision |
//! | Failed | Waiting | a new revision or `retry`, and `confirm-rollout` hooks to ask |
//! | Failed | Progressing | a new revision, or `retry` |
//! | Failed | Succeeded | the target went back to the promoted revision |
//! | Succeeded | Failed | `rollback-to`, or a check that fails while the revision bakes |
//! | Terminating | Terminated | what was taken is given back |
//!
//! Every phase but the last two may become Terminating.

use std::fmt;
use std::str::FromStr;

/// Where a Canary stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The primary and the routes are being made.
    Initializing,
    /// Ready for the first new revision.
    Initialized,
    /// A `confirm-rollout` hook holds a new revision.
    Waiting,
    /// A run is in progress.
    Progressing,
    /// A `confirm-promotion` hook holds the promotion; analysis goes on.
    WaitingPromotion,
    /// The primary gets the new revision, then the traffic.
    Promoting,
    /// The primary has all traffic; the canary is scaled down.
    Finalising,
    /// The primary runs the target's revision.
    Succeeded,
    /// The run was rolled back, or its promotion failed.
    Failed,
    /// The Canary is deleted; what it took is being given back.
    Terminating,
    /// All is given back.
    Terminated,
}

impl Phase {
    /// All phases, in the order of a run.
    pub const ALL: [Self; 11] = [
        Self::Initializing,
        Self::Initialized,
        Self::Waiting,
        Self::Progressing,
        Self::WaitingPromotion,
        Self::Promoting,
        Self::Finalising,
        Self::Succeeded,
        Self::Failed,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The name that status, hooks and metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "Initializing",
            Self::Initialized => "Initialized",
            Self::Waiting => "Waiting",
            Self::Progressing => "Progressing",
            Self::WaitingPromotion => "WaitingPromotion",
            Self::Promoting => "Promoting",
            Self::Finalising => "Finalising",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
        }
    }

    /// Whether nothing is on its way.
    pub const fn rests(self) -> bool {
        match self {
            Self::Initialized | Self::Succeeded | Self::Failed => true,
            Self::Initializing
            | Self::Waiting
            | Self::Progressing
            | Self::WaitingPromotion
            | Self::Promoting
            | Self::Finalising
            | Self::Terminating
            | Self::Terminated => false,
        }
    }

    /// Whether `next` may directly follow this phase, in a Canary that was always ours.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Initializing => matches!(next, Self::Initialized | Self::Terminating),
            Self::Initialized => {
                matches!(next, Self::Waiting | Self::Progressing | Self::Terminating)
            }
            Self::Waiting => {
                matches!(
                    next,
                    Self::Progressing | Self::Succeeded | Self::Failed | Self::Terminating
                )
            }
            Self::Progressing => matches!(
                next,
                Self::WaitingPromotion
                    | Self::Promoting
                    | Self::Succeeded
                    | Self::Failed
                    | Self::Terminating
            ),
            Self::WaitingPromotion => matches!(
                next,
                Self::Progressing
                    | Self::Promoting
                    | Self::Succeeded
                    | Self::Failed
                    | Self::Terminating
            ),
            Self::Promoting => matches!(
                next,
                Self::Progressing | Self::Finalising | Self::Failed | Self::Terminating
            ),
            Self::Finalising => {
                matches!(next, Self::Promoting | Self::Succeeded | Self::Terminating)
            }
            Self::Succeeded => matches!(
                next,
                Self::Waiting | Self::Progressing | Self::Failed | Self::Terminating
            ),
            Self::Failed => matches!(
                next,
                Self::Waiting | Self::Progressing | Self::Succeeded | Self::Terminating
            ),
            Self::Terminating => matches!(next, Self::Terminated),
            Self::Terminated => false,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A phase that none of ours is called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a phase of a canary")]
pub struct UnknownPhase(String);

impl FromStr for Phase {
    type Err = UnknownPhase;

    fn from_str(text: &str) -> Result<Self, UnknownPhase> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.as_str() == text)
            .ok_or_else(|| UnknownPhase(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table in this file's documentation.
    fn documented() -> Vec<(Phase, Phase)> {
        include_str!("phase.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .filter_map(|row| {
                let mut cells = row.split(" | ");
                Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
            })
            .collect()
    }

    #[test]
    fn the_table_and_the_match_say_the_same() {
        let rows = documented();
        for from in Phase::ALL {
            for to in Phase::ALL {
                let leaving = to == Phase::Terminating
                    && !matches!(from, Phase::Terminating | Phase::Terminated);
                let expected = leaving || rows.contains(&(from, to));
                assert_eq!(from.may_become(to), expected, "{from} → {to}");
            }
        }
    }

    #[test]
    fn every_name_parses_back() {
        for phase in Phase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
        }
    }
}
