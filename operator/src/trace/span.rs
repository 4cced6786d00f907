//! What a history tells, as spans. Pure.
//!
//! A run is the root; its steps are below it, and its checks below their steps. The ids follow from
//! the Canary's uid, the run and the time, so that whoever tells of the same thing again names it
//! the same.

use fairlead_crds::canary::{
    AnswerHistory, Canary, CanaryStatus, DecisionHistory, RunHistory, RunOutcome,
};
use jiff::Timestamp;
use kube::ResourceExt as _;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Proto, Status};
use sha2::{Digest as _, Sha256};

use crate::canary::history::CHECKING;

/// A span, as it is sent.
pub(super) type Span = Proto;

/// What has ended since `before`: checks, steps and runs.
pub(super) fn ended(canary: &Canary, before: Option<&CanaryStatus>) -> Vec<Span> {
    let after = canary.status.as_ref();
    let after = after.map_or(&[][..], |status| &status.history);
    let known = before.map_or(&[][..], |status| &status.history);
    let told = after.iter().flat_map(|run| {
        let teller = Teller { canary, run };
        teller.since(known.iter().find(|known| known.run == run.run))
    });
    told.collect()
}

/// An attribute.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: impl Into<i64>) -> KeyValue {
    attribute(key, Value::IntValue(value.into()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Tells of one run.
struct Teller<'a> {
    canary: &'a Canary,
    run: &'a RunHistory,
}

impl Teller<'_> {
    fn since(&self, known: Option<&RunHistory>) -> Vec<Span> {
        let was_open = known.is_none_or(|known| known.ended_at.is_none());
        let has_ended = self.run.ended_at.is_some() && was_open;
        let decisions = known.map_or(&[][..], |known| &known.decisions);
        let mut spans: Vec<Span> = self
            .run
            .decisions
            .iter()
            .filter(|made| is_check(made) && !decisions.contains(made))
            .map(|made| self.check(made))
            .collect();
        let begun = |decisions: &[DecisionHistory]| decisions.last().map(|made| made.step);
        let (from, to) = (begun(decisions), begun(&self.run.decisions));
        let to = to.unwrap_or_default();
        let from = from.unwrap_or_else(|| self.first_step());
        // The steps that were left; with the end of the run, the one that it ended in as well.
        spans.extend((from..to).filter_map(|step| self.step(step)));
        if has_ended {
            spans.extend(self.step(to));
            spans.push(self.root());
        }
        spans
    }

    fn first_step(&self) -> u32 {
        self.run.decisions.first().map_or(0, |made| made.step)
    }

    fn root(&self) -> Span {
        let run = self.run;
        let outcome = run.outcome.map(word);
        let message = self.run.decisions.last();
        let message = message.and_then(|made| made.message.clone());
        let mut attributes = self.attributes();
        attributes.extend(outcome.map(|word| text("fairlead.rollout.outcome", word)));
        Span {
            span_id: self.root_id(),
            name: "rollout".to_owned(),
            start_time_unix_nano: nanos(run.started_at.0),
            end_time_unix_nano: nanos(run.ended_at.as_ref().unwrap_or(&run.started_at).0),
            attributes,
            status: Some(match run.outcome {
                Some(RunOutcome::Promoted) => status(StatusCode::Ok, None),
                Some(RunOutcome::Failed | RunOutcome::RolledBack) => {
                    status(StatusCode::Error, message)
                }
                Some(RunOutcome::Reverted | RunOutcome::Superseded) | None => Status::default(),
            }),
            ..self.span()
        }
    }

    /// A step lasts from the first decision in it to the first one after it.
    fn step(&self, number_of_step: u32) -> Option<Span> {
        let decisions = &self.run.decisions;
        let first = decisions.iter().find(|made| made.step == number_of_step)?;
        let next = decisions.iter().find(|made| made.step > number_of_step);
        let end = next.map(|made| made.at.0);
        let end = end.or_else(|| self.run.ended_at.as_ref().map(|end| end.0))?;
        let start = if number_of_step == self.first_step() && self.run.omitted == 0 {
            self.run.started_at.0
        } else {
            first.at.0
        };
        let mut attributes = self.attributes();
        attributes.extend([
            number("fairlead.rollout.step", number_of_step),
            number("fairlead.rollout.weight", first.weight),
        ]);
        let events = decisions.iter().filter(|made| made.step == number_of_step);
        Some(Span {
            span_id: self.step_id(number_of_step),
            parent_span_id: self.root_id(),
            name: "step".to_owned(),
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(end),
            attributes,
            events: events.map(event).collect(),
            ..self.span()
        })
    }

    /// A check lasts from its first question to the decision on it, and belongs to the step that
    /// was asked about: a check that passes is written down with the step that follows from it.
    fn check(&self, made: &DecisionHistory) -> Span {
        let start = made.asked_at.as_ref().unwrap_or(&made.at).0;
        let step = made.asked_in.unwrap_or(made.step);
        let mut attributes = self.attributes();
        attributes.extend([
            number("fairlead.rollout.step", step),
            text("fairlead.check.decision", &made.decision),
        ]);
        let objection = made.answers.iter().find(|one| one.verdict != "Passed");
        let objection = objection.filter(|_| made.decision != "CheckPassed");
        Span {
            span_id: self.id(&format!("check/{start}")),
            parent_span_id: self.step_id(step),
            name: "check".to_owned(),
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(made.at.0),
            attributes,
            events: made.answers.iter().map(|one| answer(one, made)).collect(),
            status: Some(match objection {
                Some(_) => status(StatusCode::Error, made.message.clone()),
                None => status(StatusCode::Ok, None),
            }),
            ..self.span()
        }
    }

    /// What all spans of the run have in common.
    fn span(&self) -> Span {
        Span {
            trace_id: self.hash("trace")[..16].to_vec(),
            kind: SpanKind::Internal.into(),
            ..Span::default()
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let run = i64::try_from(self.run.run).unwrap_or(i64::MAX);
        vec![
            text(
                "k8s.namespace.name",
                &self.canary.namespace().unwrap_or_default(),
            ),
            text("fairlead.canary.name", &self.canary.name_any()),
            text("fairlead.rollout.revision", &self.run.revision),
            number("fairlead.rollout.run", run),
        ]
    }

    fn root_id(&self) -> Vec<u8> {
        self.id("run")
    }

    fn step_id(&self, step: u32) -> Vec<u8> {
        self.id(&format!("step/{step}"))
    }

    fn id(&self, what: &str) -> Vec<u8> {
        self.hash(what)[..8].to_vec()
    }

    fn hash(&self, what: &str) -> Vec<u8> {
        let uid = self.canary.uid().unwrap_or_default();
        Sha256::digest(format!("{uid}/{}/{what}", self.run.run)).to_vec()
    }
}

/// Whether a decision was made on answers, and is final.
fn is_check(made: &DecisionHistory) -> bool {
    !made.answers.is_empty() && made.decision != CHECKING
}

fn event(made: &DecisionHistory) -> Event {
    let message = made.message.iter();
    let count = made.count.iter();
    Event {
        time_unix_nano: nanos(made.at.0),
        name: made.decision.clone(),
        attributes: message
            .map(|message| text("message", message))
            .chain(count.map(|count| number("count", *count)))
            .collect(),
        ..Event::default()
    }
}

fn answer(answer: &AnswerHistory, made: &DecisionHistory) -> Event {
    let mut attributes = vec![text("fairlead.answer.verdict", &answer.verdict)];
    if !answer.values.is_empty() {
        attributes.push(text("fairlead.answer.values", &answer.values.join(", ")));
    }
    let limits = [("min", answer.min), ("max", answer.max)];
    attributes.extend(limits.into_iter().filter_map(|(name, limit)| {
        let limit = limit?.as_f64();
        let key = format!("fairlead.answer.{name}");
        Some(attribute(&key, Value::DoubleValue(limit)))
    }));
    let message = answer.message.iter();
    attributes.extend(message.map(|message| text("message", message)));
    Event {
        time_unix_nano: nanos(made.at.0),
        name: answer.asked.clone(),
        attributes,
        ..Event::default()
    }
}

fn status(code: StatusCode, message: Option<String>) -> Status {
    Status {
        code: code.into(),
        message: message.unwrap_or_default(),
    }
}

const fn word(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Promoted => "Promoted",
        RunOutcome::RolledBack => "RolledBack",
        RunOutcome::Failed => "Failed",
        RunOutcome::Reverted => "Reverted",
        RunOutcome::Superseded => "Superseded",
    }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
