//! The binary itself, as a pipeline sees it: what it prints, and its exit codes.

mod cluster;
mod migrate;
mod simulate;
mod usage;

use std::path::Path;
use std::process::{Command, Output};

/// Runs `fairlead` with a kubeconfig.
fn fairlead(kubeconfig: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    command
        .env("KUBECONFIG", kubeconfig)
        .env_remove("NO_COLOR")
        .args(arguments.split(' '));
    command.output().expect("the binary runs")
}

/// The exit code, and all that was printed.
fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    (output.status.code(), text.concat())
}
