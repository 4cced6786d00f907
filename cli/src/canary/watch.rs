//! Prints a line whenever a Canary changes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use fairlead_crds::canary::Canary;
use fairlead_runtime::clock;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::{Canaries, summary};
use crate::args::{Format, Output};
use crate::exit::Exit;
use crate::output::write;
use crate::terminal::{Style, Tone, one_line};

/// Watches until interrupted, or until the only one is gone.
pub(super) async fn run(canaries: &Canaries, name: Option<&str>, output: Output) -> Result<Exit> {
    // A wrong name or missing rights are told at once and not retried.
    match name {
        Some(name) => drop(canaries.read(name).await?),
        None => drop(canaries.list().await?),
    }
    let fields = name.map(|name| format!("metadata.name={name}"));
    let config = watcher::Config {
        field_selector: fields,
        ..watcher::Config::default()
    };
    let changes = watcher(canaries.api.clone(), config).default_backoff();
    let mut changes = std::pin::pin!(changes);
    let mut shown = BTreeMap::new();
    while let Some(change) = changes.next().await {
        let canary = match change {
            Ok(Event::Apply(canary) | Event::InitApply(canary)) => canary,
            Ok(Event::Delete(_)) if name.is_some() => break,
            // A watch that breaks is resumed by itself.
            Ok(Event::Delete(_) | Event::Init | Event::InitDone) | Err(_) => continue,
        };
        let text = match output.format {
            Format::Table => {
                let line = line(&canary);
                let before = shown.insert(canary.name_any(), line.clone());
                if before.as_ref() == Some(&line) {
                    continue;
                }
                draw(clock::now(), &line, Style::of(output))
            }
            Format::Json => {
                let text = serde_json::to_string(&canary);
                text.context("failed to write the Canary as JSON")? + "\n"
            }
            Format::Yaml => {
                let text = serde_yaml_ng::to_string(&canary);
                format!(
                    "---\n{}",
                    text.context("failed to write the Canary as YAML")?
                )
            }
        };
        write(&text)?;
    }
    Ok(Exit::Succeeded)
}

/// What is worth a line when it changes.
fn line(canary: &Canary) -> String {
    let status = summary::status(canary);
    let phase = status.phase.unwrap_or_default();
    let weight = summary::number(status.canary_weight);
    let message = one_line(summary::message(&status));
    format!("{}  {phase}  {weight}  {message}", canary.name_any())
}

fn draw(now: Timestamp, line: &str, style: Style) -> String {
    let time = now.strftime("%H:%M:%S").to_string();
    format!("{}  {line}\n", style.paint(Tone::Faint, &time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_time_and_what_is_going_on() {
        let line = line(&summary::tests::canary());
        insta::assert_snapshot!(draw(Timestamp::UNIX_EPOCH, &line, Style::Plain));
    }
}
