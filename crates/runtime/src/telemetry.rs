//! Sets up logging for the process.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::reload;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{EnvFilter, Registry};
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::args;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level or its directives are malformed.
    #[error("failed to parse the log level `{level}`")]
    ParseLevel {
        /// What was given.
        level: String,
        /// Where it is wrong.
        #[source]
        source: ParseError,
    },
    /// Logging was set up before.
    #[error("failed to install the logger")]
    Install(#[source] TryInitError),
    /// The logger is gone.
    #[error("failed to change the log level")]
    Change(#[source] reload::Error),
}

/// The levels in use, which can be changed while the process runs.
#[derive(Clone, Debug)]
pub struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Levels {
    /// Levels of a filter to put before a layer.
    fn new(level: &str) -> Result<(Self, reload::Layer<EnvFilter, Registry>), Error> {
        let (layer, filter) = reload::Layer::new(parse(level)?);
        Ok((Self { filter }, layer))
    }

    /// The levels, as the argument has them.
    ///
    /// # Errors
    /// When the logger is gone.
    pub fn show(&self) -> Result<String, Error> {
        self.filter
            .with_current(ToString::to_string)
            .map_err(Error::Change)
    }

    /// Changes the levels to `level`: one for all, or directives such as `info,kube=debug`.
    ///
    /// # Errors
    /// When these are malformed, and nothing changes then.
    pub fn change(&self, level: &str) -> Result<(), Error> {
        self.filter.reload(parse(level)?).map_err(Error::Change)
    }
}

fn parse(level: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(level).map_err(|source| Error::ParseLevel {
        level: level.to_owned(),
        source,
    })
}

/// Writes log lines to standard error from now on, as `log` says.
///
/// # Errors
/// When the level is malformed, or logging was set up before.
pub fn init(log: &args::Log) -> Result<Levels, Error> {
    let (levels, filter) = Levels::new(&log.log_level)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match log.log_format {
        args::LogFormat::Json => lines.json().flatten_event(true).boxed(),
        args::LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(Error::Install)?;
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn a_changed_level_holds_at_once_and_a_malformed_one_changes_nothing() {
        let (levels, filter) = Levels::new("info").unwrap();
        let lines = tracing_subscriber::fmt::layer().with_writer(io::sink);
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            assert!(!enabled!(Level::DEBUG));
            levels.change("debug").unwrap();
            assert!(enabled!(Level::DEBUG));
            assert!(levels.change("hyper=loud").is_err());
            assert_eq!(levels.show().unwrap(), "debug");
            levels.change("warn").unwrap();
            assert!(!enabled!(Level::INFO));
        });
    }
}
