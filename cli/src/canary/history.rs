//! Shows what the last runs decided, and on what.

use anyhow::Result;
use fairlead_crds::canary::{DecisionHistory, RunHistory};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Canaries, summary};
use crate::args::Output;
use crate::exit::Exit;
use crate::output::print;
use crate::terminal::{Cell, Style, one_line, table};

/// Shows it.
pub(super) async fn run(canaries: &Canaries, name: &str, output: Output) -> Result<Exit> {
    let history = summary::status(&canaries.read(name).await?).history;
    print(output, &history, |style| draw(&history, style))?;
    Ok(Exit::Succeeded)
}

fn draw(history: &[RunHistory], style: Style) -> String {
    if history.is_empty() {
        return "no rollout yet: a new version of the workload starts the first one\n".to_owned();
    }
    let runs = history.iter().rev().map(|run| page(run, style));
    runs.collect::<Vec<_>>().join("\n")
}

fn page(run: &RunHistory, style: Style) -> String {
    let outcome = match (&run.outcome, &run.ended_at) {
        (Some(outcome), Some(end)) => {
            let took = end.0.duration_since(run.started_at.0).as_secs();
            format!("{outcome:?} after {took} s")
        }
        _ => "in progress".to_owned(),
    };
    let mut text = format!(
        "run {}   revision {}   from {}   {outcome}\n",
        run.run,
        one_line(&run.revision),
        time(&run.started_at)
    );
    if run.omitted > 0 {
        let omitted = run.omitted;
        text.extend([
            "(",
            &omitted.to_string(),
            " earlier decisions are no longer kept)\n",
        ]);
    }
    let header = ["TIME", "STEP", "WEIGHT", "DECISION", "ANSWERS", "WHY"];
    let rows = run.decisions.iter().map(row);
    text + &table(header, rows.collect(), style)
}

fn row(made: &DecisionHistory) -> [Cell; 6] {
    let count = made.count.map(|count| format!(" ({count} times)"));
    let answers: Vec<String> = made.answers.iter().map(summary::answer).collect();
    [
        time(&made.at).into(),
        made.step.to_string().into(),
        made.weight.to_string().into(),
        format!("{}{}", made.decision, count.unwrap_or_default()).into(),
        answers.join("; ").into(),
        made.message.clone().unwrap_or_default().into(),
    ]
}

fn time(at: &MicroTime) -> String {
    at.0.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_tells_its_decisions_with_what_they_were_made_on() {
        let history = summary::status(&summary::tests::canary()).history;
        insta::assert_snapshot!(draw(&history, Style::Plain));
    }

    #[test]
    fn a_canary_without_runs_says_what_starts_one() {
        assert!(draw(&[], Style::Plain).contains("a new version"));
    }
}
