//! The first process inside a cluster's namespaces: when it ends, the kernel ends all the others.
//!
//! It starts the programs of the plan, starts again what ends, reaps orphans, and carries
//! connections from the machine's loopback to the API server. The listening socket is inherited as
//! standard input: it was bound outside, and a socket stays in the namespace where it was made.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::wait::{WaitStatus, wait};

use super::node::Plan;
use crate::program::Program;

/// A program that ends at once must not take a whole processor by being started again.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// The API server is there within seconds; its clients wait for it, not the other way round.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// Runs until it is killed.
///
/// # Errors
/// When the plan cannot be read, or the namespaces cannot be prepared.
pub fn hold(folder: &Path) -> Result<()> {
    let plan = fs::read(folder.join("plan.json")).context("failed to read the plan")?;
    let plan: Plan = serde_json::from_slice(&plan).context("failed to parse the plan")?;
    let mut running = HashMap::new();

    let status = command(&plan.setup, folder)?
        .status()
        .context("failed to start the setup")?;
    ensure!(
        status.success(),
        "the setup of the namespaces failed: see setup.log"
    );
    start_forwarding(plan.api)?;
    for program in plan.first {
        start(program, folder, &mut running)?;
    }
    while TcpStream::connect_timeout(&plan.api, PROBE_EVERY).is_err() {
        thread::sleep(PROBE_EVERY);
    }
    for program in plan.then {
        start(program, folder, &mut running)?;
    }
    loop {
        let ended = match wait() {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => pid,
            Ok(_) => continue,
            Err(error) => return Err(error).context("failed to wait for programs"),
        };
        // An orphan has nobody else to reap it, and needs nothing more.
        let Some(program) = running.remove(&ended.as_raw()) else {
            continue;
        };
        thread::sleep(RESTART_AFTER);
        start(program, folder, &mut running)?;
    }
}

fn start(program: Program, folder: &Path, running: &mut HashMap<i32, Program>) -> Result<()> {
    let child = command(&program, folder)?
        .spawn()
        .with_context(|| format!("failed to start `{}`", program.name))?;
    running.insert(i32::try_from(child.id())?, program);
    Ok(())
}

fn command(program: &Program, folder: &Path) -> Result<Command> {
    let log = folder.join("log").join(format!("{}.log", program.name));
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let (path, arguments) = program
        .argv
        .split_first()
        .context("a program without a path")?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

fn start_forwarding(api: SocketAddr) -> Result<()> {
    let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    thread::Builder::new()
        .name("forward".to_owned())
        .spawn(move || {
            for inbound in listener.incoming().filter_map(Result::ok) {
                // The client sees a closed connection, which says all there is to say.
                let _ = thread::Builder::new().spawn(move || carry(&inbound, api));
            }
        })?;
    Ok(())
}

fn carry(inbound: &TcpStream, api: SocketAddr) -> std::io::Result<()> {
    let outbound = TcpStream::connect(api)?;
    inbound.set_nodelay(true)?;
    outbound.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(inbound, &outbound));
        copy(&outbound, inbound);
    });
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    // Either side may go away at any time; both ways end then.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
    let _ = from.shutdown(std::net::Shutdown::Read);
}
