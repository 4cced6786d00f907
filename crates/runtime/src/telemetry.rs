//! Sets up logging for the process.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;
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
}

/// Writes log lines to standard error from now on, as `log` says.
pub fn init(log: &args::Log) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&log.log_level).map_err(|source| Error::ParseLevel {
        level: log.log_level.clone(),
        source,
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match log.log_format {
        args::LogFormat::Json => lines.json().flatten_event(true).boxed(),
        args::LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(Error::Install)
}
