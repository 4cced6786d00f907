//! CPU time and memory of a process, from `/proc`.

use std::fs;

use anyhow::Context as _;

/// CPU time of all threads of a process so far, in nanoseconds.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let time = text.split(' ').next().context("schedstat is empty")?;
        total += time.parse::<u64>()?;
    }
    Ok(total)
}

/// Resident memory of a process, in kilobytes.
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.context("the process is gone")?.trim();
    Ok(text.trim_end_matches("kB").trim().parse()?)
}

/// The middle of several values, with the lowest and the highest.
pub(crate) fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (
        at(values.len() / 2),
        at(0),
        at(values.len().saturating_sub(1)),
    )
}
