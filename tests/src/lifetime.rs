//! A suite ends with the cargo that runs it, so that a killed run holds no cluster.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Lets the kernel end this process when its parent ends, if that is `cargo`.
///
/// # Errors
/// When the kernel refuses.
pub fn end_with_cargo() -> anyhow::Result<()> {
    let parent = nix::unistd::getppid();
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    if name.trim() == "cargo" {
        set_pdeathsig(Signal::SIGKILL)?;
    }
    Ok(())
}
