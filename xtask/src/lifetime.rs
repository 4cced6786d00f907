//! A task ends with the `make` that started it, and its programs end with the task.
//!
//! Without this a killed `make` leaves a demo or a suite running that holds its cluster, and the
//! next command finds the name taken. Elsewhere than on Linux there is no local cluster to hold.

use std::ffi::OsStr;
use std::process::Command;

/// Lets the kernel end this process when its parent ends, if that is `make`.
#[cfg(target_os = "linux")]
pub(crate) fn end_with_make() -> anyhow::Result<()> {
    use nix::sys::{prctl, signal::Signal};
    let parent = nix::unistd::getppid();
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    if name.trim() == "make" {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
    }
    Ok(())
}

/// Nothing to hold, nothing to end.
#[cfg(not(target_os = "linux"))]
pub(crate) fn end_with_make() -> anyhow::Result<()> {
    Ok(())
}

/// A program that the kernel ends when this process ends.
pub(crate) fn bound(program: impl AsRef<OsStr>) -> Command {
    if cfg!(target_os = "linux") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
