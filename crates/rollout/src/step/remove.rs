//! Deletion: the target takes over again before the Canary lets go. Pure.

use super::{Last, Machine, Role, held, wait};
use crate::effect::Effect;
use crate::event::{Reason, Severity};
use crate::observation::Readiness;
use crate::phase::Phase;
use crate::weight::Split;

impl Machine<'_> {
    /// Scales the target up, waits for it within the deadline, gives everything back.
    ///
    /// A target that does not come up must not hold the deletion (of a namespace, say) for ever.
    pub(super) fn remove(&mut self) -> Last {
        if self.state.phase != Some(Phase::Terminating) {
            self.state.phase = Some(Phase::Terminating);
            self.state.unready_since = None;
            self.alert(
                Severity::Info,
                Reason::Terminating,
                "giving back to the target",
            );
        }
        if self.seen.canary.is_some() && self.seen.primary.is_some() && !self.deadline_is_over() {
            let canary_serves = self.canary().serves();
            let takes = |primary: &Role| primary.serves() && (primary.observed || !canary_serves);
            let primary_takes = self.seen.primary.as_ref().is_some_and(takes);
            if self.seen.split.is_some() && primary_takes {
                self.settle(Split::PRIMARY)?;
            }
            self.scale_up()?;
            self.grow()?;
            let canary = self.canary();
            if !canary.is_ready() {
                return match canary.readiness {
                    Readiness::Ready => wait("waiting for the target's endpoints"),
                    Readiness::Pending(why) => wait(format!("waiting for the target: {why}")),
                    Readiness::Stuck(why) => held(format!("waiting for the target: {why}")),
                };
            }
        }
        self.act(Effect::GiveBack, "giving back to the target")
    }
}
