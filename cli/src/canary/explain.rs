//! Says why a Canary is where it is, and what would move it on.

use anyhow::Result;
use fairlead_crds::ConditionType;
use fairlead_crds::canary::{
    Canary, CanaryPhase, CanaryStatus, CheckStatus, CommandStatus, JudgementStatus, ShareStatus,
};
use kube::ResourceExt as _;
use serde::Serialize;

use super::{Canaries, summary};
use crate::args::Output;
use crate::exit::Exit;
use crate::output::print;
use crate::terminal::{Style, Tone, one_line, table};

/// As many of the last commands are told.
const MOST_COMMANDS: usize = 3;

/// Why, and what next.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    name: String,
    phase: CanaryPhase,
    revision: Option<String>,
    promoted_revision: Option<String>,
    kept_revisions: Vec<String>,
    why: String,
    next: String,
    troubles: Vec<String>,
    commands: Vec<CommandStatus>,
    observed_share: Option<ShareStatus>,
    judgement: Vec<JudgementStatus>,
    checks: Vec<CheckStatus>,
}

/// Explains.
pub(super) async fn run(canaries: &Canaries, name: &str, output: Output) -> Result<Exit> {
    let explanation = explain(&canaries.read(name).await?);
    print(output, &explanation, |style| draw(&explanation, style))?;
    Ok(Exit::Succeeded)
}

fn explain(canary: &Canary) -> Explanation {
    let status = summary::status(canary);
    let next = next(canary, &status);
    let troubles = [
        ConditionType::Stalled,
        ConditionType::Reconciling,
        ConditionType::UnsupportedFields,
        ConditionType::Paused,
        ConditionType::Baking,
    ];
    let told = troubles.into_iter().filter_map(|type_| {
        let message = summary::condition(&status, type_)?;
        Some(format!("{type_}: {message}"))
    });
    let troubles = told.collect();
    let why = summary::message(&status).to_owned();
    let rollout = status.rollout.unwrap_or_default();
    let mut commands = rollout.commands;
    commands.sort_by_key(|one| std::cmp::Reverse(one.at.0));
    commands.truncate(MOST_COMMANDS);
    Explanation {
        name: canary.name_any(),
        phase: status.phase.unwrap_or_default(),
        revision: rollout.run.map(|run| run.revision),
        promoted_revision: rollout.promoted_revision,
        kept_revisions: rollout.kept_revisions,
        why,
        next,
        troubles,
        commands,
        observed_share: rollout.observed_share,
        judgement: rollout.judgement,
        checks: rollout.checks,
    }
}

/// What would move it on.
fn next(canary: &Canary, status: &CanaryStatus) -> String {
    let (name, target) = (canary.name_any(), &canary.spec.target_ref);
    let command = |verb: &str| format!("`fairlead canary {verb} {name}`");
    if canary.metadata.deletion_timestamp.is_some() {
        return "it is being deleted: the workload takes over again".to_owned();
    }
    if canary.spec.suspend == Some(true) {
        return "set `spec.suspend` to false".to_owned();
    }
    if let Some(next) = cure(canary, status) {
        return next;
    }
    if summary::condition(status, ConditionType::Paused).is_some() {
        let (resume, abort) = (command("resume"), command("abort"));
        return format!("{resume} goes on, {abort} gives up");
    }
    match status.phase.unwrap_or_default() {
        CanaryPhase::New => "the operator has to look at it: check that it runs".to_owned(),
        CanaryPhase::Initializing => "the primary has to become ready".to_owned(),
        CanaryPhase::Initialized | CanaryPhase::Succeeded => {
            let (kind, target) = (&target.kind, &target.name);
            if summary::condition(status, ConditionType::Baking).is_some() {
                let back = command("rollback-to");
                return format!(
                    "its time to bake has to pass; {back} gives the primary back what it ran, a \
                     new version of {kind} `{target}` starts a rollout"
                );
            }
            format!("a new version of {kind} `{target}` starts a rollout")
        }
        CanaryPhase::Waiting => {
            let promote = command("promote --full");
            format!("a confirm-rollout webhook has to agree; {promote} goes past it")
        }
        CanaryPhase::Progressing => {
            let interval = canary.spec.analysis.interval.as_deref().unwrap_or("60s");
            let (pause, promote) = (command("pause"), command("promote"));
            format!(
                "the next check comes {interval} after the last one, once the canary is ready; \
                 {pause} stays at this step, {promote} skips the rest"
            )
        }
        CanaryPhase::WaitingPromotion => {
            let promote = command("promote --full");
            format!("a confirm-promotion webhook has to agree; {promote} goes past it")
        }
        CanaryPhase::Promoting => {
            let abort = command("abort");
            format!("the primary has to become ready; {abort} gives it back what it ran")
        }
        CanaryPhase::Finalising => "the canary is scaled down".to_owned(),
        CanaryPhase::Failed => {
            let retry = command("retry");
            format!("a new version starts a rollout; {retry} tries this one again")
        }
        CanaryPhase::Terminating | CanaryPhase::Terminated => {
            "it is being deleted: the workload takes over again".to_owned()
        }
    }
}

/// What a person has to put right before anything else.
fn cure(canary: &Canary, status: &CanaryStatus) -> Option<String> {
    let target = &canary.spec.target_ref;
    let stalled = status
        .conditions
        .iter()
        .find(|one| one.type_ == ConditionType::Stalled.as_str() && one.status == "True");
    if let Some(stalled) = stalled {
        let cure = match stalled.reason.as_str() {
            // Such messages begin with the field, in backticks.
            "InvalidSpec" => match stalled.message.strip_prefix('`') {
                Some(rest) => {
                    let field = rest.split('`').next().unwrap_or_default();
                    format!("put `{field}` of the Canary right, as the message says")
                }
                None => "put the Canary right, as the message says".to_owned(),
            },
            "Unreadable" => "put the Canary right, as the message says".to_owned(),
            // Such messages end with the fix.
            "TargetTaken" => stalled.message.rsplit_once(": ")?.1.to_owned(),
            "FieldFought" => {
                "leave that field out where it is set, or let only one of them set it".to_owned()
            }
            _ => return None,
        };
        return Some(cure);
    }
    let absent = format!("{} `{}` does not exist", target.kind, target.name);
    summary::message(status).starts_with(&absent).then(|| {
        format!(
            "create {} `{}`, or change `spec.targetRef` of the Canary",
            target.kind, target.name
        )
    })
}

fn draw(explanation: &Explanation, style: Style) -> String {
    let mut text = String::new();
    let mut say = |title: &str, words: &str| {
        let title = style.paint(Tone::Faint, &format!("{title:10}"));
        text.extend([title, one_line(words), "\n".to_owned()]);
    };
    let phase = explanation.phase.as_str();
    say("phase", if phase.is_empty() { "New" } else { phase });
    say("why", &explanation.why);
    say("next", &explanation.next);
    if let Some(revision) = &explanation.revision {
        let promoted = explanation.promoted_revision.as_deref();
        let promoted = promoted.unwrap_or("none");
        say("revision", &format!("{revision} (promoted: {promoted})"));
    }
    if !explanation.kept_revisions.is_empty() {
        let kept = explanation.kept_revisions.join(", ");
        say("kept", &format!("{kept} (`rollback-to` gives one back)"));
    }
    for trouble in &explanation.troubles {
        say("condition", trouble);
    }
    for command in &explanation.commands {
        let by = command.by.as_deref().unwrap_or("somebody");
        let proof = if command.verified {
            ""
        } else {
            " (unverified)"
        };
        let fate = command.refused.as_deref().unwrap_or("carried out");
        say(
            "command",
            &format!("{} by {by}{proof}: {fate}", command.command),
        );
    }
    if let Some(share) = &explanation.observed_share {
        say("share", &summary::share(share));
    }
    for judged in &explanation.judgement {
        let (canary, primary) = (judged.canary_requests, judged.primary_requests);
        let of = format!("{canary} requests to the canary, {primary} to the primary");
        say("judged", &format!("{}; {of}", judged.message));
    }
    if !explanation.checks.is_empty() {
        let rows = explanation.checks.iter().map(summary::check).collect();
        text.push('\n');
        text += &table(summary::CHECK, rows, style);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_tells_why_what_next_and_who_did_what() {
        let explanation = explain(&summary::tests::canary());
        insta::assert_snapshot!(draw(&explanation, Style::Plain));
    }

    #[test]
    fn what_a_person_has_to_put_right_comes_first() {
        let next = |type_: &str, reason: &str, message: &str| {
            let mut canary = summary::tests::canary();
            let status = canary.status.get_or_insert_default();
            status.phase = Some(CanaryPhase::Initializing);
            let condition = serde_json::json!([{
                "type": type_, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]);
            status.conditions = serde_json::from_value(condition).expect("a condition");
            explain(&canary).next
        };
        let field = "`spec.analysis.threshold`: must be 1 or more, but is -3";
        assert_eq!(
            next("Stalled", "InvalidSpec", field),
            "put `spec.analysis.threshold` of the Canary right, as the message says"
        );
        let taken = "Deployment `web` belongs to Canary `other`, which was there first: delete one of \
                     the two Canaries";
        assert_eq!(
            next("Stalled", "TargetTaken", taken),
            "delete one of the two Canaries"
        );
        let absent = next(
            "Ready",
            "Initializing",
            "Deployment `podinfo` does not exist",
        );
        assert_eq!(
            absent,
            "create Deployment `podinfo`, or change `spec.targetRef` of the Canary"
        );
        let waits = next("Ready", "Initializing", "waiting for the primary");
        assert_eq!(waits, "the primary has to become ready");
    }

    #[test]
    fn every_phase_says_what_would_move_it_on() {
        let mut canary = summary::tests::canary();
        let status = canary.status.get_or_insert_default();
        status.conditions.clear();
        let mut told = Vec::new();
        for phase in [
            CanaryPhase::New,
            CanaryPhase::Initializing,
            CanaryPhase::Initialized,
            CanaryPhase::Waiting,
            CanaryPhase::Progressing,
            CanaryPhase::WaitingPromotion,
            CanaryPhase::Promoting,
            CanaryPhase::Finalising,
            CanaryPhase::Failed,
            CanaryPhase::Terminating,
        ] {
            canary.status.get_or_insert_default().phase = Some(phase);
            told.push(format!("{phase}: {}", explain(&canary).next));
        }
        insta::assert_snapshot!(told.join("\n"));
    }
}
