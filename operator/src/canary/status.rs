//! The stored state of a Canary, to and from `.status`, and its conditions. Pure.
//!
//! Flagger's fields are written for people and tools; what a restart needs stands in
//! `status.rollout`. Only the phase is read from Flagger's part.

use fairlead_crds::canary::{
    CanaryPhase, CanaryStatus, CheckStatus, Number, PlaceStatus, PostponedStatus, RolloutStatus,
    RunStatus, TrafficStatus,
};
use fairlead_crds::{ConditionStatus, ConditionType, Finding, remove_condition, set_condition};
use fairlead_rollout::judgement::Terms;
use fairlead_rollout::{
    Intent, Phase, Place, Postponed, Revision, Round, Run, Split, State, Weight,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

use super::{bake, evidence, steer};
use crate::analysis;

/// What the conditions say beside the state.
#[derive(Clone, Debug)]
pub(super) struct Report<'a> {
    /// What is going on, in one sentence.
    pub(super) message: &'a str,
    /// What stands in the way besides.
    pub(super) trouble: Option<Trouble>,
    /// Fields that are accepted but do nothing yet.
    pub(super) inert: &'a [&'static str],
    /// The generation of the spec.
    pub(super) generation: Option<i64>,
    /// The time.
    pub(super) now: Timestamp,
}

/// What stands in the way of a rollout, outside of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Nothing goes on until a person acts; with the reason.
    Stalled(&'static str),
    /// It is tried again.
    Retrying,
}

/// Reads the stored state.
pub(super) fn load(status: &CanaryStatus) -> State {
    let rollout = status.rollout.clone().unwrap_or_default();
    State {
        phase: status.phase.and_then(phase),
        promoted: rollout.promoted_revision.map(Revision),
        primary_replicas: rollout.primary_replicas,
        primary_lost: rollout.primary_lost,
        refused: load_refused(rollout.refused_revision, rollout.also_refused),
        kept: rollout.kept_revisions.into_iter().map(Revision).collect(),
        run: rollout.run.map(load_run),
        traffic: rollout.traffic.map(|traffic| Intent {
            target: split(traffic.weight, traffic.mirrored, traffic.sticky),
            before: split(
                traffic.weight_before,
                traffic.mirrored_before,
                traffic.sticky_before,
            ),
            since: traffic.since.0,
            in_effect: traffic.in_effect.map(|time| time.0),
        }),
        retained: rollout.retained,
        closing: rollout.closing,
        unready_since: rollout.unready_since.map(|time| time.0),
        paused: rollout.paused,
        commands: rollout.commands.into_iter().map(steer::load).collect(),
    }
}

fn load_run(run: RunStatus) -> Run {
    Run {
        id: run.id,
        revision: Revision(run.revision),
        step: run.step,
        weight: Weight::clamped(i64::from(run.weight)),
        mirrored: run.mirrored,
        iterations: run.iterations,
        failed_checks: run.failed_checks,
        warmed: run.warmed,
        withdrawn: run.withdrawn,
        returning: run.returning,
        checked_at: run.checked_at.map(|time| time.0),
        postponed: run.postponed.map(|postponed| Postponed {
            since: postponed.since.0,
            until: postponed.until.0,
        }),
        round: Round {
            attempt: run.attempt,
            passed: run.passed,
            asked: run.asked,
        },
        record: evidence::load(run.record.map(|record| *record)),
        held_by: run.held_by,
        objection: run.objection,
        shortcut: run.shortcut.map(steer::load_shortcut),
        place: run.place.map(|place| Place {
            number: place.number,
            since: place.since.0,
            resumed: place.resumed,
        }),
        bake: run.bake.as_ref().map(bake::load),
    }
}

/// The one that failed last comes first.
fn load_refused(last: Option<String>, others: Vec<String>) -> Vec<Revision> {
    last.into_iter().chain(others).map(Revision).collect()
}

fn split(weight: u8, mirrored: bool, sticky: bool) -> Split {
    Split {
        canary: Weight::clamped(i64::from(weight)),
        mirrored,
        sticky,
    }
}

fn phase(phase: CanaryPhase) -> Option<Phase> {
    phase.as_str().parse().ok()
}

/// Writes a state into a status; the time of the transition moves only when the state does.
pub(super) fn store(status: &mut CanaryStatus, state: &State, now: Timestamp) {
    let before = status.clone();
    status.phase = state.phase.map(stored_phase);
    let run = state.run.as_ref();
    let weight = state
        .traffic
        .map_or(Weight::ZERO, |intent| intent.target.canary);
    status.canary_weight = Some(Number::from(u32::from(weight.get())));
    status.failed_checks = Some(Number::from(run.map_or(0, |run| run.failed_checks)));
    status.iterations = Some(Number::from(run.map_or(0, |run| run.iterations)));
    let kept = before.rollout.clone().unwrap_or_default();
    let mut refused = state.refused.iter().map(|revision| revision.0.clone());
    let last = state.commands.first();
    status.last_handled = last.map(|command| command.token.clone());
    status.rollout = Some(RolloutStatus {
        promoted_revision: state.promoted.clone().map(|revision| revision.0),
        primary_replicas: state.primary_replicas,
        primary_lost: state.primary_lost,
        refused_revision: refused.next(),
        also_refused: refused.collect(),
        kept_revisions: state.kept.iter().map(|one| one.0.clone()).collect(),
        run: run.map(store_run),
        traffic: state.traffic.map(|intent| TrafficStatus {
            weight: intent.target.canary.get(),
            mirrored: intent.target.mirrored,
            sticky: intent.target.sticky,
            weight_before: intent.before.canary.get(),
            mirrored_before: intent.before.mirrored,
            sticky_before: intent.before.sticky,
            since: MicroTime(intent.since),
            in_effect: intent.in_effect.map(MicroTime),
        }),
        retained: state.retained,
        closing: state.closing,
        unready_since: state.unready_since.map(MicroTime),
        checks: kept.checks,
        observed_share: kept.observed_share.filter(|_| weight > Weight::ZERO),
        judgement: kept.judgement,
        accepted_spec: kept.accepted_spec,
        paused: state.paused,
        commands: state.commands.iter().map(steer::store).collect(),
    });
    if is_transition(&before, status) {
        status.last_transition_time = Some(Time(now));
    }
}

/// Whether more differs than the counts of a comparison, and the size that others give a primary.
fn is_transition(before: &CanaryStatus, after: &CanaryStatus) -> bool {
    let bare = |status: &CanaryStatus| {
        let mut status = status.clone();
        if let Some(rollout) = &mut status.rollout {
            rollout.judgement.clear();
            rollout.primary_replicas = None;
            if let Some(run) = &mut rollout.run {
                run.record = None;
            }
        }
        status
    };
    bare(before) != bare(after)
}

fn store_run(run: &Run) -> RunStatus {
    RunStatus {
        id: run.id,
        revision: run.revision.0.clone(),
        step: run.step,
        weight: run.weight.get(),
        mirrored: run.mirrored,
        iterations: run.iterations,
        failed_checks: run.failed_checks,
        warmed: run.warmed,
        withdrawn: run.withdrawn,
        returning: run.returning,
        checked_at: run.checked_at.map(MicroTime),
        postponed: run.postponed.map(|postponed| PostponedStatus {
            since: MicroTime(postponed.since),
            until: MicroTime(postponed.until),
        }),
        attempt: run.round.attempt,
        passed: run.round.passed.clone(),
        asked: run.round.asked.clone(),
        record: evidence::store(&run.record).map(Box::new),
        held_by: run.held_by.clone(),
        objection: run.objection.clone(),
        shortcut: run.shortcut.map(steer::store_shortcut),
        place: run.place.map(|place| PlaceStatus {
            number: place.number,
            since: MicroTime(place.since),
            resumed: place.resumed,
        }),
        bake: run.bake.map(bake::store),
    }
}

const fn stored_phase(phase: Phase) -> CanaryPhase {
    match phase {
        Phase::Initializing => CanaryPhase::Initializing,
        Phase::Initialized => CanaryPhase::Initialized,
        Phase::Waiting => CanaryPhase::Waiting,
        Phase::Progressing => CanaryPhase::Progressing,
        Phase::WaitingPromotion => CanaryPhase::WaitingPromotion,
        Phase::Promoting => CanaryPhase::Promoting,
        Phase::Finalising => CanaryPhase::Finalising,
        Phase::Succeeded => CanaryPhase::Succeeded,
        Phase::Failed => CanaryPhase::Failed,
        Phase::Terminating => CanaryPhase::Terminating,
        Phase::Terminated => CanaryPhase::Terminated,
    }
}

/// Keeps what the last check found: the explanation of the next decision.
pub(super) fn explain(status: &mut CanaryStatus, findings: &[analysis::Finding]) {
    let rollout = status.rollout.get_or_insert_default();
    rollout.checks = findings
        .iter()
        .map(|finding| CheckStatus {
            metric: finding.metric.clone(),
            query: finding.query.clone(),
            values: finding.values.iter().map(ToString::to_string).collect(),
            min: finding.range.min.map(Number::from),
            max: finding.range.max.map(Number::from),
            verdict: finding.verdict.as_str().to_owned(),
            message: finding.verdict.objection().map(ToOwned::to_owned),
        })
        .collect();
}

/// Says what the comparison of both versions has come to.
pub(super) fn explain_judgement(status: &mut CanaryStatus, state: &State, terms: Option<&Terms>) {
    let rollout = status.rollout.get_or_insert_default();
    let opinions = terms
        .zip(state.run.as_ref())
        .map(|(terms, run)| run.record.opinions(terms));
    rollout.judgement = evidence::explain(&opinions.unwrap_or_default());
}

/// Whether the primary runs what the target asks for; Flagger's values.
const fn promoted(phase: CanaryPhase) -> ConditionStatus {
    match phase {
        CanaryPhase::Initialized | CanaryPhase::Succeeded => ConditionStatus::True,
        CanaryPhase::Failed => ConditionStatus::False,
        CanaryPhase::New
        | CanaryPhase::Initializing
        | CanaryPhase::Waiting
        | CanaryPhase::Progressing
        | CanaryPhase::WaitingPromotion
        | CanaryPhase::Promoting
        | CanaryPhase::Finalising
        | CanaryPhase::Terminating
        | CanaryPhase::Terminated => ConditionStatus::Unknown,
    }
}

/// Whether a status says that people have to act, for this reason.
pub(super) fn is_stalled(status: Option<&CanaryStatus>, reason: &str) -> bool {
    let conditions = status.map(|status| status.conditions.as_slice());
    conditions.unwrap_or_default().iter().any(|condition| {
        condition.type_ == ConditionType::Stalled.as_str() && condition.reason == reason
    })
}

/// Says that traffic rises without anything that tells of readiness, where it does.
pub(super) fn mark_unchecked(status: &mut CanaryStatus, report: &Report<'_>, unchecked: bool) {
    if !unchecked {
        remove_condition(&mut status.conditions, ConditionType::ReadinessUnchecked);
        return;
    }
    let message = "the target selects no pods, so that no endpoint tells whether it can answer: \
                   only hooks and metrics judge it";
    let finding = Finding {
        type_: ConditionType::ReadinessUnchecked,
        status: ConditionStatus::True,
        reason: "NoSelector",
        message: message.to_owned(),
        generation: report.generation,
    };
    set_condition(&mut status.conditions, finding, report.now);
}

/// Sets the conditions that follow from the state.
///
/// A run in progress leaves Ready as it is at rest: the primary serves all the while, and what
/// waits for a Canary to become ready must not wait for a person's approval.
pub(super) fn conclude(status: &mut CanaryStatus, report: &Report<'_>) {
    let phase = status.phase.unwrap_or_default();
    let failed = phase == CanaryPhase::Failed;
    let starting = matches!(phase, CanaryPhase::New | CanaryPhase::Initializing);
    let reason = if phase == CanaryPhase::New {
        "New"
    } else {
        phase.as_str()
    };
    let stalled = match report.trouble {
        Some(Trouble::Stalled(reason)) => Some(reason),
        Some(Trouble::Retrying) | None => failed.then_some("Failed"),
    };
    let retrying = matches!(report.trouble, Some(Trouble::Retrying));
    let mut set = |type_, holds, reason, message: &str| {
        let finding = Finding {
            type_,
            status: holds,
            reason,
            message: message.to_owned(),
            generation: report.generation,
        };
        set_condition(&mut status.conditions, finding, report.now);
    };
    let promoted = promoted(phase);
    set(ConditionType::Promoted, promoted, reason, report.message);
    let ready = if stalled.is_some() {
        ConditionStatus::False
    } else if starting {
        ConditionStatus::Unknown
    } else {
        ConditionStatus::True
    };
    set(
        ConditionType::Ready,
        ready,
        stalled.unwrap_or(reason),
        report.message,
    );
    if let Some(stalled) = stalled {
        set(
            ConditionType::Stalled,
            ConditionStatus::True,
            stalled,
            report.message,
        );
    }
    let reconciling = retrying || (starting && stalled.is_none());
    if reconciling {
        let reason = if retrying { "Retrying" } else { reason };
        set(
            ConditionType::Reconciling,
            ConditionStatus::True,
            reason,
            report.message,
        );
    }
    if !report.inert.is_empty() {
        let message = format!(
            "accepted, but without effect yet: {}",
            report.inert.join(", ")
        );
        set(
            ConditionType::UnsupportedFields,
            ConditionStatus::True,
            "NotActedOn",
            &message,
        );
    }
    if stalled.is_none() {
        remove_condition(&mut status.conditions, ConditionType::Stalled);
    }
    if !reconciling {
        remove_condition(&mut status.conditions, ConditionType::Reconciling);
    }
    if report.inert.is_empty() {
        remove_condition(&mut status.conditions, ConditionType::UnsupportedFields);
    }
    steer::mark_pause(status, report.generation, report.now);
    bake::mark(status, report.message, report.generation, report.now);
    status.observed_generation = report.generation;
}

#[cfg(test)]
mod tests {
    use fairlead_crds::is_true;
    use fairlead_rollout::{Author, Bake, Handled, Shortcut};

    use super::*;

    fn state() -> State {
        let now = Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
        State {
            phase: Some(Phase::Progressing),
            primary_replicas: Some(3),
            primary_lost: true,
            promoted: Some(Revision("a".to_owned())),
            refused: vec![Revision("b".to_owned()), Revision("d".to_owned())],
            kept: vec![Revision("d".to_owned()), Revision("e".to_owned())],
            run: Some(Run {
                step: 2,
                weight: Weight::clamped(40),
                failed_checks: 1,
                warmed: true,
                checked_at: Some(now),
                round: Round {
                    attempt: 3,
                    passed: vec!["rollout/load".to_owned()],
                    asked: Some("metrics".to_owned()),
                },
                objection: Some("too slow".to_owned()),
                shortcut: Some(Shortcut::Promote),
                place: Some(Place {
                    number: 2,
                    since: now,
                    resumed: true,
                }),
                bake: Some(Bake {
                    since: now,
                    failed_checks: 1,
                }),
                ..Run::new(7, Revision("c".to_owned()))
            }),
            traffic: Some(Intent {
                target: split(40, true, false),
                before: split(20, false, true),
                since: now,
                in_effect: Some(now),
            }),
            retained: true,
            closing: true,
            unready_since: Some(now),
            paused: true,
            commands: vec![Handled {
                token: "pause@1".to_owned(),
                by: Some(Author::Verified("a person".to_owned())),
                at: now,
                refused: Some("it is late".to_owned()),
            }],
        }
    }

    fn report(trouble: Option<Trouble>) -> Report<'static> {
        Report {
            message: "so it is",
            trouble,
            inert: &[],
            generation: Some(4),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_state_survives_the_api_server() {
        let mut status = CanaryStatus::default();
        store(&mut status, &state(), Timestamp::UNIX_EPOCH);
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(load(&serde_json::from_str(&text).unwrap()), state());
    }

    #[test]
    fn storing_the_same_state_changes_nothing() {
        let mut status = CanaryStatus::default();
        store(&mut status, &state(), Timestamp::UNIX_EPOCH);
        let before = status.clone();
        store(&mut status, &state(), Timestamp::MAX);
        assert_eq!(status, before);
    }

    #[test]
    fn a_look_that_failed_says_so_without_taking_readiness_away() {
        let mut status = CanaryStatus {
            phase: Some(CanaryPhase::Progressing),
            ..Default::default()
        };
        conclude(&mut status, &report(Some(Trouble::Retrying)));
        assert!(is_true(&status.conditions, ConditionType::Ready));
        assert!(is_true(&status.conditions, ConditionType::Reconciling));
        conclude(&mut status, &report(None));
        assert!(!is_true(&status.conditions, ConditionType::Reconciling));
    }

    #[test]
    fn a_run_in_progress_is_ready_and_a_failed_one_is_stalled() {
        let mut status = CanaryStatus {
            phase: Some(CanaryPhase::Progressing),
            ..Default::default()
        };
        conclude(&mut status, &report(None));
        assert!(is_true(&status.conditions, ConditionType::Ready));
        status.phase = Some(CanaryPhase::Failed);
        conclude(&mut status, &report(None));
        assert!(!is_true(&status.conditions, ConditionType::Ready));
        assert!(is_true(&status.conditions, ConditionType::Stalled));
    }
}
