//! What the world looks like at one moment: workloads, endpoints, routes, answers. Pure data.

use std::fmt;

use crate::command::Request;
use crate::judgement::Block;
use crate::probe::{ProbeKey, Verdict};
use crate::weight::Split;

/// The identity of what a workload runs: template and tracked configs.
///
/// Opaque here; equal means the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub String);

impl Revision {
    /// The name of what a primary ran when it was taken over from another controller, which named
    /// its revisions in its own way.
    pub fn inherited() -> Self {
        Self("inherited".to_owned())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the two workloads and the endpoints of its Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The replicas asked for.
    pub desired: u32,
    /// What the workload says of itself.
    pub readiness: Readiness,
    /// Whether its controller has acted on the last change. Until then its endpoints are those of
    /// pods that may be about to go.
    pub observed: bool,
    /// Ready endpoints of its Service.
    pub endpoints: u32,
    /// The ready endpoints it needs before its traffic may rise.
    pub needed: u32,
    /// What it was last given to run; `None` when unknown.
    pub revision: Option<Revision>,
}

impl Role {
    /// Whether any request to it can be answered.
    pub const fn serves(&self) -> bool {
        self.endpoints > 0
    }

    /// Whether it has the ready endpoints that a raise of its traffic needs.
    pub fn can_take_more(&self) -> bool {
        self.endpoints >= self.needed.max(1)
    }

    /// Whether the workload is rolled out and its endpoints are there.
    pub fn is_ready(&self) -> bool {
        matches!(self.readiness, Readiness::Ready) && self.can_take_more()
    }
}

/// What a workload says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All replicas are updated and enough are available.
    Ready,
    /// On its way, and why it is not there yet.
    Pending(String),
    /// It will not get there by itself: its own deadline is over, or its containers crash.
    Stuck(String),
}

/// What another controller left: how the primary compares with the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inheritance {
    /// The primary runs what the target asks for.
    Same,
    /// It runs something else.
    Different,
    /// It cannot be told, or that controller is still at work; and why.
    Unclear(String),
}

/// The answer to a question that an earlier effect asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question.
    pub key: ProbeKey,
    /// The answer.
    pub verdict: Verdict,
}

/// What was counted of both roles for the judgement of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// The run that it was counted for.
    pub run: u64,
    /// The blocks since the last decision that was stored, and maybe earlier ones; oldest first.
    pub blocks: Vec<Block>,
    /// What keeps more from being counted.
    pub trouble: Option<String>,
}

/// What the world looks like, read after the last change was made.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub struct Observation {
    /// The target's current revision, or why it is not known.
    pub revision: Result<Revision, String>,
    /// The target workload, which is the canary; `None` when it does not exist.
    pub canary: Option<Role>,
    /// The primary workload, once it exists.
    pub primary: Option<Role>,
    /// The fewest replicas that the target's autoscaler keeps, when it has one.
    pub autoscaler_minimum: Option<u32>,
    /// Whether the objects that carry no traffic by themselves stand as they should.
    pub prepared: bool,
    /// The split that the routes hold; `None` while they do not exist or do not lead to us.
    pub split: Option<Split>,
    /// Whether the routes, weights aside, stand as they should.
    pub routes_current: bool,
    /// Whether every proxy has the routes as they stand.
    pub acked: bool,
    /// Answers to questions of the previous decision.
    pub answers: Vec<Answer>,
    /// What was counted for the judgement, when there is one.
    pub counted: Option<Counted>,
    /// What another controller left; looked at only while the state is
    /// [foreign](crate::State::is_foreign).
    pub inheritance: Option<Inheritance>,
    /// Whether the Canary is being deleted and waits for us to give back.
    pub deleting: bool,
    /// What is wrong with the spec as people see it, and the fix; the strategy is then that of the
    /// last one that could be carried out.
    pub invalid: Option<String>,
    /// The command that a person left, handled or not.
    pub command: Option<Request>,
}

impl Observation {
    /// The target's current revision, when it is known.
    pub fn current(&self) -> Option<&Revision> {
        self.revision.as_ref().ok()
    }
}
