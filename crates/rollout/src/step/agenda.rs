//! The order in which hooks and metrics are asked, and what is done once all agree. Pure.
//!
//! A question to a hook is stored before it is asked and its answer before the next one, so that a
//! restart repeats at most the question in doubt, with the same key. Metrics are only read: to ask
//! for them leaves no trace.

use jiff::{SignedDuration, Timestamp};

use super::stage;
use super::{Machine, Pause, Turn, after, held};
use crate::effect::Effect;
use crate::event::{Reason, Severity};
use crate::phase::Phase;
use crate::probe::{HookKind, Probe, ProbeKey, Subject, Verdict};
use crate::stage::Selection;
use crate::state::{Place, Postponed, Round, Run};
use crate::strategy::{Plan, Strategy};
use crate::weight::Weight;

/// A hook that wants to be asked again at once is given this much time.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// What follows when an agenda has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Mirror requests for one interval.
    Mirror,
    /// Give the canary this weight.
    Weight(Weight),
    /// Begin the explicit step of this number.
    Stage(u32),
    /// Count one more iteration.
    Iterate,
    /// Give the primary the revision.
    Promote,
}

/// A question that was answered with no.
pub(super) struct Objection {
    /// The kind of hook, or `None` for metrics.
    pub(super) kind: Option<HookKind>,
    /// The answer, with the name of who gave it.
    pub(super) why: String,
}

/// What a run does next when nothing objects.
pub(super) fn next_move(strategy: &Strategy, run: &Run) -> Move {
    match &strategy.plan {
        Plan::Weighted { ladder, mirror } => {
            if *mirror && run.weight == Weight::ZERO && !run.mirrored {
                return Move::Mirror;
            }
            ladder.next(run.weight).map_or(Move::Promote, Move::Weight)
        }
        Plan::Staged { stages, mirror } => {
            if *mirror && run.weight == Weight::ZERO && !run.mirrored && run.place.is_none() {
                return Move::Mirror;
            }
            stage::next(stages, run).map_or(Move::Promote, Move::Stage)
        }
        Plan::Iterations { count, matched, .. } => {
            // A canary that kept all traffic after a failed promotion has nothing to iterate to.
            if run.iterations < *count {
                Move::Iterate
            } else if *matched || run.weight == Weight::FULL || !strategy.divides_traffic {
                Move::Promote
            } else {
                Move::Weight(Weight::FULL)
            }
        }
    }
}

/// The questions of a check, in order.
pub(super) fn questions(strategy: &Strategy, run: &Run) -> Vec<Probe> {
    let mut probes = strategy.probes(HookKind::Rollback);
    if !run.warmed {
        probes.extend(strategy.probes(HookKind::PreRollout));
    }
    if run.has_begun() {
        if !run.warmed {
            return probes;
        }
        probes.extend(checks(strategy, run));
    }
    probes
}

/// What judges the canary: all there is, unless the explicit step says otherwise.
fn checks(strategy: &Strategy, run: &Run) -> Vec<Probe> {
    let stage = stage::current(strategy, run);
    let (hooks, metrics) = stage.map_or((Selection::All, Selection::All), |stage| {
        (stage.hooks.clone(), stage.metrics.clone())
    });
    let mut probes = strategy.probes(HookKind::Rollout);
    probes.retain(|probe| matches!(probe, Probe::Hook { name, .. } if hooks.includes(name)));
    if strategy.has_metrics && !metrics.is_empty() {
        probes.push(Probe::Metrics {
            which: metrics,
            of: Subject::Canary,
        });
    }
    probes
}

/// The questions to those who must agree to the next move; a check comes first.
pub(super) fn approvals(strategy: &Strategy, run: &Run) -> Vec<Probe> {
    if run.has_begun() && !run.warmed {
        return Vec::new();
    }
    let gates = gates(strategy, run).iter();
    gates.flat_map(|gate| strategy.probes(*gate)).collect()
}

/// Who must agree to the next move.
fn gates(strategy: &Strategy, run: &Run) -> &'static [HookKind] {
    let weighted = matches!(strategy.plan, Plan::Weighted { .. } | Plan::Staged { .. });
    match next_move(strategy, run) {
        Move::Mirror | Move::Iterate => &[],
        // As in Flagger, the step that ends mirroring is not asked for.
        Move::Weight(_) | Move::Stage(_) if weighted && run.mirrored => &[],
        Move::Weight(_) | Move::Stage(_) if weighted => &[HookKind::ConfirmTrafficIncrease],
        Move::Promote if weighted => {
            &[HookKind::ConfirmTrafficIncrease, HookKind::ConfirmPromotion]
        }
        Move::Weight(_) | Move::Stage(_) | Move::Promote => &[HookKind::ConfirmPromotion],
    }
}

impl Machine<'_> {
    /// Asks what has not been answered yet; goes on with the first objection, or with none.
    pub(super) fn consult(&mut self, agenda: &[Probe]) -> Turn<Option<Objection>> {
        for probe in agenda {
            let id = probe.id();
            let run = self.run()?;
            if run.round.passed.contains(&id) {
                continue;
            }
            let key = ProbeKey {
                run: run.id,
                step: run.step,
                attempt: run.round.attempt,
                probe: id,
            };
            let seen = self.seen;
            let Some(answer) = seen.answers.iter().find(|answer| answer.key == key) else {
                return self.ask(probe, key);
            };
            self.heard.push(key);
            if let Some(objection) = self.hear(probe, &answer.verdict)? {
                return Ok(Some(objection));
            }
        }
        Ok(None)
    }

    fn ask<T>(&mut self, probe: &Probe, key: ProbeKey) -> Turn<T> {
        let message = match probe {
            Probe::Metrics {
                of: Subject::Canary,
                ..
            } => self.waits_for_check()?,
            Probe::Metrics {
                of: Subject::Primary,
                ..
            } => self.bakes()?,
            Probe::Hook { kind, name } => {
                self.run()?.round.asked = Some(key.probe.clone());
                format!("calling {kind} hook {name}")
            }
        };
        let probe = probe.clone();
        self.act(Effect::Ask { key, probe }, message)
    }

    /// Records an answer; an approval of a rollback hook is an objection, its refusal is not.
    fn hear(&mut self, probe: &Probe, verdict: &Verdict) -> Turn<Option<Objection>> {
        self.run()?.round.asked = None;
        let kind = match probe {
            Probe::Hook { kind, .. } => Some(*kind),
            Probe::Metrics { .. } => None,
        };
        let why = match (probe, verdict.objection()) {
            (
                Probe::Hook {
                    kind: HookKind::Rollback,
                    name,
                },
                None,
            ) => Some(format!("rollback hook {name} asked for it")),
            (
                Probe::Hook {
                    kind: HookKind::Rollback,
                    ..
                },
                Some(_),
            )
            | (_, None) => None,
            (Probe::Hook { kind, name }, Some(why)) => Some(format!("{kind} hook {name}: {why}")),
            (Probe::Metrics { .. }, Some(why)) => Some(why.to_owned()),
        };
        let Some(why) = why else {
            self.run()?.round.passed.push(probe.id());
            return Ok(None);
        };
        // After the end there is nothing left to give up or to wait for.
        if kind != Some(HookKind::PostRollout) {
            match verdict {
                Verdict::Abort(_) => return self.roll_back(&why),
                Verdict::Later { pause, .. } => self.postpone(&why, *pause)?,
                Verdict::Passed | Verdict::Failed(_) | Verdict::Error(_) | Verdict::NoData(_) => {}
            }
        }
        Ok(Some(Objection { kind, why }))
    }

    /// Ends an attempt without a move: the next one comes an interval later.
    pub(super) fn end_attempt(&mut self) -> Turn {
        let again = after(self.now, self.strategy.interval);
        self.close_round()?;
        self.wake_at(again);
        Ok(())
    }

    fn close_round(&mut self) -> Turn {
        let now = self.now;
        let run = self.run()?;
        run.round = Round {
            attempt: run.round.attempt.saturating_add(1),
            ..Round::default()
        };
        run.checked_at = Some(now);
        run.postponed = None;
        Ok(())
    }

    /// Ends an attempt that counts for nothing, since a hook wants to be asked again later.
    ///
    /// Returns only when the hook has put it off for as long as a workload may take to become ready:
    /// from then on it is a refusal.
    fn postpone(&mut self, why: &str, pause: Option<SignedDuration>) -> Turn {
        let (now, strategy) = (self.now, self.strategy);
        let before = self.run()?.postponed;
        let since = before.map_or(now, |postponed| postponed.since);
        let end = after(since, strategy.progress_deadline);
        if now >= end {
            return Ok(());
        }
        let pause = pause.unwrap_or(strategy.interval).max(SHORTEST_PAUSE);
        let until = after(now, pause).min(end);
        self.close_round()?;
        self.wake_at(until);
        let run = self.run()?;
        run.postponed = Some(Postponed { since, until });
        run.objection = Some(why.to_owned());
        if before.is_none() {
            self.tell(Reason::CheckPostponed, why);
        }
        held(why)
    }

    /// When the question that ended the last attempt is asked again; `None` after none.
    pub(super) fn asked_again(&self, run: &Run) -> Option<Timestamp> {
        let checked = run.checked_at?;
        let postponed = run.postponed.map(|postponed| postponed.until);
        Some(postponed.unwrap_or_else(|| after(checked, self.strategy.interval)))
    }

    /// Notes which gate holds the run, and alerts people the first time.
    pub(super) fn hold(&mut self, reason: Reason, why: &str) -> Turn {
        let run = self.run()?;
        let first = run.held_by.as_deref() != Some(reason.as_str());
        run.held_by = Some(reason.as_str().to_owned());
        run.objection = Some(why.to_owned());
        if first {
            self.alert(Severity::Warn, reason, why);
        }
        self.end_attempt()
    }

    /// Makes a move that nothing objects to.
    pub(super) fn make(&mut self, next: Move) -> Turn<std::convert::Infallible> {
        let now = self.now;
        let strategy = self.strategy;
        let run = self.run()?;
        run.step = run.step.saturating_add(1);
        run.round = Round::default();
        run.checked_at = Some(now);
        run.postponed = None;
        run.held_by = None;
        let mut told = None;
        match next {
            Move::Mirror => run.mirrored = true,
            Move::Weight(weight) => {
                run.weight = weight;
                run.mirrored = false;
                if let Plan::Staged { stages, .. } = &strategy.plan {
                    run.place = stage::place_of(stages, weight, now);
                }
            }
            Move::Stage(number) => {
                run.mirrored = false;
                run.place = Some(Place {
                    number,
                    since: now,
                    resumed: false,
                });
                if let Some(stage) = stage::current(strategy, run) {
                    run.weight = stage.weight;
                }
                let note = format!("{}weight {}", stage::words(strategy, run), run.weight);
                told = Some((Reason::StepStarted, note));
            }
            Move::Iterate => {
                run.iterations = run.iterations.saturating_add(1);
                if let Plan::Iterations {
                    count,
                    matched,
                    mirror,
                } = &strategy.plan
                {
                    if *matched {
                        run.weight = Weight::FULL;
                    }
                    run.mirrored = *mirror && !*matched && run.weight == Weight::ZERO;
                    let note = format!("iteration {} of {count}", run.iterations);
                    told = Some((Reason::IterationStarted, note));
                }
            }
            Move::Promote => {
                run.mirrored = false;
                let note = format!("giving revision {} to the primary", run.revision);
                self.tell(Reason::Promoting, note);
                return self.become_phase(Phase::Promoting);
            }
        }
        if let Some((reason, note)) = told {
            self.tell(reason, note);
        }
        if self.state.phase == Some(Phase::WaitingPromotion) {
            return self.become_phase(Phase::Progressing);
        }
        Err(Pause::Again)
    }
}
