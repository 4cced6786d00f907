//! How many replicas the canary needs. Pure.

use super::agenda::{Move, next_move};
use super::{Machine, Turn, stage};
use crate::effect::Effect;
use crate::phase::Phase;
use crate::stage::Size;
use crate::state::Run;
use crate::strategy::{Capacity, Plan, Strategy};
use crate::weight::Weight;

impl Machine<'_> {
    /// Brings the canary up to the size that its traffic needs: before that traffic comes.
    pub(super) fn grow(&mut self) -> Turn {
        let canary = self.canary();
        match self.size().or_else(|| self.shortage()) {
            Some(replicas) if canary.desired > 0 && canary.desired < replicas => {
                self.scale(canary.desired, replicas)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Brings it down to that size: only called once no more traffic is in effect.
    pub(super) fn shrink(&mut self) -> Turn {
        let canary = self.canary();
        match self.size() {
            Some(replicas) if canary.desired > replicas => self.scale(canary.desired, replicas),
            Some(_) | None => Ok(()),
        }
    }

    fn scale(&mut self, from: u32, replicas: u32) -> Turn {
        self.act(
            Effect::ScaleCanary { replicas },
            format!("scaling the canary from {from} to {replicas}"),
        )
    }

    /// The primary's size, for a canary that is smaller than its share of the traffic although no
    /// step wants it so: the spec may have said so until now.
    fn shortage(&self) -> Option<u32> {
        let is_free = self.strategy.sized
            && self.seen.autoscaler_minimum.is_none()
            && !matches!(self.strategy.plan, Plan::Iterations { .. });
        let primary = self.seen.primary.as_ref().filter(|_| is_free)?.desired;
        let weight = self.state.run.as_ref()?.weight;
        let share = Size::Percent(u32::from(weight.get())).replicas(primary);
        (self.canary().desired < share).then_some(primary)
    }

    /// Whether the canary can answer everybody, as far as its size tells.
    pub(super) fn is_full(&self) -> bool {
        let canary = self.canary();
        let size = self.size().or_else(|| self.shortage());
        canary.is_ready() && size.is_none_or(|size| canary.desired >= size)
    }

    /// The replicas that the canary is to have; `None` where it keeps those that it came up with.
    pub(super) fn size(&self) -> Option<u32> {
        if !self.strategy.is_resized() {
            return None;
        }
        let primary = self.seen.primary.as_ref()?.desired.max(1);
        let run = self.state.run.as_ref()?;
        let analysed = matches!(
            self.state.phase,
            Some(Phase::Progressing | Phase::WaitingPromotion)
        );
        if !analysed || self.state.retained {
            return Some(primary);
        }
        let size = size(self.strategy, run);
        Some(size.map_or(primary, |size| size.replicas(primary)))
    }
}

impl Strategy {
    /// Whether the canary's size depends on the step, and is not a wish for the primary's too.
    pub fn is_resized(&self) -> bool {
        let by_stage = match &self.plan {
            Plan::Staged { stages, .. } => stages.iter().any(|stage| stage.size.is_some()),
            Plan::Weighted { .. } | Plan::Iterations { .. } => false,
        };
        self.sized && (by_stage || self.capacity == Capacity::Proportional)
    }
}

/// What the step asks for, before the first one what that will; `None` is the primary's size.
fn size(strategy: &Strategy, run: &Run) -> Option<Size> {
    let coming = || match next_move(strategy, run) {
        Move::Stage(number) => Some(number),
        Move::Mirror | Move::Weight(_) | Move::Iterate | Move::Promote => None,
    };
    let stage = stage::current(strategy, run).or_else(|| match &strategy.plan {
        Plan::Staged { stages, .. } => stage::numbered(stages, coming()?),
        Plan::Weighted { .. } | Plan::Iterations { .. } => None,
    });
    let own = stage.and_then(|stage| stage.size);
    own.or_else(|| match strategy.capacity {
        Capacity::Full => None,
        Capacity::Proportional => share(strategy, run),
    })
}

/// The share of the primary's size that the traffic of the step is.
fn share(strategy: &Strategy, run: &Run) -> Option<Size> {
    // Copies of requests are requests too.
    if run.mirrored {
        return None;
    }
    let weight = match (&strategy.plan, next_move(strategy, run)) {
        (Plan::Iterations { .. }, _) | (_, Move::Mirror) => return None,
        (_, Move::Weight(first)) if run.weight == Weight::ZERO => first,
        (Plan::Staged { stages, .. }, Move::Stage(first)) if run.weight == Weight::ZERO => {
            stage::numbered(stages, first)?.weight
        }
        _ => run.weight,
    };
    Some(Size::Percent(u32::from(weight.get())))
}
