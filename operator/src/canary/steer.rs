//! The command that a person left on a Canary, and who left it. Pure.
//!
//! The machine decides what becomes of it. Who it was tells the stamp beside the command, where
//! admission lets only true ones in; else only the object's record of who wrote which field, under
//! a name of their own choice.

use fairlead_crds::annotation::{COMMAND, COMMANDED_BY};
use fairlead_crds::canary::{Canary, CanaryStatus, CommandStatus, RolloutStatus, ShortcutStatus};
use fairlead_crds::{ConditionStatus, ConditionType, Finding, remove_condition, set_condition};
use fairlead_rollout::{Author, Handled, Reason, Request, Shortcut};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;

/// Longer names are cut, as long commands are.
const MOST_CHARACTERS: usize = 128;

/// What stamps are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// Admission lets only true ones in.
    Checked,
    /// Anybody can write anything.
    Unchecked,
}

/// The command, when there is one.
pub(super) fn request(canary: &Canary, stamps: Stamps) -> Option<Request> {
    let written = canary.annotations().get(COMMAND)?;
    let text = written.trim();
    if text.is_empty() {
        return None;
    }
    let stamped = match stamps {
        Stamps::Checked => stamped(canary, written).map(Author::Verified),
        Stamps::Unchecked => None,
    };
    let by = stamped.or_else(|| field_manager(canary).map(Author::Claimed));
    Some(Request::new(text, by))
}

/// The user whom the stamp names, if it is the stamp of this command.
fn stamped(canary: &Canary, command: &str) -> Option<String> {
    let stamp = canary.annotations().get(COMMANDED_BY)?;
    let user = stamp.strip_suffix(command)?.strip_suffix(' ')?;
    (!user.is_empty()).then(|| user.chars().take(MOST_CHARACTERS).collect())
}

/// The field manager that wrote the annotation last.
fn field_manager(canary: &Canary) -> Option<String> {
    let field = format!("f:{COMMAND}");
    let writers = canary.managed_fields().iter().filter(|entry| {
        entry
            .fields_v1
            .as_ref()
            .is_some_and(|fields| !fields.0["f:metadata"]["f:annotations"][&field].is_null())
    });
    let last = writers.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    last.and_then(|entry| entry.manager.clone())
}

/// Who gave a command that was handled.
fn author(status: &CommandStatus) -> Option<Author> {
    let claim = if status.verified {
        Author::Verified
    } else {
        Author::Claimed
    };
    status.by.clone().map(claim)
}

/// Reads a command that was handled.
pub(super) fn load(status: CommandStatus) -> Handled {
    Handled {
        by: author(&status),
        token: status.command,
        at: status.at.0,
        refused: status.refused,
    }
}

/// Writes a command that was handled.
pub(super) fn store(handled: &Handled) -> CommandStatus {
    CommandStatus {
        command: handled.token.clone(),
        by: handled.by.as_ref().map(|by| by.name().to_owned()),
        verified: matches!(handled.by, Some(Author::Verified(_))),
        at: MicroTime(handled.at),
        refused: handled.refused.clone(),
    }
}

pub(super) const fn load_shortcut(status: ShortcutStatus) -> Shortcut {
    match status {
        ShortcutStatus::Promote => Shortcut::Promote,
        ShortcutStatus::PromoteFull => Shortcut::PromoteFull,
    }
}

pub(super) const fn store_shortcut(shortcut: Shortcut) -> ShortcutStatus {
    match shortcut {
        Shortcut::Promote => ShortcutStatus::Promote,
        Shortcut::PromoteFull => ShortcutStatus::PromoteFull,
    }
}

/// Sets the Paused condition, or takes it away.
pub(super) fn mark_pause(status: &mut CanaryStatus, generation: Option<i64>, now: Timestamp) {
    let rollout = status.rollout.as_ref();
    let commanded = rollout
        .and_then(pause)
        .map(|message| ("Commanded", message));
    let asked = rollout.and_then(step_pause);
    let asked = asked.map(|message| (Reason::StepPaused.as_str(), message));
    let Some((reason, message)) = commanded.or(asked) else {
        return remove_condition(&mut status.conditions, ConditionType::Paused);
    };
    let finding = Finding {
        type_: ConditionType::Paused,
        status: ConditionStatus::True,
        reason,
        message,
        generation,
    };
    set_condition(&mut status.conditions, finding, now);
}

/// What the Paused condition says, while a person wants the rollout to stand still.
fn pause(rollout: &RolloutStatus) -> Option<String> {
    let carried_out =
        |one: &&CommandStatus| one.refused.is_none() && one.command.starts_with("pause@");
    let asked = rollout.commands.iter().filter(carried_out);
    let by = asked.max_by_key(|one| one.at.0).and_then(author);
    rollout.paused.then(|| {
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        format!("paused{by}: `resume` goes on, `abort` gives up")
    })
}

/// What it says while an explicit step waits for a person.
fn step_pause(rollout: &RolloutStatus) -> Option<String> {
    let run = rollout.run.as_ref()?;
    let place = run.place.as_ref()?;
    let waits = run.held_by.as_deref() == Some(Reason::StepPaused.as_str());
    waits.then(|| {
        format!(
            "step {} waits for a person: `resume` goes on, `promote` skips the rest, `abort` \
             gives up",
            place.number
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn canary(annotations: &Value, managers: &[(&str, &str, &Value)]) -> Canary {
        let entry = |(manager, time, fields): &(&str, &str, &Value)| {
            json!({
                "manager": manager,
                "time": time,
                "fieldsV1": { "f:metadata": { "f:annotations": fields } },
            })
        };
        let managed: Vec<Value> = managers.iter().map(entry).collect();
        serde_json::from_value(json!({
            "metadata": { "annotations": annotations, "managedFields": managed },
            "spec": {
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "a" },
                "analysis": {},
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_last_writer_of_the_command_is_its_author() {
        let (command, other) = (
            json!({ "f:fairlead.dev/command": {} }),
            json!({ "f:note": {} }),
        );
        let canary = canary(
            &json!({ COMMAND: " pause@1 " }),
            &[
                ("git", "2026-01-01T00:00:00Z", &command),
                ("kubectl-annotate", "2026-01-02T00:00:00Z", &command),
                ("somebody-else", "2026-01-03T00:00:00Z", &other),
            ],
        );
        for stamps in [Stamps::Checked, Stamps::Unchecked] {
            let request = request(&canary, stamps).unwrap();
            assert_eq!(request.token(), "pause@1");
            let by = Author::Claimed("kubectl-annotate".to_owned());
            assert_eq!(request.by, Some(by));
        }
    }

    #[test]
    fn a_stamp_counts_for_its_own_command_where_stamps_are_checked() {
        let command = json!({ "f:fairlead.dev/command": {} });
        let by = |command_text: &str, stamp: &str, stamps| {
            let canary = canary(
                &json!({ COMMAND: command_text, COMMANDED_BY: stamp }),
                &[("kubectl", "2026-01-01T00:00:00Z", &command)],
            );
            request(&canary, stamps).unwrap().by.unwrap().to_string()
        };
        let claimed = "kubectl (unverified)";
        let stamp = "system:serviceaccount:shop:ci bot pause@1";
        assert_eq!(
            by("pause@1", stamp, Stamps::Checked),
            "system:serviceaccount:shop:ci bot"
        );
        assert_eq!(by(" pause@1 ", "alice  pause@1 ", Stamps::Checked), "alice");
        assert_eq!(by("pause@1", stamp, Stamps::Unchecked), claimed);
        for stale in ["alice resume@1", "alicepause@1", " pause@1", "pause@1", ""] {
            assert_eq!(by("pause@1", stale, Stamps::Checked), claimed, "{stale}");
        }
    }

    #[test]
    fn an_empty_command_is_none() {
        for annotations in [json!({ COMMAND: " " }), json!({})] {
            let canary = canary(&annotations, &[]);
            assert_eq!(request(&canary, Stamps::Checked), None);
        }
    }

    #[test]
    fn a_pause_names_who_asked_for_it_last() {
        let command = |text: &str, by: &str, second: i64, refused: Option<&str>| CommandStatus {
            command: text.to_owned(),
            by: Some(by.to_owned()),
            verified: by == "bob",
            at: MicroTime(Timestamp::from_second(second).unwrap()),
            refused: refused.map(ToOwned::to_owned),
        };
        let mut rollout = RolloutStatus {
            paused: true,
            commands: vec![
                command("pause@1", "git", 1, None),
                command("pause@3", "carol", 3, Some("it is paused already")),
                command("pause@2", "bob", 2, None),
            ],
            ..RolloutStatus::default()
        };
        assert!(pause(&rollout).unwrap().starts_with("paused by bob:"));
        rollout.commands.remove(2);
        let told = pause(&rollout).unwrap();
        assert!(told.starts_with("paused by git (unverified):"), "{told}");
        rollout.paused = false;
        assert_eq!(pause(&rollout), None);
    }

    #[test]
    fn a_step_that_waits_says_so_only_while_it_does() {
        let mut status: CanaryStatus = serde_json::from_value(json!({ "rollout": { "run": {
            "id": 1, "revision": "r", "heldBy": "StepPaused",
            "place": { "number": 2, "since": "2026-01-01T00:00:00.000000Z" },
        } } }))
        .unwrap();
        mark_pause(&mut status, None, Timestamp::UNIX_EPOCH);
        let [paused] = &status.conditions[..] else {
            unreachable!("{:?}", status.conditions)
        };
        assert_eq!(
            (paused.type_.as_str(), paused.reason.as_str()),
            ("Paused", "StepPaused")
        );
        assert!(
            paused.message.starts_with("step 2 waits"),
            "{}",
            paused.message
        );
        let run = status
            .rollout
            .as_mut()
            .and_then(|rollout| rollout.run.as_mut());
        run.unwrap().held_by = None;
        mark_pause(&mut status, None, Timestamp::UNIX_EPOCH);
        assert_eq!(status.conditions, []);
    }
}
