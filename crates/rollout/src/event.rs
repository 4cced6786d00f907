//! What people are told: each event with a reason of its own. Pure data.

/// Why an event is sent; filterable, one for each thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The primary serves and the routes lead to it.
    Initialized,
    /// The target has a revision that is neither promoted nor refused.
    NewRevision,
    /// A newer revision took the place of the one in progress.
    RevisionSuperseded,
    /// The target went back to the promoted revision.
    Reverted,
    /// A `confirm-rollout` hook refused.
    RolloutHeld,
    /// The pre-rollout hooks passed.
    AnalysisStarted,
    /// A check or a pre-rollout hook failed.
    CheckFailed,
    /// A hook wants to be asked again later.
    CheckPostponed,
    /// A split is in effect.
    WeightInEffect,
    /// The proxies did not confirm a split in time.
    WeightUnconfirmed,
    /// A `confirm-traffic-increase` hook refused.
    IncreaseHeld,
    /// A `confirm-promotion` hook refused.
    PromotionHeld,
    /// An iteration begins.
    IterationStarted,
    /// An explicit step begins.
    StepStarted,
    /// An explicit step waits for a person.
    StepPaused,
    /// The primary gets the revision.
    Promoting,
    /// The primary runs the revision and has all traffic.
    Promoted,
    /// The run failed and traffic goes back to the primary.
    RolledBack,
    /// The primary did not become ready with the new revision.
    PromotionFailed,
    /// Traffic leaves the canary since it has no ready endpoint.
    Withdrawn,
    /// Traffic returns to the canary.
    Restored,
    /// Routes were changed by someone else and are put back.
    DriftCorrected,
    /// The primary was missing and is made again.
    PrimaryRecreated,
    /// A post-rollout hook failed.
    PostRolloutFailed,
    /// The Canary is being deleted.
    Terminating,
    /// A person wants the run to stand still.
    Paused,
    /// A person wants it to go on.
    Resumed,
    /// A person wants promotion without further analysis.
    PromotionRequested,
    /// A person gives the run up.
    Aborted,
    /// A person wants the failed revision to be tried again.
    Retried,
    /// A person gave the canary a weight.
    WeightSet,
    /// What another controller ran is ours now.
    TakenOver,
    /// A person wants the primary to go back to an earlier revision.
    RollbackRequested,
    /// What was promoted is checked for a while longer.
    BakeStarted,
    /// It held, or there is nothing more to check.
    BakeEnded,
    /// A person's command makes no sense now.
    CommandRefused,
}

impl Reason {
    /// The CamelCase name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialized => "Initialized",
            Self::NewRevision => "NewRevision",
            Self::RevisionSuperseded => "RevisionSuperseded",
            Self::Reverted => "Reverted",
            Self::RolloutHeld => "RolloutHeld",
            Self::AnalysisStarted => "AnalysisStarted",
            Self::CheckFailed => "CheckFailed",
            Self::CheckPostponed => "CheckPostponed",
            Self::WeightInEffect => "WeightInEffect",
            Self::WeightUnconfirmed => "WeightUnconfirmed",
            Self::IncreaseHeld => "IncreaseHeld",
            Self::PromotionHeld => "PromotionHeld",
            Self::IterationStarted => "IterationStarted",
            Self::StepStarted => "StepStarted",
            Self::StepPaused => "StepPaused",
            Self::Promoting => "Promoting",
            Self::Promoted => "Promoted",
            Self::RolledBack => "RolledBack",
            Self::PromotionFailed => "PromotionFailed",
            Self::Withdrawn => "Withdrawn",
            Self::Restored => "Restored",
            Self::DriftCorrected => "DriftCorrected",
            Self::PrimaryRecreated => "PrimaryRecreated",
            Self::PostRolloutFailed => "PostRolloutFailed",
            Self::Terminating => "Terminating",
            Self::Paused => "Paused",
            Self::Resumed => "Resumed",
            Self::PromotionRequested => "PromotionRequested",
            Self::Aborted => "Aborted",
            Self::Retried => "Retried",
            Self::WeightSet => "WeightSet",
            Self::TakenOver => "TakenOver",
            Self::RollbackRequested => "RollbackRequested",
            Self::BakeStarted => "BakeStarted",
            Self::BakeEnded => "BakeEnded",
            Self::CommandRefused => "CommandRefused",
        }
    }

    /// Whether it is something to worry about.
    pub const fn is_warning(self) -> bool {
        match self {
            Self::Initialized
            | Self::NewRevision
            | Self::RevisionSuperseded
            | Self::Reverted
            | Self::AnalysisStarted
            | Self::CheckPostponed
            | Self::WeightInEffect
            | Self::IterationStarted
            | Self::StepStarted
            | Self::StepPaused
            | Self::Promoting
            | Self::Promoted
            | Self::Restored
            | Self::Terminating
            | Self::Paused
            | Self::Resumed
            | Self::PromotionRequested
            | Self::Aborted
            | Self::Retried
            | Self::WeightSet
            | Self::TakenOver
            | Self::RollbackRequested
            | Self::BakeStarted
            | Self::BakeEnded => false,
            Self::RolloutHeld
            | Self::CheckFailed
            | Self::WeightUnconfirmed
            | Self::IncreaseHeld
            | Self::PromotionHeld
            | Self::RolledBack
            | Self::PromotionFailed
            | Self::Withdrawn
            | Self::DriftCorrected
            | Self::PrimaryRecreated
            | Self::PostRolloutFailed
            | Self::CommandRefused => true,
        }
    }
}

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Someone is waited for.
    Warn,
    /// Something failed.
    Error,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What kind of thing.
    pub reason: Reason,
    /// A sentence for people.
    pub note: String,
    /// Whether people are alerted, and how loudly.
    pub alert: Option<Severity>,
}
