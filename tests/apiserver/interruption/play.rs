//! Plays one case: a rollout, an operator that meets a fault on the way, another one that goes on
//! where the first has ended.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use fairlead_runtime::clock;
use kube::api::{Patch, PatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;

use super::case::{Interruption, Outcome, Rollout, Strategy};
use super::edit::{self, Edit, Onward};
use super::picture;
use crate::history::Role;
use crate::stage::{PATIENCE, Scene};

/// How often the end of a rollout is looked at: its picture is of many objects.
const LOOK: Duration = Duration::from_millis(300);
/// What looks the same so often is the end.
const STILL: usize = 5;

/// What was seen of one case.
pub(super) struct Told {
    /// The phase in which the operator met its fault; `None` when it never did.
    pub(super) interrupted: Option<CanaryPhase>,
    /// The writes of the operator that was started first.
    pub(super) writes: Vec<String>,
    /// How many of them came before the first revision served.
    pub(super) prepared: usize,
    /// The versions of objects that were judged.
    pub(super) versions: usize,
    pub(super) end: Value,
}

/// Plays a rollout, without interruption or with one; its end must be `end`, when that is known.
pub(super) async fn play(
    scene: &Scene,
    rollout: Rollout,
    interruption: Option<Interruption>,
    end: Option<&Value>,
) -> Result<Told> {
    let edit = interruption.and_then(|one| one.edit);
    prepare(scene, rollout, edit).await?;
    let fault = interruption.map_or_else(|| NEVER.to_owned(), Interruption::fault);
    let mut operator = scene.operator.start(Some(&fault))?;
    let met = Cell::new(None);
    let first = tokio::select! {
        status = operator.wait() => {
            let killed = interruption.is_some() && !status?.success();
            ensure!(killed, "the operator ended; log: {}", scene.log());
            None
        }
        said = until_said(scene, "held") => said.map(|()| None)?,
        error = note_phase(scene, &met) => bail!(error),
        told = tell(scene, rollout, Release::Due, end) => Some(told?),
    };
    let interrupted = if first.is_none() {
        Some(scene.history.phase())
    } else {
        met.get()
    };
    let release = Release::of(&scene.image("podinfo").await?);
    let (prepared, end) = match (first, edit) {
        (Some(told), _) => told,
        (None, Some(edit)) => {
            edit.make(scene, release).await?;
            if operator.id().is_some() {
                send(&operator)?;
            } else {
                operator = scene.operator.start(None)?;
            }
            let rest = Box::pin(tell_edited(scene, edit, release));
            go_on(&mut operator, rest).await?
        }
        (None, None) if operator.id().is_some() => {
            let mut beside = scene.operator.start_beside()?;
            go_on(&mut beside, tell(scene, rollout, release, end)).await?;
            send(&operator)?;
            let sent = tokio::time::timeout(PATIENCE, until_said(scene, "sent")).await;
            sent.context("the late write is not answered")??;
            let last = until_still(scene, None).await?;
            let differences = picture::differences(end.unwrap_or(&Value::Null), &last);
            ensure!(differences.is_empty(), "another end: {differences:#?}");
            check(scene, rollout).await?;
            (0, last)
        }
        (None, None) => {
            let mut other = scene.operator.start(None)?;
            go_on(&mut other, tell(scene, rollout, release, end)).await?
        }
    };
    Ok(Told {
        interrupted,
        writes: writes(scene)?,
        prepared,
        versions: scene.history.versions().len(),
        end,
    })
}

/// Notes the phase in which the operator has met a fault that it survives.
async fn note_phase(scene: &Scene, met: &Cell<Option<CanaryPhase>>) -> anyhow::Error {
    if let Err(error) = until_said(scene, "met").await {
        return error;
    }
    met.set(Some(scene.history.phase()));
    std::future::pending().await
}

/// Lets an operator send the write that it holds back.
fn send(operator: &Child) -> Result<()> {
    let id = operator.id().context("the operator has ended")?;
    kill(Pid::from_raw(id.try_into()?), Signal::SIGUSR1)?;
    Ok(())
}

/// Waits until the operator's log has a line.
async fn until_said(scene: &Scene, message: &str) -> Result<()> {
    loop {
        let said = logged(scene)?;
        if said.iter().any(|line| line["message"] == message) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the rest while another operator works.
async fn go_on<T>(operator: &mut Child, rest: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        status = operator.wait() => bail!("the other operator ended: {}", status?),
        told = rest => told,
    }
}

/// More writes than any rollout has.
const NEVER: &str = "after:1000000";

/// A target of two pods, and the Canary.
async fn prepare(scene: &Scene, rollout: Rollout, edit: Option<Edit>) -> Result<()> {
    if scene.target.has_replicas() {
        let two = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
        let params = PatchParams::default();
        scene.workloads().patch("podinfo", &params, &two).await?;
    }
    let hook = |name: &str, kind: &str| {
        let url = format!("{}/hook/{name}", scene.address);
        json!({ "name": name, "type": kind, "url": url })
    };
    let mut hooks = vec![hook("gate", "pre-rollout")];
    if rollout.strategy == Strategy::Approved {
        hooks.push(hook("approval", "confirm-promotion"));
        scene.world.set(&scene.namespace, |all| {
            all.hooks.insert("approval".to_owned(), 403);
        });
    }
    scene
        .apply_canary(|spec| {
            rollout.strategy.set(spec);
            spec["analysis"]["webhooks"] = json!(hooks);
            if rollout.strategy == Strategy::Unanalysed && rollout.outcome == Outcome::Failed {
                spec["progressDeadlineSeconds"] = json!(2);
            }
            if let Some(edit) = edit {
                edit.foresee(spec);
            }
        })
        .await
}

/// Whether the second revision is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    Due,
    Done,
}

impl Release {
    fn of(image: &str) -> Self {
        match image {
            "podinfo:1" => Self::Due,
            _ => Self::Done,
        }
    }
}

/// To the end of the second revision; gives the writes before it, and the end.
async fn tell(
    scene: &Scene,
    rollout: Rollout,
    release: Release,
    end: Option<&Value>,
) -> Result<(usize, Value)> {
    until_prepared(scene).await?;
    let prepared = writes(scene)?.len();
    if rollout.outcome == Outcome::Failed {
        scene.world.set(&scene.namespace, |all| {
            all.metric = "50".to_owned();
            if rollout.strategy == Strategy::Unanalysed {
                all.broken.push("podinfo:2".to_owned());
            }
        });
    }
    if release == Release::Due {
        scene.apply_target("podinfo:2").await?;
    }
    if rollout.strategy == Strategy::Approved {
        approve(scene).await?;
    }
    let last = rollout.phases().last().copied();
    scene.until_phase(last.unwrap_or_default()).await?;
    let ended = Box::pin(until_still(scene, end)).await?;
    check(scene, rollout).await?;
    Ok((prepared, ended))
}

/// To the end that an edit leads to; nobody holds the promotion any more.
async fn tell_edited(scene: &Scene, edit: Edit, release: Release) -> Result<(usize, Value)> {
    scene.world.set(&scene.namespace, |all| all.hooks.clear());
    if edit.settle(scene).await? == Onward::Over {
        edit::check_given_back(scene).await?;
    } else {
        if release == Release::Due {
            until_prepared(scene).await?;
            scene.apply_target("podinfo:2").await?;
        }
        edit::until_rest(scene, edit).await?;
    }
    scene.history.settled(&scene.client).await?;
    scene.history.judge()?;
    Ok((0, Value::Null))
}

async fn until_prepared(scene: &Scene) -> Result<()> {
    let is_past = |canary: &Canary| {
        let phase = canary.status.as_ref().and_then(|status| status.phase);
        !matches!(
            phase,
            None | Some(CanaryPhase::New | CanaryPhase::Initializing)
        )
    };
    scene.until("the first revision", is_past).await?;
    Ok(())
}

/// Lets the promotion happen once it is seen to wait for that.
async fn approve(scene: &Scene) -> Result<()> {
    let waits = |canary: &Canary| {
        let phase = canary.status.as_ref().and_then(|status| status.phase);
        !matches!(
            phase,
            Some(CanaryPhase::Initialized | CanaryPhase::Progressing)
        )
    };
    scene.until("somebody to wait for", waits).await?;
    scene.world.set(&scene.namespace, |all| all.hooks.clear());
    Ok(())
}

/// Waits for the end; where that is not known, until nothing changes any more.
async fn until_still(scene: &Scene, end: Option<&Value>) -> Result<Value> {
    let begun = clock::instant();
    let mut seen = Value::Null;
    let mut times = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let next = picture::draw(scene).await?;
        // However slow the machine is, it is not the end before the canary rests.
        let rests = scene.history.size(Role::Canary) == Some(0);
        times = if rests && next == seen { times + 1 } else { 0 };
        seen = next;
        let ended = end.map_or(times == STILL, |end| *end == seen);
        if ended {
            return Ok(seen);
        }
        let differences = || picture::differences(end.unwrap_or(&Value::Null), &seen);
        ensure!(
            begun.elapsed() < PATIENCE,
            "another end: {:#?}",
            differences()
        );
    }
}

/// What must be true of every rollout, whatever happened to its operator.
async fn check(scene: &Scene, rollout: Rollout) -> Result<()> {
    scene.history.judge()?;
    let (primary, size) = (
        scene.image("podinfo-primary").await?,
        scene.size("podinfo").await?,
    );
    ensure!(primary == rollout.image(), "the primary runs {primary}");
    ensure!(size == 0, "the canary has size {size}");
    let weights = scene.history.weights();
    ensure!(weights == rollout.weights(), "the weights were {weights:?}");
    let mut expected = rollout.phases().iter();
    let phases = scene.history.phases();
    let forward = phases.iter().all(|phase| expected.any(|one| one == phase));
    ensure!(forward, "the phases were {phases:?}");
    let mirrored = scene.history.is_mirrored();
    ensure!(
        mirrored == (rollout.strategy == Strategy::Mirrored),
        "mirrored: {mirrored}"
    );
    check_calls(scene, rollout)
}

/// A hook in doubt may be called once more, with the same key and no other; without analysis nobody
/// is asked.
fn check_calls(scene: &Scene, rollout: Rollout) -> Result<()> {
    let calls = scene.world.conditions(&scene.namespace).calls;
    let calls = calls.iter().filter(|(name, _)| name == "gate");
    let calls: Vec<&String> = calls.map(|(_, key)| key).collect();
    let mut keys = calls.clone();
    keys.dedup();
    let expected = usize::from(rollout.strategy != Strategy::Unanalysed);
    ensure!(
        keys.len() == expected && calls.len() <= 2 * expected,
        "the gate was called with {calls:?}"
    );
    Ok(())
}

/// What the operator that was told when to end says that it has written.
fn writes(scene: &Scene) -> Result<Vec<String>> {
    let lines = logged(scene)?;
    let writes = lines.iter().filter(|line| line["message"] == "write");
    Ok(writes.map(describe).collect())
}

fn logged(scene: &Scene) -> Result<Vec<Value>> {
    let log = std::fs::read_to_string(&scene.operator.log)?;
    let lines = log.lines();
    Ok(lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// A request without the place that all of them have in common.
fn describe(write: &Value) -> String {
    let path = write["path"].as_str().unwrap_or_default();
    let (_, object) = path.split_once("/namespaces/").unwrap_or_default();
    let (_, object) = object.split_once('/').unwrap_or_default();
    format!("{} {object}", write["method"].as_str().unwrap_or_default())
}
