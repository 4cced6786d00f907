//! A spec that cannot be carried out: everything stands still until it is fixed, but for traffic
//! that the canary cannot answer, or answers worse, and a primary that is to get back what it ran.
//! Pure.

use super::{Last, Machine, Turn, held};
use crate::phase::Phase;
use crate::weight::{Split, Weight};

impl Machine<'_> {
    /// Holds the rollout where it is; nothing rises, nothing is scaled, nobody is asked.
    pub(super) fn freeze(&mut self, why: &str) -> Last {
        self.rescue()?;
        held(format!("{why}; until then the rollout stands still"))
    }

    /// Takes the traffic from a canary without endpoints or shown to be worse, by the rules of its phase.
    fn rescue(&mut self) -> Turn {
        let Some(primary) = self.seen.primary.clone() else {
            return Ok(());
        };
        let wanted = match self.state.phase {
            Some(Phase::Progressing | Phase::WaitingPromotion) => {
                self.judge()?;
                self.withdraw(&primary)?;
                self.wanted()?
            }
            Some(Phase::Promoting) => {
                self.protect(&primary)?;
                self.wanted()?
            }
            Some(Phase::Initialized | Phase::Succeeded | Phase::Failed) => {
                self.release_lost_canary();
                if self.state.retained {
                    self.bind(Split::to_canary(Weight::FULL))
                } else {
                    Split::PRIMARY
                }
            }
            None
            | Some(
                Phase::Initializing
                | Phase::Waiting
                | Phase::Finalising
                | Phase::Terminating
                | Phase::Terminated,
            ) => return Ok(()),
        };
        let falls = |split: Split| split != wanted && !split.raises_canary(wanted);
        if self.seen.split.is_some_and(falls) {
            self.settle(wanted)?;
        }
        self.restore_primary()
    }
}
