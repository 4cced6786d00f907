//! Prints what a command found, in the format that was asked for.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::args::{Format, Output};
use crate::terminal::Style;

/// Prints an object for programs, or what `draw` makes of it for people.
pub(crate) fn print<T: Serialize>(
    output: Output,
    object: &T,
    draw: impl FnOnce(Style) -> String,
) -> Result<()> {
    let text = match output.format {
        Format::Table => draw(Style::of(output)),
        Format::Json => {
            let text = serde_json::to_string_pretty(object);
            text.context("failed to write the answer as JSON")? + "\n"
        }
        Format::Yaml => {
            serde_yaml_ng::to_string(object).context("failed to write the answer as YAML")?
        }
    };
    write(&text)
}

/// Writes to standard output; a reader that has seen enough is no error.
pub(crate) fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
