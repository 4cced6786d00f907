//! Colours and columns. Pure, but for asking whether there is a terminal.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use crate::args::Output;

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For files, pipes and those who want none.
    Plain,
    /// For terminals.
    Coloured,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Under way, or waiting for someone.
    Busy,
    /// Something failed.
    Bad,
    /// Less important.
    Faint,
}

impl Style {
    /// The style that suits standard output.
    pub(crate) fn of(output: Output) -> Self {
        if output.no_color == Some(true) || !std::io::stdout().is_terminal() {
            Self::Plain
        } else {
            Self::Coloured
        }
    }

    /// The text in the colour of its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Busy => 33,
            Tone::Bad => 31,
            Tone::Faint => 2,
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell in the colour of its tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone: Some(tone),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            tone: None,
        }
    }
}

/// Columns as wide as their widest cell; an empty cell shows as a dash.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: Vec<[Cell; N]>,
    style: Style,
) -> String {
    let head = header.map(|title| Cell::toned(title, Tone::Faint));
    let rows: Vec<[Cell; N]> = std::iter::once(head).chain(rows).collect();
    let shown = |cell: &Cell| {
        if cell.text.is_empty() {
            "-".to_owned()
        } else {
            one_line(&cell.text)
        }
    };
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = shown(cell).chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            let is_last = index + 1 == N;
            let shown = shown(cell);
            let gap = if is_last {
                0
            } else {
                width + 3 - shown.chars().count()
            };
            let painted = cell
                .tone
                .map_or_else(|| shown.clone(), |tone| style.paint(tone, &shown));
            // Writing to a text cannot fail.
            let _ = write!(text, "{painted}{:gap$}", "");
        }
        text.push('\n');
    }
    text
}

/// A cluster's text must neither break a table nor command a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_their_colours() {
        let rows = || {
            vec![
                ["a".into(), Cell::toned("Succeeded", Tone::Good)],
                ["longer".into(), "".into()],
            ]
        };
        let plain = table(["NAME", "PHASE"], rows(), Style::Plain);
        assert_eq!(plain, "NAME     PHASE\na        Succeeded\nlonger   -\n");
        let coloured = table(["NAME", "PHASE"], rows(), Style::Coloured);
        assert!(coloured.contains("a        \u{1b}[32mSucceeded\u{1b}[0m\n"));
    }

    #[test]
    fn a_text_from_the_cluster_cannot_command_the_terminal() {
        assert_eq!(one_line("a\n\u{1b}[2Jb"), "a  [2Jb");
    }
}
