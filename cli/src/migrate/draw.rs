//! The report for people. Pure.

use super::Report;
use super::flagger::Flagger;
use super::setting::{Fate, Setting};
use super::verdict::Verdict;
use crate::terminal::{Cell, Style, Tone, one_line, table};

/// All of it.
pub(super) fn draw(report: &Report, style: Style) -> String {
    let mut text = String::new();
    if report.flaggers.is_empty() {
        text += "no Deployment of Flagger is found\n";
    }
    for flagger in &report.flaggers {
        text += &draw_flagger(flagger, style);
    }
    if let Some(leader) = &report.leader {
        text.extend([format!("Flagger's lease is held by {}\n", one_line(leader))]);
    }
    text.push('\n');
    text += &draw_canaries(&report.canaries, style);
    text.push('\n');
    text += &draw_next(report, style);
    text
}

fn draw_flagger(flagger: &Flagger, style: Style) -> String {
    let Flagger {
        namespace,
        name,
        image,
        ..
    } = flagger;
    let state = if flagger.runs { "runs" } else { "does not run" };
    let mut text = format!(
        "{}\n\n",
        one_line(&format!("Flagger {namespace}/{name} ({image}) {state}"))
    );
    let rows = flagger.settings.iter().map(row).collect();
    text += &table(["SETTING", "VALUE", "BECOMES", "NOTE"], rows, style);
    let values = serde_yaml_ng::to_string(&flagger.values).unwrap_or_default();
    text.extend([format!(
        "\n{}\n{values}\n",
        style.paint(Tone::Faint, "# values.yaml for charts/fairlead")
    )]);
    text
}

fn row(setting: &Setting) -> [Cell; 4] {
    let fate = match setting.fate {
        Fate::Mapped => Cell::toned("mapped", Tone::Good),
        Fate::NotNeeded => Cell::toned("not needed", Tone::Good),
        Fate::NotThereYet => Cell::toned("not there yet", Tone::Bad),
    };
    [
        setting.name.as_str().into(),
        setting.value.as_str().into(),
        fate,
        setting.note.as_str().into(),
    ]
}

fn draw_canaries(canaries: &[Verdict], style: Style) -> String {
    if canaries.is_empty() {
        return "no Canaries\n".to_owned();
    }
    let rows = canaries.iter().map(|canary| {
        let verdict = if canary.ready {
            Cell::toned("ready", Tone::Good)
        } else {
            Cell::toned("needs attention", Tone::Bad)
        };
        [
            format!("{}/{}", canary.namespace, canary.name).into(),
            canary.phase.as_str().into(),
            verdict,
            canary.outcome.into(),
        ]
    });
    let header = ["CANARY", "PHASE", "VERDICT", "WHAT HAPPENS"];
    let mut text = table(header, rows.collect(), style);
    for canary in canaries.iter().filter(|canary| !canary.ready) {
        let name = format!("{}/{}", canary.namespace, canary.name);
        text.extend([format!("\n{}\n", style.paint(Tone::Bad, &one_line(&name)))]);
        for line in &canary.attention {
            text.extend([format!("  - {}\n", one_line(line))]);
        }
    }
    text
}

fn draw_next(report: &Report, style: Style) -> String {
    let mut text = if report.ready {
        style.paint(Tone::Good, "ready to move") + "\n"
    } else {
        style.paint(Tone::Bad, "something needs attention") + "\n"
    };
    for (place, step) in report.next.iter().enumerate() {
        text.extend([format!("  {}. {}\n", place + 1, one_line(step))]);
    }
    text
}
