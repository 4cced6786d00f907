//! Debian packages: installed on the machine where a program needs them, unpacked elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{output, run};
use crate::{Environment, cache};

/// What building and the local cluster need installed. etcd is not among them: its package would
/// start a service.
const INSTALLED: [&str; 12] = [
    "build-essential",
    "ca-certificates",
    "cmake",
    "conntrack",
    "containernetworking-plugins",
    "git",
    "iproute2",
    "iptables",
    "libssl-dev",
    "pkg-config",
    "runc",
    "util-linux",
];

/// Installs what is missing; needs root only then.
pub(crate) fn install() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if output(Command::new("id").arg("--user"))?.trim() != "0" {
        bail!("packages are missing, and installing them needs root: apt-get install {list}");
    }
    crate::report::step(&format!("install {list}"), || {
        run(Command::new("apt-get").args(["update", "--quiet=2"]))?;
        run(Command::new("apt-get")
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    })
}

fn missing() -> Result<Vec<&'static str>> {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(INSTALLED)
        .output()
        .context("failed to start dpkg-query: this needs Debian")?;
    // It fails when it does not know one of them, and lists the others.
    let known = String::from_utf8_lossy(&query.stdout).into_owned();
    let is_installed = |name: &str| {
        known
            .lines()
            .any(|line| line == format!("{name} installed"))
    };
    Ok(INSTALLED
        .into_iter()
        .filter(|name| !is_installed(name))
        .collect())
}

/// A package unpacked in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Unpacked {
    /// File name of the package, which has its version.
    pub(crate) file: String,
    /// Where its files are.
    pub(crate) folder: PathBuf,
}

/// Fetches packages and unpacks each into a folder of the cache that its version names.
pub(crate) fn unpack(environment: &Environment, names: &[&str]) -> Result<Vec<Unpacked>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // A machine without package lists has no candidates: fetch the lists, then ask again.
    let files = candidates(names).or_else(|_| {
        run(Command::new("apt-get").args(["update", "--quiet=2"]))?;
        candidates(names)
    })?;
    let parent = cache::folder(environment)?.join("debian");
    let mut unpacked = Vec::new();
    for (name, file) in files {
        let folder = parent.join(file.trim_end_matches(".deb"));
        cache::entry(&folder, |partial| fetch(&name, partial))?;
        unpacked.push(Unpacked { file, folder });
    }
    Ok(unpacked)
}

/// Names and file names of the versions that apt would install, in a fixed order.
fn candidates(names: &[&str]) -> Result<Vec<(String, String)>> {
    let text = output(
        Command::new("apt-get")
            .args(["download", "--print-uris"])
            .args(names),
    )?;
    let mut found: Vec<(String, String)> = text
        .lines()
        .filter_map(parse_candidate)
        .map(|(n, f)| (n.into(), f.into()))
        .collect();
    found.sort();
    if found.len() != names.len() {
        bail!("apt knows {} of the packages {names:?}", found.len());
    }
    Ok(found)
}

/// Reads `'<address>' <name>_<version>_<architecture>.deb <size> <hash>`.
fn parse_candidate(line: &str) -> Option<(&str, &str)> {
    let file = line.strip_prefix('\'')?.split(' ').nth(1)?;
    Some((file.split('_').next()?, file))
}

fn fetch(name: &str, folder: &Path) -> Result<()> {
    crate::report::say(format!("    fetch {name}"));
    // Its own user may not write into the cache of ours.
    run(Command::new("apt-get")
        .args([
            "download",
            "--quiet=2",
            "--option",
            "APT::Sandbox::User=root",
            name,
        ])
        .current_dir(folder))?;
    let archive = std::fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get downloaded no file for `{name}`"))?;
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(&archive)
        .arg(folder))?;
    Ok(std::fs::remove_file(archive)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_carries_package_and_version() {
        let line = "'http://deb.debian.org/pool/main/g/git/git_2.39.5-0%2bdeb12u3_amd64.deb' \
                    git_1%3a2.39.5-0+deb12u3_amd64.deb 7264380 SHA256:63";
        assert_eq!(
            parse_candidate(line),
            Some(("git", "git_1%3a2.39.5-0+deb12u3_amd64.deb"))
        );
        assert_eq!(parse_candidate("E: Unable to locate package nope"), None);
    }
}
