//! After a promotion: for a while the primary is checked as its canary was, and goes back to what
//! it ran before when it does not hold. Pure.
//!
//! Nothing is held up by it: a newer revision starts its run, and ends this.

use jiff::Unit;

use super::agenda::Objection;
use super::{Machine, Turn, after, wait};
use crate::event::{Reason, Severity};
use crate::observation::{Readiness, Role};
use crate::probe::{HookKind, Probe, Subject};
use crate::stage::Selection;
use crate::state::Bake;

impl Machine<'_> {
    /// Begins to bake what was promoted, where that is asked for and something can be gone back to.
    pub(super) fn start_to_bake(&mut self) {
        let (Some(length), Ok(destination)) = (self.strategy.bake, self.destination(None)) else {
            return;
        };
        let now = self.now;
        let Some(run) = &mut self.state.run else {
            return;
        };
        run.bake = Some(Bake {
            since: now,
            failed_checks: 0,
        });
        run.step = run.step.saturating_add(1);
        let note = format!(
            "revision {} bakes until {}: if a check fails it goes back to {destination}",
            run.revision,
            seconds(after(now, length))
        );
        self.tell(Reason::BakeStarted, note);
    }

    /// Whether what was promoted is still being checked.
    pub(super) fn is_baking(&self) -> bool {
        let run = self.state.run.as_ref();
        run.is_some_and(|run| run.bake.is_some()) && self.strategy.bake.is_some()
    }

    /// One check of the primary, when it is due; goes on when nothing bakes any more.
    pub(super) fn bake(&mut self, primary: &Role) -> Turn {
        let run = self.state.run.as_ref();
        let Some((bake, checked)) = run.and_then(|run| Some((run.bake?, run.checked_at))) else {
            return Ok(());
        };
        let Some(length) = self.strategy.bake else {
            return self.end_bake("the spec asks for no bake any more");
        };
        if let Readiness::Stuck(why) = &primary.readiness {
            return self.give_way(&format!("the primary does not come up: {why}"));
        }
        let end = after(bake.since, length);
        let since = checked.map_or(bake.since, |checked| checked.max(bake.since));
        let due = after(since, self.strategy.interval);
        // It ends with a check, whatever the interval is.
        let due = if end > since { due.min(end) } else { due };
        if self.now < due {
            self.wake_at(due);
            return wait(self.bakes()?);
        }
        if let Some(why) = Self::shortfall(primary) {
            return self.count_against(bake, &format!("the primary is not ready: {why}"));
        }
        let agenda = self.bake_agenda();
        if let Some(Objection { kind, why }) = self.consult(&agenda)? {
            return match kind {
                Some(HookKind::Rollback) => self.give_way(&why),
                Some(_) | None => self.count_against(bake, &why),
            };
        }
        self.run()?.objection = None;
        self.end_attempt()?;
        if self.now >= end {
            return self.end_bake("it held");
        }
        wait(self.bakes()?)
    }

    /// What is asked: hooks of other kinds are about a canary, and there is none.
    fn bake_agenda(&self) -> Vec<Probe> {
        let mut agenda = self.strategy.probes(HookKind::Rollback);
        if self.strategy.has_metrics {
            agenda.push(Probe::Metrics {
                which: Selection::All,
                of: Subject::Primary,
            });
        }
        agenda
    }

    /// Counts a failed check; the one that reaches the threshold goes back at once.
    fn count_against(&mut self, bake: Bake, why: &str) -> Turn {
        let threshold = self.strategy.threshold.max(1);
        let failed = bake.failed_checks.saturating_add(1);
        let run = self.run()?;
        run.bake = Some(Bake {
            failed_checks: failed,
            ..bake
        });
        run.objection = Some(why.to_owned());
        let note = format!("check of the primary failed ({failed} of {threshold}): {why}");
        self.tell(Reason::CheckFailed, note);
        if failed >= threshold {
            return self.give_way(&format!(
                "{failed} failed checks while it baked, the last one: {why}"
            ));
        }
        self.end_attempt()?;
        wait(self.bakes()?)
    }

    /// Goes back to what the primary ran before.
    fn give_way(&mut self, why: &str) -> Turn {
        match self.destination(None) {
            Ok(revision) => self.go_back(&revision, Severity::Error, why),
            // Only a status that someone wrote by hand has come to this.
            Err(nowhere) => self.end_bake(&format!("{why}, but {nowhere}")),
        }
    }

    fn end_bake(&mut self, how: &str) -> Turn {
        let run = self.run()?;
        run.bake = None;
        let note = format!("revision {} has baked: {how}", run.revision);
        self.alert(Severity::Info, Reason::BakeEnded, note);
        Ok(())
    }

    /// What goes on between two checks, and while one reads metrics.
    pub(super) fn bakes(&mut self) -> Turn<String> {
        let length = self.strategy.bake.unwrap_or_default();
        let run = self.run()?;
        let since = run.bake.map(|bake| bake.since).unwrap_or_default();
        let last = run.objection.as_ref();
        let last = last.map(|why| format!("; the last check failed: {why}"));
        Ok(format!(
            "the primary bakes until {}: `rollback-to` gives it back what it ran before{}",
            seconds(after(since, length)),
            last.unwrap_or_default()
        ))
    }
}

/// As people read it.
fn seconds(time: jiff::Timestamp) -> jiff::Timestamp {
    time.round(Unit::Second).unwrap_or(time)
}
