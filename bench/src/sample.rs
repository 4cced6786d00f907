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

/// CPU time of all processes that a process has started and that still run, in nanoseconds.
pub(crate) fn cpu_below(pid: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        for child in children.split_whitespace() {
            let child = child.parse()?;
            total += cpu(child)? + cpu_below(child)?;
        }
    }
    Ok(total)
}

/// Resident memory of a process, in kilobytes.
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    kilobytes(pid, "VmRSS:")
}

/// The most resident memory that a process has had, in kilobytes.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    kilobytes(pid, "VmHWM:")
}

fn kilobytes(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
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

/// The value that this share of all values does not exceed; none without values.
pub(crate) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a list of some hundred"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).rev().collect();
        assert_eq!(percentile(&values, 0.5), Some(50.0));
        assert_eq!(percentile(&values, 0.99), Some(99.0));
        assert_eq!(percentile(&values, 1.0), Some(100.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
