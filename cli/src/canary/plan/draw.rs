//! A plan for people. Pure.

use super::super::course;
use super::object::{Action, Object};
use super::{Check, Outlook};
use crate::terminal::{Cell, Style, Tone, one_line, table};

/// All of it.
pub(super) fn draw(outlook: &Outlook, style: Style) -> String {
    let Outlook {
        namespace, name, ..
    } = outlook;
    let mut text = one_line(&format!("Canary {namespace}/{name}")) + "\n";
    for problem in &outlook.problems {
        let mark = style.paint(Tone::Bad, "problem");
        text.extend([mark, "  ".to_owned(), one_line(problem), "\n".to_owned()]);
    }
    if !outlook.objects.is_empty() {
        text += &title("Objects", style);
        text += &draw_objects(&outlook.objects, style);
    }
    if !outlook.course.is_empty() {
        let fastest = format!("Course, {} at the fastest", outlook.fastest);
        text += &title(&fastest, style);
        text += &course::draw(&outlook.course, style);
    }
    if !outlook.waits.is_empty() {
        text.extend([
            "then: ".to_owned(),
            one_line(&outlook.waits),
            "\n".to_owned(),
        ]);
    }
    if !outlook.checks.is_empty() {
        text += &title("Checks", style);
        text += &draw_checks(&outlook.checks, style);
    }
    if !outlook.hooks.is_empty() {
        text += &title("Hooks", style);
        let rows = outlook.hooks.iter().map(|hook| -> [Cell; 3] {
            [&hook.kind, &hook.name, &hook.url].map(|text| text.as_str().into())
        });
        text += &table(["KIND", "NAME", "URL"], rows.collect(), style);
    }
    if !outlook.alerts.is_empty() {
        text += &title("Alerts", style);
        for alert in &outlook.alerts {
            text.extend([one_line(alert), "\n".to_owned()]);
        }
    }
    text
}

fn title(text: &str, style: Style) -> String {
    format!("\n{}\n", style.paint(Tone::Faint, text))
}

fn draw_objects(objects: &[Object], style: Style) -> String {
    let rows = objects.iter().map(|object| {
        let action = match object.action {
            Action::Create => Cell::toned("create", Tone::Good),
            Action::Change => Cell::toned("change", Tone::Busy),
            Action::Delete => Cell::toned("delete", Tone::Bad),
            Action::Keep => Cell::toned("keep", Tone::Faint),
        };
        let fields = object.fields.iter().map(|field| {
            let short = |value: &serde_json::Value| match value {
                serde_json::Value::Null => "nothing".to_owned(),
                serde_json::Value::Object(_) | serde_json::Value::Array(_) => "…".to_owned(),
                scalar => scalar.to_string(),
            };
            format!(
                "{}: {} → {}",
                field.path,
                short(&field.before),
                short(&field.after)
            )
        });
        [
            action,
            object.name.as_str().into(),
            object.when.into(),
            fields.collect::<Vec<_>>().join(", ").into(),
        ]
    });
    table(
        ["ACTION", "OBJECT", "WHEN", "FIELDS"],
        rows.collect(),
        style,
    )
}

fn draw_checks(checks: &[Check], style: Style) -> String {
    let rows = checks.iter().map(|check| -> [Cell; 4] {
        [&check.metric, &check.limit, &check.whom, &check.query].map(|text| text.as_str().into())
    });
    table(["METRIC", "LIMIT", "ASKED", "QUERY"], rows.collect(), style)
}
