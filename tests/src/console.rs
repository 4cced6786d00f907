//! Lines for a person at a terminal; nothing else in the harness writes to standard output.

use std::io::Write as _;

/// Prints one line; a closed pipe is not an error worth stopping for.
pub fn say(line: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe no longer reads: there is nobody left to tell.
    let _ = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
}
