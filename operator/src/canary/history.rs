//! Writes down, for people, what each step was decided on. Pure.
//!
//! Nothing is ever decided by it, so that leaving out the oldest harms nothing but memory: it
//! stays far below what an object may hold.

use std::collections::BTreeMap;

use fairlead_crds::canary::{
    AnswerHistory, CanaryStatus, DecisionHistory, Number, RunHistory, RunOutcome,
};
use fairlead_rollout::{Decision, Phase, ProbeKey, Run, State, Verdict};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::desk::Reply;

/// The run in progress and the one before it, to compare.
const MOST_RUNS: usize = 2;
/// Of each run: a ladder of ten steps, with their checks and some trouble.
const MOST_DECISIONS: usize = 40;
/// Of the whole history, as it is stored; an object may have 1.5 MiB.
const MOST_BYTES: usize = 32 * 1024;
/// Of one sentence.
const MOST_CHARACTERS: usize = 300;
/// Of one query.
const MOST_OF_QUERY: usize = 500;
/// Of one value: a float needs no more.
const MOST_OF_VALUE: usize = 24;
/// Of the series of one answer, and of the answers and queries.
const MOST_ENTRIES: usize = 8;

/// An answer came, but the check is not over.
pub(crate) const CHECKING: &str = "Checking";

/// What a look decided, and on what.
pub(super) struct Moment<'a> {
    /// The state that was decided on.
    pub(super) before: &'a State,
    /// What was decided.
    pub(super) decision: &'a Decision,
    /// What came back since the last look.
    pub(super) replies: &'a [(ProbeKey, Reply)],
    /// The time.
    pub(super) now: Timestamp,
}

/// Adds a moment to the history, if anything was decided in it.
pub(super) fn record(status: &mut CanaryStatus, moment: &Moment<'_>) {
    let state = &moment.decision.state;
    let Some(run) = &state.run else { return };
    let replies = heard(moment);
    let decided = decided(moment, run, !replies.is_empty());
    if decided.is_empty() {
        return;
    }
    open(&mut status.history, run, moment.now);
    let Some(history) = status.history.first_mut() else {
        return;
    };
    for finding in replies.iter().flat_map(|(_, reply)| &reply.findings) {
        let known = history.queries.contains_key(&finding.metric);
        if !finding.query.is_empty() && (known || history.queries.len() < MOST_ENTRIES) {
            let query = cut(&finding.query, MOST_OF_QUERY);
            history.queries.insert(finding.metric.clone(), query);
        }
    }
    let is_open = |last: &mut DecisionHistory| last.decision == CHECKING;
    let before = history.decisions.pop_if(is_open);
    let mut asked = Asked::of(&replies, run);
    let mut answers = Vec::new();
    if let Some(open) = before {
        asked = Asked {
            at: open.asked_at.or(asked.at),
            step: asked.step,
        };
        answers = open.answers;
    }
    answers.extend(replies.into_iter().flat_map(explain));
    answers.truncate(MOST_ENTRIES);
    for (decision, message) in decided {
        let made = DecisionHistory {
            at: MicroTime(moment.now),
            step: run.step,
            weight: run.weight.get(),
            decision,
            message: Some(cut(&message, MOST_CHARACTERS)).filter(|text| !text.is_empty()),
            count: None,
            asked_at: asked.at.take(),
            asked_in: asked.step.take(),
            answers: std::mem::take(&mut answers),
        };
        append(&mut history.decisions, made);
    }
    close(history, state, moment.now);
    bound(&mut status.history);
}

/// What the answers to a decision were asked about.
struct Asked {
    at: Option<MicroTime>,
    /// The step, where the decision led to another one.
    step: Option<u32>,
}

impl Asked {
    fn of(replies: &[&(ProbeKey, Reply)], run: &Run) -> Self {
        let at = replies.iter().map(|(_, reply)| reply.asked).min();
        let of_run = replies.first().filter(|(key, _)| key.run == run.id);
        let step = of_run.map(|(key, _)| key.step);
        Self {
            at: at.map(MicroTime),
            step: step.filter(|step| *step != run.step),
        }
    }
}

/// Begins a page for a run that has none.
fn open(history: &mut Vec<RunHistory>, run: &Run, now: Timestamp) {
    if history.first().is_some_and(|last| last.run == run.id) {
        return;
    }
    if let Some(last) = history.first_mut().filter(|last| last.ended_at.is_none()) {
        last.ended_at = Some(MicroTime(now));
        last.outcome = Some(RunOutcome::Superseded);
    }
    let page = RunHistory {
        run: run.id,
        revision: run.revision.0.clone(),
        started_at: MicroTime(now),
        ended_at: None,
        outcome: None,
        queries: BTreeMap::new(),
        omitted: 0,
        decisions: Vec::new(),
    };
    history.insert(0, page);
    history.truncate(MOST_RUNS);
}

/// Notes how a run ended; one that was promoted may still be gone back from.
fn close(history: &mut RunHistory, state: &State, now: Timestamp) {
    let promoted = Some(RunOutcome::Promoted);
    let outcome = match state.phase {
        Some(Phase::Failed) if history.outcome == promoted => {
            history.ended_at = None;
            RunOutcome::RolledBack
        }
        Some(Phase::Failed) => RunOutcome::Failed,
        Some(Phase::Succeeded) => {
            let promoted = state.promoted.as_ref();
            if promoted.is_some_and(|promoted| promoted.0 == history.revision) {
                RunOutcome::Promoted
            } else {
                RunOutcome::Reverted
            }
        }
        _ => return,
    };
    if history.ended_at.is_none() {
        history.ended_at = Some(MicroTime(now));
        history.outcome = Some(outcome);
    }
}

/// The answers that the machine has taken.
fn heard<'a>(moment: &'a Moment<'_>) -> Vec<&'a (ProbeKey, Reply)> {
    let heard = &moment.decision.heard;
    let replies = moment.replies.iter();
    replies.filter(|(key, _)| heard.contains(key)).collect()
}

/// What was decided, each with a sentence.
fn decided(moment: &Moment<'_>, run: &Run, answered: bool) -> Vec<(String, String)> {
    let events = &moment.decision.events;
    if !events.is_empty() {
        let told = events
            .iter()
            .map(|event| (event.reason.as_str().to_owned(), event.note.clone()));
        return told.collect();
    }
    if !answered {
        return Vec::new();
    }
    let state = &moment.decision.state;
    let before = moment.before.run.as_ref();
    let moved = before.is_some_and(|before| before.id == run.id && before.step < run.step);
    let ended = before.is_some_and(|before| before.round.attempt < run.round.attempt);
    let split = state
        .traffic
        .map_or_else(|| run.split(), |intent| intent.target);
    let decision = if moved {
        ("CheckPassed", format!("goes on to {}", run.split()))
    } else if ended && run.objection.is_none() {
        ("CheckPassed", format!("stays at {split}"))
    } else if run.held_by.is_some() || run.postponed.is_some() {
        ("Held", run.objection.clone().unwrap_or_default())
    } else {
        (CHECKING, String::new())
    };
    vec![(decision.0.to_owned(), decision.1)]
}

/// Appends a decision, or counts it when it is the last one again.
fn append(decisions: &mut Vec<DecisionHistory>, made: DecisionHistory) {
    let is_same = |last: &&mut DecisionHistory| {
        last.decision == made.decision && last.message == made.message && last.step == made.step
    };
    if let Some(last) = decisions.last_mut().filter(is_same) {
        let count = last.count.unwrap_or(1).saturating_add(1);
        *last = DecisionHistory {
            count: Some(count),
            ..made
        };
        return;
    }
    decisions.push(made);
}

fn explain((key, reply): &(ProbeKey, Reply)) -> Vec<AnswerHistory> {
    let message = |verdict: &Verdict| verdict.objection().map(|why| cut(why, MOST_CHARACTERS));
    if reply.findings.is_empty() {
        return vec![AnswerHistory {
            asked: key.probe.clone(),
            verdict: reply.verdict.as_str().to_owned(),
            message: message(&reply.verdict),
            ..AnswerHistory::default()
        }];
    }
    let findings = reply.findings.iter().map(|finding| AnswerHistory {
        asked: finding.metric.clone(),
        values: finding
            .values
            .iter()
            .take(MOST_ENTRIES)
            .map(|value| cut(&value.to_string(), MOST_OF_VALUE))
            .collect(),
        min: finding.range.min.map(Number::from),
        max: finding.range.max.map(Number::from),
        verdict: finding.verdict.as_str().to_owned(),
        message: message(&finding.verdict),
    });
    findings.collect()
}

/// Leaves out the oldest until it is small enough.
fn bound(history: &mut [RunHistory]) {
    for run in history.iter_mut() {
        while run.decisions.len() > MOST_DECISIONS {
            forget_oldest(run);
        }
    }
    // Whatever cannot be written as JSON cannot be stored either, and is left to that to refuse.
    let size = |history: &[RunHistory]| serde_json::to_vec(history).map_or(0, |text| text.len());
    while size(history) > MOST_BYTES {
        let oldest = history.iter_mut().rev();
        let Some(run) = oldest.into_iter().find(|run| !run.decisions.is_empty()) else {
            return;
        };
        forget_oldest(run);
    }
}

fn forget_oldest(run: &mut RunHistory) {
    run.decisions.remove(0);
    run.omitted = run.omitted.saturating_add(1);
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::{Event, Reason, Requeue, Revision, Weight};

    use super::*;
    use crate::analysis::{Finding, Range};

    fn state(run: u64, step: u32) -> State {
        State {
            phase: Some(Phase::Progressing),
            run: Some(Run {
                step,
                weight: Weight::clamped(i64::from(step) * 10),
                ..Run::new(run, Revision(format!("r{run}")))
            }),
            ..State::default()
        }
    }

    fn decision(state: State, events: &[(Reason, &str)]) -> Decision {
        let told = events.iter().map(|(reason, note)| Event {
            reason: *reason,
            note: (*note).to_owned(),
            alert: None,
        });
        Decision {
            state,
            effects: Vec::new(),
            events: told.collect(),
            heard: Vec::new(),
            requeue: Requeue::OnChange,
            message: String::new(),
            held: false,
        }
    }

    fn reply(
        run: u64,
        step: u32,
        probe: &str,
        verdict: Verdict,
        values: &[f64],
    ) -> (ProbeKey, Reply) {
        let key = ProbeKey {
            run,
            step,
            attempt: 0,
            probe: probe.to_owned(),
        };
        let findings = values.iter().map(|value| Finding {
            metric: "errors".to_owned(),
            query: "rate(errors)".to_owned(),
            values: vec![*value],
            range: Range {
                min: None,
                max: Some(1.0),
            },
            verdict: verdict.clone(),
        });
        let findings = findings.collect();
        let asked = at(i64::from(step));
        let reply = Reply {
            verdict,
            findings,
            asked,
        };
        (key, reply)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn note(
        status: &mut CanaryStatus,
        before: &State,
        decision: &Decision,
        replies: &[(ProbeKey, Reply)],
        second: i64,
    ) {
        let moment = Moment {
            before,
            decision: &Decision {
                heard: replies.iter().map(|(key, _)| key.clone()).collect(),
                ..decision.clone()
            },
            replies,
            now: at(second),
        };
        record(status, &moment);
    }

    #[test]
    fn a_check_is_one_decision_with_all_its_answers() {
        let mut status = CanaryStatus::default();
        let checked = state(1, 1);
        let hook = [reply(1, 1, "rollout/load", Verdict::Passed, &[])];
        note(
            &mut status,
            &checked,
            &decision(checked.clone(), &[]),
            &hook,
            1,
        );
        assert_eq!(status.history[0].decisions[0].decision, CHECKING);
        let metrics = [reply(1, 1, "metrics", Verdict::Passed, &[0.5])];
        note(
            &mut status,
            &checked,
            &decision(state(1, 2), &[]),
            &metrics,
            2,
        );
        let run = &status.history[0];
        assert_eq!(run.queries["errors"], "rate(errors)");
        let [made] = &run.decisions[..] else {
            unreachable!("{:?}", run.decisions)
        };
        assert_eq!(made.decision, "CheckPassed");
        assert_eq!(made.message.as_deref(), Some("goes on to 80/20"));
        let asked: Vec<&str> = made.answers.iter().map(|one| one.asked.as_str()).collect();
        assert_eq!(asked, ["rollout/load", "errors"]);
        assert_eq!(made.answers[1].values, ["0.5"]);
        assert_eq!(made.answers[1].max, Some(Number::from(1.0)));
    }

    #[test]
    fn a_failure_keeps_what_came_back_beside_the_reason() {
        let mut status = CanaryStatus::default();
        let failed = Verdict::Failed("too many".to_owned());
        let metrics = [reply(1, 1, "metrics", failed, &[7.0])];
        let told = [
            (Reason::CheckFailed, "check failed"),
            (Reason::RolledBack, "rolled back"),
        ];
        let mut after = decision(state(1, 1), &told);
        after.state.phase = Some(Phase::Failed);
        note(&mut status, &state(1, 1), &after, &metrics, 9);
        let run = &status.history[0];
        assert_eq!(run.outcome, Some(RunOutcome::Failed));
        assert_eq!(run.ended_at, Some(MicroTime(at(9))));
        let words: Vec<&str> = run
            .decisions
            .iter()
            .map(|one| one.decision.as_str())
            .collect();
        assert_eq!(words, ["CheckFailed", "RolledBack"]);
        assert_eq!(run.decisions[0].answers[0].verdict, "Failed");
    }

    #[test]
    fn an_answer_that_the_machine_did_not_take_is_not_written_down() {
        let mut status = CanaryStatus::default();
        let paused = state(1, 1);
        let moment = Moment {
            before: &paused,
            decision: &decision(paused.clone(), &[]),
            replies: &[reply(1, 1, "metrics", Verdict::Passed, &[0.5])],
            now: at(1),
        };
        record(&mut status, &moment);
        assert_eq!(status.history, []);
    }

    #[test]
    fn what_is_said_again_is_counted() {
        let mut status = CanaryStatus::default();
        for second in 0..5 {
            let told = [(Reason::CommandRefused, "no")];
            let again = decision(state(1, 1), &told);
            note(&mut status, &state(1, 1), &again, &[], second);
        }
        let made = &status.history[0].decisions;
        assert_eq!((made.len(), made[0].count), (1, Some(5)));
        assert_eq!(made[0].at, MicroTime(at(4)));
    }

    #[test]
    fn the_history_stays_small_whatever_happens() {
        let mut status = CanaryStatus::default();
        let long = "é".repeat(100_000);
        for second in 0..500 {
            let number = u64::try_from(second / 100).unwrap();
            let step = u32::try_from(second % 100).unwrap();
            let told = [(Reason::CheckFailed, long.as_str())];
            let values = [f64::MAX; 50];
            let failed = Verdict::Failed(long.clone());
            let metrics = [reply(number, step, "metrics", failed, &values)];
            let before = state(number, step);
            let after = decision(state(number, step), &told);
            note(&mut status, &before, &after, &metrics, second);
            let size = serde_json::to_vec(&status.history).unwrap().len();
            assert!(size <= MOST_BYTES, "{size}");
        }
        let [last, previous] = &status.history[..] else {
            unreachable!("{} runs", status.history.len())
        };
        assert_eq!((last.run, previous.run), (4, 3));
        assert_eq!(previous.outcome, Some(RunOutcome::Superseded));
        let kept = u32::try_from(last.decisions.len()).unwrap();
        assert_eq!(kept + last.omitted, 100);
        assert_eq!(last.decisions.last().map(|made| made.step), Some(99));
    }
}
