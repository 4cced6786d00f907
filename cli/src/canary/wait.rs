//! Waits until a rollout ends, for pipelines.

use std::time::Duration;

use anyhow::Result;
use fairlead_crds::canary::{Canary, CanaryPhase, RunOutcome};

use super::{Canaries, follow, summary};
use crate::cluster::Error;
use crate::exit::Exit;
use crate::output::write;
use crate::terminal::one_line;

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    exit: Exit,
    message: String,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The end of the run.
    Ended,
    /// The end of the time that what was promoted bakes.
    Baked,
}

/// Waits.
pub(super) async fn run(
    canaries: &Canaries,
    name: &str,
    revision: Option<&str>,
    until: Until,
    timeout: Duration,
) -> Result<Exit> {
    canaries.read(name).await?;
    let ending = follow::until(canaries, name, timeout, |canary| {
        end(canary, revision, until)
    });
    let ended = Box::pin(ending).await;
    let Some(end) = ended else {
        let last = canaries.read(name).await?;
        let status = summary::status(&last);
        let phase = status.phase.unwrap_or_default();
        return Err(Error::TimedOut {
            what: format!(
                "Canary `{name}` did not come to an end within {timeout:?}; it is {phase}: {}",
                one_line(summary::message(&status))
            ),
        }
        .into());
    };
    write(&format!("{name}: {}\n", one_line(&end.message)))?;
    Ok(end.exit)
}

/// How it ended, if it has.
fn end(canary: &Canary, revision: Option<&str>, until: Until) -> Option<End> {
    let status = summary::status(canary);
    let rollout = status.rollout.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let at_rest = matches!(
        phase,
        CanaryPhase::Initialized | CanaryPhase::Succeeded | CanaryPhase::Failed
    );
    let run = rollout.run.as_ref();
    let bakes = run.is_some_and(|run| run.bake.is_some());
    if bakes && until == Until::Baked && phase == CanaryPhase::Succeeded {
        return None;
    }
    let Some(wanted) = revision else {
        return at_rest.then(|| End {
            exit: if phase == CanaryPhase::Failed {
                Exit::Failed
            } else {
                Exit::Succeeded
            },
            message: summary::message(&status).to_owned(),
        });
    };
    if at_rest && rollout.promoted_revision.as_deref() == Some(wanted) {
        return Some(End {
            exit: Exit::Succeeded,
            message: format!("revision {wanted} is promoted"),
        });
    }
    let mut refused = rollout.refused_revision.iter().chain(&rollout.also_refused);
    if phase == CanaryPhase::Failed && refused.any(|one| one == wanted) {
        return Some(End {
            exit: Exit::Failed,
            message: summary::message(&status).to_owned(),
        });
    }
    let last = status.history.iter().find(|run| run.revision == wanted)?;
    let why = match last.outcome? {
        RunOutcome::Superseded => "was superseded by a newer one",
        RunOutcome::RolledBack => "was promoted, and the primary went back from it",
        RunOutcome::Reverted => "was given up: the workload went back",
        // Whether it is tried again, or forgiven, is told by the phase above.
        RunOutcome::Failed | RunOutcome::Promoted => return None,
    };
    Some(End {
        exit: Exit::Failed,
        message: format!("revision {wanted} {why}"),
    })
}

#[cfg(test)]
mod tests {
    use fairlead_crds::canary::BakeStatus;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn exit(canary: &Canary, revision: Option<&str>) -> Option<Exit> {
        end(canary, revision, Until::Ended).map(|end| end.exit)
    }

    fn ended(phase: CanaryPhase, promoted: &str, refused: Option<&str>) -> Canary {
        let mut canary = summary::tests::canary();
        let status = canary.status.get_or_insert_default();
        status.phase = Some(phase);
        let rollout = status.rollout.get_or_insert_default();
        rollout.promoted_revision = Some(promoted.to_owned());
        rollout.refused_revision = refused.map(ToOwned::to_owned);
        canary
    }

    #[test]
    fn a_run_in_progress_has_no_end() {
        let canary = summary::tests::canary();
        for revision in [None, Some("r1"), Some("r2"), Some("r3")] {
            assert_eq!(exit(&canary, revision), None, "{revision:?}");
        }
    }

    #[test]
    fn promoted_is_success_and_refused_is_failure() {
        let promoted = ended(CanaryPhase::Succeeded, "r2", None);
        assert_eq!(exit(&promoted, Some("r2")), Some(Exit::Succeeded));
        assert_eq!(exit(&promoted, None), Some(Exit::Succeeded));
        let failed = ended(CanaryPhase::Failed, "r1", Some("r2"));
        assert_eq!(exit(&failed, Some("r2")), Some(Exit::Failed));
        assert_eq!(exit(&failed, None), Some(Exit::Failed));
    }

    #[test]
    fn what_bakes_is_waited_for_on_request_only() {
        let mut canary = ended(CanaryPhase::Succeeded, "r2", None);
        let rollout = canary.status.get_or_insert_default().rollout.as_mut();
        if let Some(run) = rollout.and_then(|rollout| rollout.run.as_mut()) {
            run.bake = Some(BakeStatus {
                since: MicroTime(Timestamp::UNIX_EPOCH),
                failed_checks: 0,
            });
        }
        for revision in [None, Some("r2")] {
            assert_eq!(exit(&canary, revision), Some(Exit::Succeeded));
            assert_eq!(end(&canary, revision, Until::Baked), None);
        }
        let status = canary.status.get_or_insert_default();
        status.phase = Some(CanaryPhase::Failed);
        let rollout = status.rollout.get_or_insert_default();
        rollout.promoted_revision = Some("r1".to_owned());
        rollout.also_refused = vec!["r2".to_owned()];
        let failed = end(&canary, Some("r2"), Until::Baked).map(|end| end.exit);
        assert_eq!(failed, Some(Exit::Failed));
    }

    #[test]
    fn a_revision_that_has_not_come_yet_is_waited_for() {
        let canary = ended(CanaryPhase::Succeeded, "r1", None);
        assert_eq!(exit(&canary, Some("r9")), None);
    }

    #[test]
    fn a_revision_that_was_overtaken_has_failed() {
        let mut canary = ended(CanaryPhase::Succeeded, "r3", None);
        let history = &mut canary.status.get_or_insert_default().history;
        history[0].outcome = Some(RunOutcome::Superseded);
        assert_eq!(exit(&canary, Some("r2")), Some(Exit::Failed));
    }
}
