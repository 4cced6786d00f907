//! Leaves a command on a Canary and waits for what the operator makes of it.

use std::time::Duration;

use anyhow::Result;
use fairlead_crds::annotation::{COMMAND, COMMANDED_BY};
use fairlead_crds::canary::{Canary, CommandStatus};
use fairlead_rollout::{Command, Verb};
use fairlead_runtime::clock;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Canaries, follow, right};
use crate::args::{Output, Steer};
use crate::cluster::Error;
use crate::exit::Exit;
use crate::output::print;
use crate::terminal::{Style, Tone, one_line};

/// Under this name the object records who wrote the command; the user follows.
const MANAGER: &str = "fairlead-cli";
/// The API server refuses longer names of managers.
const MOST_CHARACTERS: usize = 128;

/// Steers.
pub(super) async fn run(
    canaries: &Canaries,
    steer: Steer,
    verb: Verb,
    output: Output,
) -> Result<Exit> {
    let Steer { name, timeout } = steer;
    canaries.read(&name).await?;
    let user = right::user(canaries).await;
    right::check(canaries, user.as_deref(), &verb, &name).await?;
    let command = Command {
        verb,
        id: id(clock::now()),
    };
    let token = command.to_string();
    let params = PatchParams {
        field_manager: Some(manager(user.as_deref())),
        ..PatchParams::default()
    };
    let stamp = user.map(|user| format!("{user} {token}"));
    let patch = json!({ "metadata": { "annotations": { COMMAND: token, COMMANDED_BY: stamp } } });
    let what = format!("annotate Canary `{}/{name}`", canaries.cluster.namespace);
    canaries
        .api
        .patch(&name, &params, &Patch::Merge(patch))
        .await
        .map_err(|source| canaries.cluster.explain(source, &what))?;
    let answered = follow::until(canaries, &name, timeout, |canary| answer(canary, &token));
    let answer = Box::pin(answered).await;
    let Some(answer) = answer else {
        let now = canaries.read(&name).await?;
        let waits = now.annotations().get(COMMAND) == Some(&token);
        return Err(unanswered(&token, timeout, waits).into());
    };
    print(output, &answer, |style| {
        draw(&name, &command.verb, &answer, style)
    })?;
    Ok(match answer.refused {
        Some(_) => Exit::Refused,
        None => Exit::Succeeded,
    })
}

/// Why nobody has answered a command: nobody has heard it yet, or nobody can any more.
fn unanswered(token: &str, timeout: Duration, waits: bool) -> Error {
    let why = if waits {
        "the command stays on the Canary and is heard when the operator runs (kubectl -n \
         fairlead-system get pods)"
    } else {
        "the annotation holds another command by now; give it again"
    };
    Error::TimedOut {
        what: format!("the operator did not answer `{token}` within {timeout:?}; {why}"),
    }
}

/// Unique enough: two commands to one Canary in the same microsecond are not given by people.
fn id(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%S.%6fZ").to_string()
}

/// What the operator made of a command.
fn answer(canary: &Canary, token: &str) -> Option<CommandStatus> {
    let rollout = canary.status.as_ref()?.rollout.as_ref()?;
    let handled = rollout.commands.iter();
    handled.clone().find(|one| one.command == token).cloned()
}

fn manager(user: Option<&str>) -> String {
    let Some(user) = user else {
        return MANAGER.to_owned();
    };
    format!("{MANAGER}:{}", one_line(user))
        .chars()
        .take(MOST_CHARACTERS)
        .collect()
}

fn draw(name: &str, verb: &Verb, answer: &CommandStatus, style: Style) -> String {
    match &answer.refused {
        None => format!(
            "{name}: {} {verb}\n",
            style.paint(Tone::Good, "carried out:")
        ),
        Some(why) => format!(
            "{name}: {} {}\n",
            style.paint(Tone::Bad, "refused:"),
            one_line(why)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::summary;

    #[test]
    fn a_manager_names_the_user_and_fits() {
        assert_eq!(manager(Some("alice")), "fairlead-cli:alice");
        assert_eq!(manager(None), "fairlead-cli");
        assert_eq!(manager(Some(&"é".repeat(500))).chars().count(), 128);
    }

    #[test]
    fn what_nobody_heard_is_told_from_what_nobody_will() {
        let limit = Duration::from_secs(30);
        let told = |waits| unanswered("abort@1", limit, waits).to_string();
        assert!(told(true).contains("stays on the Canary"), "{}", told(true));
        assert!(told(false).contains("give it again"), "{}", told(false));
    }

    #[test]
    fn an_id_is_what_a_command_can_carry() {
        let now = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
        assert_eq!(id(now), "20260102T030405.678901Z");
    }

    #[test]
    fn the_answer_is_that_to_this_very_command() {
        let canary = summary::tests::canary();
        assert_eq!(answer(&canary, "pause@3"), None);
        let answered = |token| {
            let answer = answer(&canary, token).unwrap();
            draw("podinfo", &Verb::Pause, &answer, Style::Plain)
        };
        assert_eq!(answered("pause@2"), "podinfo: carried out: pause\n");
        assert_eq!(
            answered("retry@1"),
            "podinfo: refused: retry makes no sense now: it has not failed\n"
        );
    }
}
