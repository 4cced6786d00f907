//! The comparison of canary and primary: harm ends a run at once, and without a clear "no harm
//! shown" there is no promotion. Pure.
//!
//! It never makes a run faster: a weight rises, and a revision is promoted, when the checks say so.

use super::agenda::{Move, next_move};
use super::stage::Stay;
use super::{Machine, Turn};
use crate::judgement::Progress;

impl Machine<'_> {
    /// Adds what was counted; a canary that is shown to be worse is given up, whatever is waited
    /// for, unless a person wants it promoted without analysis.
    pub(super) fn judge(&mut self) -> Turn {
        let Some(terms) = &self.strategy.judgement else {
            return Ok(());
        };
        let seen = self.seen;
        let run = self.run()?;
        if let Some(counted) = seen.counted.as_ref().filter(|one| one.run == run.id) {
            for block in &counted.blocks {
                run.record.add(block, terms);
            }
        }
        if run.shortcut.is_some() || self.strategy.skip_analysis {
            return Ok(());
        }
        match self.run()?.record.harm(terms) {
            Some(opinion) => self.roll_back(&opinion.to_string()),
            None => Ok(()),
        }
    }

    /// Why a run whose next move is its promotion, with nothing to stay for, is not promoted yet.
    pub(super) fn reservation(&mut self, stay: Option<Stay>) -> Turn<Option<String>> {
        let (strategy, seen) = (self.strategy, self.seen);
        let Some(terms) = &strategy.judgement else {
            return Ok(None);
        };
        let run = self.run()?;
        if stay.is_some() || next_move(strategy, run) != Move::Promote {
            run.record.progress = Progress::Running;
            return Ok(None);
        }
        run.record.progress = Progress::Complete;
        let Some(opinion) = run.record.reservation(terms) else {
            return Ok(None);
        };
        let counted = seen.counted.as_ref();
        let trouble = counted.and_then(|counted| counted.trouble.as_deref());
        Ok(Some(match trouble {
            Some(trouble) => format!("{opinion}; {trouble}"),
            None => opinion.to_string(),
        }))
    }
}
