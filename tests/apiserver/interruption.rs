//! A rollout is interrupted at each of its writes: another operator brings it to the same end, and
//! no safety rule is broken on the way.
//!
//! The matrix is generated: every strategy, with every kind of target and both outcomes, is
//! rehearsed once to count its writes. Then, at each of them, its operator ends before or after it,
//! or sends it late, when another leader has come to the end; or it lives on, and the API server
//! refuses the write, loses its answer or is away, or its watches are late or break; in some
//! rollouts people also release, revert, edit, suspend or delete in between.

mod case;
mod edit;
mod picture;
mod play;
mod report;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use fairlead_runtime::clock;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use self::case::{Interruption, Rollout};
use self::play::Told;
use self::report::Report;
use crate::stage::Stage;

/// Rollouts at a time: each waits for its pods and intervals most of the time.
const SIDE_BY_SIDE: usize = 16;
/// Fewer writes than any rollout has.
const FEWEST_WRITES: usize = 12;

/// Which part of the matrix is played.
#[derive(Debug, clap::Parser)]
struct Choice {
    /// Only cases whose names hold each of these words, such as `Weighted DaemonSet before`.
    #[arg(long, env = "FAIRLEAD_SUITE_ONLY", default_value = "")]
    only: String,
    /// One of so many cases.
    #[arg(long, env = "FAIRLEAD_SUITE_PACE", default_value_t = 1)]
    pace: usize,
    /// Which of so many, counted from 0.
    #[arg(long, env = "FAIRLEAD_SUITE_FIRST", default_value_t = 0)]
    first: usize,
    /// Whether people also do something in between.
    #[arg(skip = true)]
    edits: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_after_each_write_of_a_weighted_rollout_leads_to_the_same_end() -> Result<()> {
    let choice = Choice {
        only: "Weighted Deployment after".to_owned(),
        pace: 1,
        first: 0,
        edits: false,
    };
    play(Rollout::all(), &choice).await?.conclude()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_interruptions_leads_to_the_same_end() -> Result<()> {
    // Each strategy, each kind of target and each outcome with several of the others.
    let rollouts = Rollout::all().into_iter().step_by(5).collect();
    let choice = Choice {
        only: String::new(),
        // What is done at each write comes in eights and sixteens: this meets all of it.
        pace: 27,
        first: 0,
        edits: true,
    };
    play(rollouts, &choice).await?.conclude()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: `cargo xtask suite interruptions`"]
async fn every_interruption_leads_to_the_same_end() -> Result<()> {
    let choice = Choice::parse_from(["interruptions"]);
    let report = play(Rollout::all(), &choice).await?;
    report.write("interruptions")?;
    report.conclude()
}

impl Choice {
    /// The rollouts that may have cases of this choice.
    fn rollouts(&self, mut all: Vec<Rollout>) -> Vec<Rollout> {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        let names_one = |word: &&str| names.iter().any(|name| name.contains(word));
        let words: Vec<&str> = self.only.split_whitespace().filter(names_one).collect();
        all.retain(|rollout| {
            let name = rollout.to_string();
            words.iter().all(|word| name.contains(word))
        });
        all
    }

    fn holds(&self, rollout: Rollout, interruption: Interruption) -> bool {
        let name = format!("{rollout} {interruption}");
        let is_named = self.only.split_whitespace().all(|word| name.contains(word));
        is_named && (self.edits || interruption.edit.is_none())
    }
}

/// Plays rollouts without and then with interruptions.
async fn play(rollouts: Vec<Rollout>, choice: &Choice) -> Result<Report> {
    let stage = Stage::open().await?;
    let mut report = Report::new();
    let rehearsed: Vec<_> = stream::iter(choice.rollouts(rollouts).into_iter().enumerate())
        .map(|(number, rollout)| rehearse(&stage, number, rollout))
        .buffered(SIDE_BY_SIDE)
        .try_collect()
        .await?;
    let mut cases = Vec::new();
    for (rollout, told) in &rehearsed {
        report.rehearsed(*rollout, told.writes.len());
        let first = if rollout.is_prepared_first() {
            1
        } else {
            told.prepared + 1
        };
        for write in first..=told.writes.len() {
            let interruptions = rollout.interruptions(write);
            cases.extend(interruptions.into_iter().map(|one| (*rollout, one, told)));
        }
    }
    cases.retain(|(rollout, interruption, _)| choice.holds(*rollout, *interruption));
    let cases = cases.into_iter().skip(choice.first);
    let cases = cases.step_by(choice.pace).enumerate();
    let mut played = stream::iter(cases)
        .map(|(number, (rollout, interruption, rehearsed))| {
            let stage = &stage;
            async move {
                let told = interrupt(stage, number, rollout, interruption, rehearsed).await;
                (rollout, interruption, told)
            }
        })
        .buffer_unordered(SIDE_BY_SIDE);
    while let Some((rollout, interruption, told)) = played.next().await {
        report.told(rollout, interruption, told);
    }
    Ok(report)
}

async fn rehearse(stage: &Stage, number: usize, rollout: Rollout) -> Result<(Rollout, Told)> {
    let scene = stage
        .scene_of(&format!("rehearsal-{number}"), rollout.target)
        .await?;
    let told = Box::pin(play::play(&scene, rollout, None, None)).await;
    let told = told.with_context(|| format!("{rollout}, without interruption"))?;
    let writes = told.writes.len();
    ensure!(writes >= FEWEST_WRITES, "{rollout} has {writes} writes");
    Ok((rollout, told))
}

async fn interrupt(
    stage: &Stage,
    number: usize,
    rollout: Rollout,
    interruption: Interruption,
    rehearsed: &Told,
) -> Result<Told> {
    let scene = stage
        .scene_of(&format!("case-{number}"), rollout.target)
        .await?;
    let begun = clock::instant();
    let told = Box::pin(play::play(
        &scene,
        rollout,
        Some(interruption),
        Some(&rehearsed.end),
    ))
    .await;
    told.with_context(|| {
        let write = &rehearsed.writes[interruption.write - 1];
        let seconds = begun.elapsed().as_secs();
        let (phases, log) = (scene.history.phases(), scene.log());
        format!(
            "{rollout}, {interruption} ({write}), after {seconds} s, phases {phases:?}; log:\n{log}\n"
        )
    })
}
