//! Replays a policy over recorded metrics: what a rollout would have decided, check by check.
//!
//! The machine and the judgement of metrics are the operator's own; pods are ready at once and
//! hooks agree at once.

mod recording;

use std::path::PathBuf;

use anyhow::Result;
use fairlead_crds::canary::Canary;
use fairlead_operator::analysis::{Finding, judge};
use fairlead_operator::canary::validate::{Limits, Validated, validate};
use fairlead_rollout::{
    Ending, Observation, Phase, Rehearsal, Revision, Selection, State, Verdict, rehearse,
};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use self::recording::Recording;
use super::Canaries;
use super::course::{self, Moment, moments};
use super::manifest::Subject;
use crate::args::{Connection, Output};
use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::output::print;
use crate::terminal::{Style, Tone, one_line};

/// The two revisions of a replay.
const PROMOTED: &str = "promoted";
const RECORDED: &str = "recorded";

/// What to replay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Replay {
    /// The policy.
    #[command(flatten)]
    pub(crate) subject: Subject,
    /// A file of recorded metrics
    #[arg(long, value_name = "FILE", required_unless_present = "prometheus")]
    pub(crate) from: Option<PathBuf>,
    /// A Prometheus that recorded them
    #[arg(
        long, value_name = "URL", conflicts_with = "from", requires_all = ["start", "end"]
    )]
    pub(crate) prometheus: Option<String>,
    /// When the release begins, such as 2026-01-31T12:00:00Z; by default where the file begins
    #[arg(long, value_name = "TIME")]
    pub(crate) start: Option<Timestamp>,
    /// When the recording ends; by default where the file ends
    #[arg(long, value_name = "TIME")]
    pub(crate) end: Option<Timestamp>,
}

/// What would have been decided.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    name: String,
    #[serde(rename = "outcome")]
    fate: Fate,
    /// Why, or what is waited for.
    message: String,
    /// How long it took.
    after: String,
    course: Vec<Moment>,
    checks: Vec<Check>,
}

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Fate {
    /// The release serves everybody.
    Promoted,
    /// It was rolled back.
    RolledBack,
    /// The recording was over first.
    Unfinished,
    /// Something else holds it, such as `spec.suspend`.
    Held,
}

/// What one metric said in one check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    at: Timestamp,
    metric: String,
    /// As text, for not every value is a number in JSON.
    values: Vec<String>,
    limit: String,
    verdict: &'static str,
}

/// Replays.
pub(super) async fn run(replay: &Replay, connection: &Connection, output: Output) -> Result<Exit> {
    let canary = if let Some(mut canary) = replay.subject.read()? {
        let named = connection.namespace.clone();
        let namespace = canary.metadata.namespace.take().or(named);
        canary.metadata.namespace = Some(namespace.unwrap_or_else(|| "default".to_owned()));
        canary
    } else {
        let name = replay.subject.name.as_deref().unwrap_or_default();
        Canaries::connect(connection).await?.read(name).await?
    };
    let plan = validate(&canary, &Limits::default())?;
    let recording = record(replay, connection, &plan).await?;
    let outcome = replay_over(&canary, &plan, &recording);
    print(output, &outcome, |style| draw(&outcome, style))?;
    Ok(match outcome.fate {
        Fate::Promoted => Exit::Succeeded,
        Fate::RolledBack | Fate::Held => Exit::Failed,
        Fate::Unfinished => Exit::TimedOut,
    })
}

async fn record(replay: &Replay, connection: &Connection, plan: &Validated) -> Result<Recording> {
    let Replay {
        from,
        prometheus,
        start,
        end,
        ..
    } = replay;
    if let Some(path) = from {
        return Recording::read(path, plan)?.cut(*start, *end);
    }
    let span = (start.unwrap_or_default(), end.unwrap_or_default());
    // Only MetricTemplates need a cluster, and say so when there is none.
    let cluster = Cluster::connect(connection).await.ok();
    let client = cluster.as_ref().map(|cluster| &cluster.client);
    let server = prometheus.as_deref().unwrap_or_default();
    let recording = Recording::ask(server, span, plan, client).await?;
    recording.cut(None, None)
}

/// Plays a release that begins where the recording does.
fn replay_over(canary: &Canary, plan: &Validated, recording: &Recording) -> Outcome {
    let promoted = Revision(PROMOTED.to_owned());
    let state = State {
        phase: Some(Phase::Initialized),
        promoted: Some(promoted.clone()),
        ..State::default()
    };
    let seen = Observation::at_rest(promoted, Revision(RECORDED.to_owned()));
    let mut checks: Vec<Check> = Vec::new();
    let played = rehearse(
        &plan.strategy,
        &state,
        &seen,
        recording.start,
        recording.end,
        |now, asked| {
            let findings = check(plan, recording, now, asked);
            checks.extend(findings.iter().map(|finding| told(finding, now)));
            let last = findings.into_iter().next_back();
            last.map_or(Verdict::Passed, |finding| finding.verdict)
        },
    );
    Outcome {
        name: canary.name_any(),
        fate: fate(&played),
        message: played.message.clone(),
        after: course::words(course::length(&played.scenes)),
        course: moments(&played.scenes, recording.start),
        checks,
    }
}

/// One check: the metrics in their order, until one objects.
fn check(
    plan: &Validated,
    recording: &Recording,
    now: Timestamp,
    asked: &Selection,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let metrics = plan.metrics.iter();
    for metric in metrics.filter(|metric| asked.includes(&metric.name)) {
        let values = recording.at(&metric.name, now);
        let verdict = judge(&metric.name, metric.range, &values);
        let objects = verdict != Verdict::Passed;
        findings.push(Finding {
            metric: metric.name.clone(),
            query: String::new(),
            values,
            range: metric.range,
            verdict,
        });
        if objects {
            break;
        }
    }
    findings
}

fn told(finding: &Finding, at: Timestamp) -> Check {
    Check {
        at,
        metric: finding.metric.clone(),
        values: finding.values.iter().map(ToString::to_string).collect(),
        limit: finding.range.to_string(),
        verdict: finding.verdict.as_str(),
    }
}

fn fate(played: &Rehearsal) -> Fate {
    let promoted = played.state.promoted.as_ref();
    match (played.ending, played.state.phase) {
        (Ending::OutOfTime | Ending::Endless, _) => Fate::Unfinished,
        (Ending::AtRest, Some(Phase::Failed)) => Fate::RolledBack,
        (Ending::AtRest, _) if promoted.is_some_and(|one| one.0 == RECORDED) => Fate::Promoted,
        (Ending::AtRest, _) => Fate::Held,
    }
}

fn draw(outcome: &Outcome, style: Style) -> String {
    let mut text = course::draw(&outcome.course, style);
    if !outcome.checks.is_empty() {
        let rows = outcome.checks.iter().map(|check| {
            let [metric, values, limit] = [
                check.metric.clone(),
                check.values.join(", "),
                check.limit.clone(),
            ];
            [
                check.at.to_string().into(),
                metric.into(),
                values.into(),
                limit.into(),
                super::summary::verdict(check.verdict),
            ]
        });
        let header = ["AT", "CHECK", "VALUE", "LIMIT", "VERDICT"];
        text.push('\n');
        text += &crate::terminal::table(header, rows.collect(), style);
    }
    let name = one_line(&outcome.name);
    let end = match outcome.fate {
        Fate::Promoted => style.paint(Tone::Good, &format!("promoted after {}", outcome.after)),
        Fate::RolledBack => style.paint(Tone::Bad, &one_line(&outcome.message)),
        Fate::Unfinished => style.paint(
            Tone::Busy,
            &format!("the recording ends first: {}", one_line(&outcome.message)),
        ),
        Fate::Held => style.paint(Tone::Busy, &one_line(&outcome.message)),
    };
    text.extend(["\n".to_owned(), name, ": ".to_owned(), end, "\n".to_owned()]);
    text
}
