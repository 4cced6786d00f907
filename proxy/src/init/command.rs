//! Runs `iptables-save` and `iptables-restore`; decides nothing about the rules.

use std::io::{self, Write as _};
use std::process::{Command, ExitStatus, Stdio};

use super::Capture;
use super::rules::{self, Family};

/// Why the rules could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is missing or cannot be started.
    #[error("failed to run `{program}`")]
    Run {
        /// Which program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program refused.
    #[error("`{program}` failed ({status}): {stderr}")]
    Refused {
        /// Which program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
}

/// Puts the rules in place, for IPv6 only where the kernel has it.
pub fn apply(capture: &Capture) -> Result<(), Error> {
    change(Family::V4, |existing| {
        Some(rules::restore(capture, Family::V4, existing))
    })?;
    if has_ipv6() {
        change(Family::V6, |existing| {
            Some(rules::restore(capture, Family::V6, existing))
        })?;
    }
    Ok(())
}

/// Removes the rules; what is not there is no error.
pub fn clean(capture: &Capture) -> Result<(), Error> {
    change(Family::V4, |existing| rules::remove(capture, existing))?;
    if has_ipv6() {
        change(Family::V6, |existing| rules::remove(capture, existing))?;
    }
    Ok(())
}

fn change(family: Family, plan: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    let (save, restore) = match family {
        Family::V4 => ("iptables-save", "iptables-restore"),
        Family::V6 => ("ip6tables-save", "ip6tables-restore"),
    };
    let existing = run(save, &["-t", "nat"], "")?;
    if let Some(input) = plan(&existing) {
        tracing::info!(program = restore, rules = %input, "changing packet redirection");
        // Waits for the lock that other users of the tables hold for a moment.
        run(restore, &["--noflush", "--wait=30"], &input)?;
    }
    Ok(())
}

fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, Error> {
    let failed = |source| Error::Run { program, source };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Refused {
        program,
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Whether this network namespace has an IPv6 address at all.
fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|addresses| !addresses.is_empty())
}
