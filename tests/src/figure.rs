//! What a measurement found: a line for people, JSON for whatever compares runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::tools::workspace;

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub figure: String,
    /// Of the numbers.
    pub unit: String,
    /// Of Fairlead; absent when what is timed did not happen.
    pub ours: Option<f64>,
    /// Of the program that does the same elsewhere, in the same run.
    pub peer: Option<f64>,
    /// Ours by the peer's.
    pub ratio: Option<f64>,
    /// The most that ours should be.
    pub target: Option<f64>,
    /// Whether it is.
    pub met: Option<bool>,
}

impl Figure {
    /// A figure of ours alone.
    pub fn new(
        figure: impl Into<String>,
        unit: impl Into<String>,
        ours: impl Into<Option<f64>>,
    ) -> Self {
        Self {
            figure: figure.into(),
            unit: unit.into(),
            ours: ours.into(),
            peer: None,
            ratio: None,
            target: None,
            met: None,
        }
    }

    /// The same beside a peer's.
    #[must_use]
    pub fn beside(mut self, peer: Option<f64>) -> Self {
        self.peer = peer;
        self.ratio = self
            .ours
            .zip(peer)
            .filter(|(_, peer)| *peer > 0.0)
            .map(|(ours, peer)| ours / peer);
        self
    }

    /// The same with the most that it should be.
    #[must_use]
    pub fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self.met = Some(self.ours.is_some_and(|ours| ours <= target));
        self
    }
}

/// The figures as a person reads them.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let unit = &figure.unit;
        let ours = figure.ours.map_or_else(
            || "none".to_owned(),
            |ours| format!("{} {unit}", number(ours)),
        );
        let ratio = figure
            .ratio
            .map_or_else(String::new, |ratio| format!(" = {ratio:.2} of it"));
        let peer = figure.peer.map_or_else(String::new, |peer| {
            format!("; peer {} {unit}{ratio}", number(peer))
        });
        let target = figure
            .target
            .zip(figure.met)
            .map_or_else(String::new, |(target, met)| {
                let verdict = if met { "met" } else { "MISSED" };
                format!("; target {} {unit}: {verdict}", number(target))
            });
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {:<58} {ours}{peer}{target}", figure.figure);
    }
    text
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// Where the figures of a benchmark are kept.
pub fn file(benchmark: &str) -> PathBuf {
    workspace().join(format!("target/bench/{benchmark}.json"))
}

/// Writes figures as a JSON array.
pub fn write(file: &Path, figures: &[Figure]) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, serde_json::to_vec_pretty(figures)?)
        .with_context(|| format!("failed to write `{}`", file.display()))
}

/// Reads figures that were written.
pub fn read(file: &Path) -> anyhow::Result<Vec<Figure>> {
    let text =
        std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("`{}` holds no figures", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_how_it_stands_to_peer_and_target() {
        let figure = Figure::new("first weight", "s", 0.25)
            .beside(Some(9.0))
            .at_most(0.5);
        assert_eq!((figure.met, figure.ratio), (Some(true), Some(0.25 / 9.0)));
        let text = table(&[figure]);
        assert!(
            text.ends_with("0.25 s; peer 9 s = 0.03 of it; target 0.50 s: met\n"),
            "{text}"
        );
    }

    #[test]
    fn what_did_not_happen_misses_its_target() {
        let figure = Figure::new("first weight", "s", None).at_most(0.5);
        assert_eq!(figure.met, Some(false));
        assert!(table(&[figure]).contains("none; target 0.50 s: MISSED"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bench/a.json");
        let figures = vec![Figure::new("a", "s", 1.5).beside(Some(2.0))];
        write(&file, &figures).unwrap();
        assert_eq!(read(&file).unwrap(), figures);
    }
}
