//! The cases, as data: which rollout, interrupted where and how.

use std::fmt;

use fairlead_crds::canary::CanaryPhase;
use serde_json::{Value, json};

use super::edit::Edit;
use crate::target::Target;

/// A rollout that can be told from the first revision to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rollout {
    pub(super) strategy: Strategy,
    pub(super) target: Target,
    pub(super) outcome: Outcome,
}

/// A way to divide traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strategy {
    /// Equal steps.
    Weighted,
    /// The same, and a gate before promotion.
    Approved,
    /// Steps of a list, and steps back in promotion.
    Listed,
    /// Steps with rules of their own.
    Staged,
    /// Equal steps, and clients keep the version that they got.
    Sticky,
    /// Matched requests, for some iterations (A/B).
    Matched,
    /// Matched requests, and a rising share of the rest.
    MatchedWeighted,
    /// No traffic until the end (blue/green).
    BlueGreen,
    /// The same with copies of requests.
    Mirrored,
    /// No analysis.
    Unanalysed,
    /// Services alone, without routes.
    Services,
    /// Equal steps in an HTTPRoute.
    Gateway,
}

/// How a rollout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Promoted,
    Failed,
}

/// The operator ends or is paused, people do something or nothing, and another one is started; or
/// the API server misbehaves, and the operator lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interruption {
    pub(super) kind: Kind,
    /// Counted from 1.
    pub(super) write: usize,
    pub(super) edit: Option<Edit>,
}

/// What goes wrong at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The operator ends, and the API server never hears of the write.
    Before,
    /// The operator ends when the API server has heard of it.
    After,
    /// The API server hears of it when another leader has brought the rollout to its end.
    Held,
    /// The API server answers that somebody else was first.
    Conflict,
    /// The API server has taken it, and its answer is lost.
    Unanswered,
    /// The API server is away for a moment.
    Away,
    /// Watches are late from there on.
    Lagging,
    /// All watches break.
    Broken,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Before,
        Self::After,
        Self::Held,
        Self::Conflict,
        Self::Unanswered,
        Self::Away,
        Self::Lagging,
        Self::Broken,
    ];

    /// As the operator reads it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Held => "held",
            Self::Conflict => "conflict",
            Self::Unanswered => "unanswered",
            Self::Away => "away",
            Self::Lagging => "lagging",
            Self::Broken => "broken",
        }
    }
}

impl Rollout {
    /// Every strategy with every kind of target and both outcomes.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for strategy in Strategy::ALL {
            for target in Target::ALL {
                all.extend([Outcome::Promoted, Outcome::Failed].map(|outcome| Self {
                    strategy,
                    target,
                    outcome,
                }));
            }
        }
        all
    }

    /// All that is done to it at one of its writes: its operator ends before or after it, or is paused
    /// and loses its lease; or what it talks to misbehaves; and, in some rollouts, people edit
    /// something before there is another operator, or while the write is on its way.
    pub(super) fn interruptions(self, write: usize) -> Vec<Interruption> {
        let interruption = |kind, edit| Interruption { kind, write, edit };
        let mut all: Vec<Interruption> = Kind::ALL.map(|kind| interruption(kind, None)).into();
        if self.is_edited() {
            for kind in [Kind::After, Kind::Held] {
                all.extend(Edit::ALL.map(|edit| interruption(kind, Some(edit))));
            }
        }
        all
    }

    /// Whether people edit something in it: the gate before promotion adds a phase, and without it
    /// each kind of target is released once.
    const fn is_edited(self) -> bool {
        matches!(
            (self.strategy, self.target, self.outcome),
            (Strategy::Approved, Target::Deployment, Outcome::Promoted)
                | (Strategy::Weighted, _, Outcome::Promoted)
        )
    }

    /// Whether it is the first of those that are prepared in the same way, until the first revision
    /// serves: this part is interrupted once for all of them.
    pub(super) const fn is_prepared_first(self) -> bool {
        let first = match self.strategy {
            Strategy::Weighted | Strategy::Services | Strategy::Gateway => true,
            Strategy::Approved
            | Strategy::Listed
            | Strategy::Staged
            | Strategy::Sticky
            | Strategy::Matched
            | Strategy::MatchedWeighted
            | Strategy::BlueGreen
            | Strategy::Mirrored
            | Strategy::Unanalysed => false,
        };
        first && matches!(self.outcome, Outcome::Promoted)
    }

    /// The phases that it passes, each once.
    pub(super) const fn phases(self) -> &'static [CanaryPhase] {
        use CanaryPhase::{
            Failed, Finalising, Initialized, Initializing, Progressing, Promoting, Succeeded,
            WaitingPromotion,
        };
        match self.outcome {
            Outcome::Promoted if matches!(self.strategy, Strategy::Approved) => &[
                Initializing,
                Initialized,
                Progressing,
                WaitingPromotion,
                Progressing,
                Promoting,
                Finalising,
                Succeeded,
            ],
            Outcome::Promoted => &[
                Initializing,
                Initialized,
                Progressing,
                Promoting,
                Finalising,
                Succeeded,
            ],
            Outcome::Failed => &[Initializing, Initialized, Progressing, Failed],
        }
    }

    /// The canary's weights, each once.
    pub(super) const fn weights(self) -> &'static [u8] {
        match (self.strategy, self.outcome) {
            (
                Strategy::Weighted
                | Strategy::Approved
                | Strategy::Sticky
                | Strategy::MatchedWeighted,
                Outcome::Promoted,
            ) => &[0, 40, 80, 0],
            (
                Strategy::Weighted
                | Strategy::Approved
                | Strategy::Sticky
                | Strategy::MatchedWeighted,
                Outcome::Failed,
            ) => &[0, 40, 0],
            (Strategy::Staged, Outcome::Promoted) => &[0, 20, 70, 0],
            (Strategy::Staged, Outcome::Failed) => &[0, 20, 0],
            (Strategy::Listed, Outcome::Promoted) => &[0, 10, 60, 20, 0],
            (Strategy::Listed, Outcome::Failed) => &[0, 10, 0],
            (Strategy::Matched, _) => &[0, 100, 0],
            (Strategy::BlueGreen | Strategy::Mirrored, Outcome::Promoted) => &[0, 100, 0],
            (Strategy::BlueGreen | Strategy::Mirrored, Outcome::Failed) => &[0],
            (Strategy::Unanalysed, _) => &[0],
            (Strategy::Services, _) => &[],
            (Strategy::Gateway, _) => &[0, 50, 0],
        }
    }

    /// What the primary runs at the end.
    pub(super) const fn image(self) -> &'static str {
        match self.outcome {
            Outcome::Promoted => "podinfo:2",
            Outcome::Failed => "podinfo:1",
        }
    }
}

impl Strategy {
    const ALL: [Self; 12] = [
        Self::Weighted,
        Self::Approved,
        Self::Listed,
        Self::Staged,
        Self::Sticky,
        Self::Matched,
        Self::MatchedWeighted,
        Self::BlueGreen,
        Self::Mirrored,
        Self::Unanalysed,
        Self::Services,
        Self::Gateway,
    ];

    /// Makes a quick Canary one with this strategy.
    pub(super) fn set(self, spec: &mut Value) {
        let own = match self {
            Self::Weighted | Self::Approved => json!({ "stepWeight": 40, "maxWeight": 80 }),
            Self::Listed => json!({ "stepWeights": [10, 60], "stepWeightPromotion": 40 }),
            Self::Staged => json!({ "steps": [
                { "weight": 20, "duration": "200ms" },
                { "weight": 70, "checks": ["request-success-rate"] },
            ] }),
            Self::Sticky => json!({
                "stepWeight": 40, "maxWeight": 80,
                "sessionAffinity": { "cookieName": "new", "primaryCookieName": "old" },
            }),
            Self::Matched => json!({ "iterations": 2, "match": insiders() }),
            Self::MatchedWeighted => json!({
                "stepWeight": 40, "maxWeight": 80, "match": insiders(), "weightScope": "Rest",
            }),
            Self::BlueGreen | Self::Services => json!({ "iterations": 2 }),
            Self::Mirrored => json!({ "iterations": 2, "mirror": true }),
            Self::Unanalysed => json!({ "stepWeight": 50 }),
            Self::Gateway => json!({ "stepWeight": 50, "maxWeight": 50 }),
        };
        if let (Some(analysis), Value::Object(own)) = (spec["analysis"].as_object_mut(), own) {
            analysis.retain(|field, _| field != "stepWeight" && field != "maxWeight");
            analysis.extend(own);
        }
        match self {
            Self::Unanalysed => spec["skipAnalysis"] = json!(true),
            Self::Services => spec["provider"] = json!("kubernetes"),
            Self::Gateway => {
                spec["provider"] = json!("gatewayapi:v1");
                spec["service"]["gatewayRefs"] = json!([{ "name": "public" }]);
                spec["service"]["hosts"] = json!(["podinfo.example"]);
            }
            Self::Weighted
            | Self::Approved
            | Self::Listed
            | Self::Staged
            | Self::Sticky
            | Self::Matched
            | Self::MatchedWeighted
            | Self::BlueGreen
            | Self::Mirrored => {}
        }
    }
}

/// Requests with a header.
fn insiders() -> Value {
    json!([{ "headers": { "x-user": { "exact": "insider" } } }])
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            strategy,
            target,
            outcome,
        } = self;
        write!(f, "{strategy:?} {target:?} {outcome:?}")
    }
}

impl Interruption {
    /// As the operator reads it.
    pub(super) fn fault(self) -> String {
        format!("{}:{}", self.kind.as_str(), self.write)
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault())?;
        match self.edit {
            Some(edit) => write!(f, " and {edit:?}"),
            None => Ok(()),
        }
    }
}
