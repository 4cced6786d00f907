//! What the primary ran before: which of it is kept, and how it is gone back to. Pure.
//!
//! Going back writes no target: what it asks for is refused instead, and stays so until something
//! else is promoted, the target comes to what the primary runs, or a person wants it tried again.

use super::{Machine, Turn};
use crate::effect::Effect;
use crate::event::{Reason, Severity};
use crate::observation::{Readiness, Revision, Role};
use crate::phase::Phase;
use crate::state::{Round, State};

/// As many revisions are kept beside the one that the primary runs.
const MOST_KEPT: usize = 2;

impl Machine<'_> {
    /// All that the primary can be given back, beginning with what it is to run now.
    pub(super) fn keeping(&self) -> Vec<Revision> {
        let State { promoted, kept, .. } = &self.state;
        promoted.iter().chain(kept).cloned().collect()
    }

    /// Notes that `revision` is promoted: what came before it is kept, unless it is no good.
    pub(super) fn keep_predecessor(&mut self, revision: &Revision) {
        let State {
            promoted,
            refused,
            kept,
            ..
        } = &mut self.state;
        kept.splice(0..0, promoted.replace(revision.clone()));
        kept.retain(|one| one != revision && !refused.contains(one));
        kept.truncate(MOST_KEPT);
        refused.clear();
    }

    /// Refuses a revision that failed; those that were gone back from stay refused.
    pub(super) fn refuse(&mut self, revision: Revision) {
        let State { refused, kept, .. } = &mut self.state;
        refused.retain(|one| kept.contains(one) && *one != revision);
        refused.insert(0, revision);
    }

    /// Holds nothing against any revision any more; what was gone back from is not kept either.
    pub(super) fn absolve(&mut self) {
        let State { refused, kept, .. } = &mut self.state;
        kept.retain(|one| !refused.contains(one));
        refused.clear();
    }

    /// The revision that is gone back to, or why there is none.
    pub(super) fn destination(&self, asked: Option<&str>) -> Result<Revision, String> {
        let State {
            promoted,
            refused,
            kept,
            ..
        } = &self.state;
        let names: Vec<&str> = kept.iter().map(|one| one.0.as_str()).collect();
        let names = names.join(" and ");
        if kept.is_empty() {
            return Err(
                "no earlier revision is kept; release the earlier version again instead".to_owned(),
            );
        }
        let Some(asked) = asked else {
            let good = kept.iter().find(|one| !refused.contains(one));
            return good.cloned().ok_or_else(|| {
                format!("what is kept was gone back from already; name it to have it: {names}")
            });
        };
        if promoted.as_ref().is_some_and(|now| now.0 == asked) {
            return Err(format!("the primary is at revision {asked} already"));
        }
        let exact = kept.iter().find(|one| one.0 == asked);
        let mut alike = kept.iter().filter(|one| one.0.starts_with(asked));
        let found = exact.or_else(|| alike.next().filter(|_| alike.next().is_none()));
        found
            .cloned()
            .ok_or_else(|| format!("revision {asked} is not kept; kept are: {names}"))
    }

    /// Why a Canary at rest does not go back, if it does not.
    pub(super) fn refusal_of_return(&self, asked: Option<&str>) -> Option<String> {
        let destination = match self.destination(asked) {
            Ok(destination) => destination,
            Err(why) => return Some(why),
        };
        if self.state.retained {
            return Some(
                "the canary keeps all traffic since the primary did not come up; release a fix"
                    .to_owned(),
            );
        }
        let given = self.seen.primary.as_ref()?.revision.as_ref();
        (given != self.state.promoted.as_ref()).then(|| {
            format!(
                "the primary is still being given what it ran before; then ask for {destination}"
            )
        })
    }

    /// Goes back to `revision`; the effect follows from the phase.
    pub(super) fn go_back(&mut self, revision: &Revision, severity: Severity, why: &str) -> Turn {
        let State {
            promoted,
            refused,
            kept,
            ..
        } = &mut self.state;
        let left = promoted.replace(revision.clone());
        kept.retain(|one| one != revision);
        let undone = refused.contains(revision);
        refused.retain(|one| one != revision);
        let mut note = format!("the primary goes back to revision {revision}: {why}");
        if let Some(left) = left {
            note = format!("revision {left} is rolled back to {revision}: {why}");
            if !undone {
                // What failed last is told first.
                refused.push(left.clone());
            }
            kept.insert(0, left);
        }
        if let Some(run) = &mut self.state.run {
            run.bake = None;
            run.held_by = None;
            run.step = run.step.saturating_add(1);
            run.round = Round::default();
            run.objection = Some(format!("to revision {revision}, {why}"));
        }
        self.state.closing = true;
        self.alert(severity, Reason::RolledBack, note);
        self.become_phase(Phase::Failed)
    }

    /// A primary that runs something else than it should gets it back.
    pub(super) fn restore_primary(&mut self) -> Turn {
        let primary = self.seen.primary.as_ref();
        let given = primary.and_then(|primary| primary.revision.as_ref());
        let strays = self.state.phase == Some(Phase::Failed)
            && given.is_some()
            // Its size and labels are the target's.
            && self.seen.canary.is_some()
            // A fix goes to the primary over whatever it has.
            && !(self.state.retained && self.new_revision().is_some());
        let promoted = self.state.promoted.clone();
        let Some(revision) = promoted.filter(|promoted| strays && Some(promoted) != given) else {
            return Ok(());
        };
        let message = format!("giving revision {revision} back to the primary");
        let keeping = self.keeping();
        self.act(Effect::RestorePrimary { revision, keeping }, message)
    }

    /// Why the primary is not ready, if it is not.
    pub(super) fn shortfall(primary: &Role) -> Option<String> {
        match &primary.readiness {
            Readiness::Stuck(why) | Readiness::Pending(why) => Some(why.clone()),
            Readiness::Ready => (!primary.can_take_more()).then(|| {
                format!(
                    "{} of {} ready endpoints",
                    primary.endpoints,
                    primary.needed.max(1)
                )
            }),
        }
    }
}
