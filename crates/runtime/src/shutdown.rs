//! Turns SIGTERM and SIGINT into a token that everything else waits on.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Why signals could not be received.
#[derive(Debug, thiserror::Error)]
#[error("failed to install the handler of {signal}")]
pub struct Error {
    signal: &'static str,
    #[source]
    source: io::Error,
}

/// A token that is cancelled by the first SIGTERM or SIGINT.
///
/// The handlers are installed before this returns. Call it once, inside the runtime.
pub fn token() -> Result<CancellationToken, Error> {
    let install = |kind, name| {
        signal(kind).map_err(|source| Error {
            signal: name,
            source,
        })
    };
    let mut terminate = install(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = install(SignalKind::interrupt(), "SIGINT")?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "supervision itself waits for this task"
    )]
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = cancelled.cancelled() => return,
        };
        tracing::info!(signal = name, "shutting down");
        cancelled.cancel();
    });
    Ok(token)
}
