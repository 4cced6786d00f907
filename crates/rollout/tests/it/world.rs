//! A small world for the machine: two workloads, routes, hooks, metrics, and a status.
//!
//! No IO; time moves only when told. A crash can be planned around any write.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_rollout::judgement::{Block, Cohorts, Confidence, Effect as Excess, Sample, Terms};
use fairlead_rollout::{
    Answer, Author, Capacity, Counted, Effect, Event, Hook, HookKind, Inheritance, Ladder,
    Observation, Phase, Plan, Probe, ProbeKey, Readiness, Request, Requeue, Revision, Role,
    Selection, Split, State, Strategy, Subject, Verdict, Weight, step,
};
use jiff::{SignedDuration, Timestamp};

use crate::checker::{Checker, decided, moves_alike};

/// How a revision behaves once its pods run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Comes up and is healthy.
    Good,
    /// Comes up and passes each check, but half of its answers are bad.
    Worse,
    /// Comes up, and every check of it fails.
    Faulty,
    /// Its pods never become ready.
    Broken,
    /// Comes up as a canary, but not as the primary.
    BrokenAsPrimary,
}

/// What somebody outside does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The target gets a new template.
    Release(Nature),
    /// The target gets the template that the primary runs.
    Revert,
    /// The target gets the template of an earlier revision.
    Target(usize),
    /// The canary's endpoints vanish.
    LoseCanary,
    /// All but one of the canary's endpoints vanish.
    LoseMostOfCanary,
    /// Somebody deletes the canary's Service, and with it its endpoints.
    LoseService,
    /// The primary's endpoints vanish.
    LosePrimary,
    /// Somebody gives the primary so many replicas.
    ScalePrimary(u32),
    /// Somebody deletes the primary.
    DeletePrimary,
    /// Lost endpoints come back.
    Recover,
    /// Somebody edits the weights by hand.
    Drift(u8),
    /// Somebody deletes the routes.
    DeleteRoutes,
    /// Somebody edits the Canary's route settings.
    EditRoutes,
    /// The proxies stop confirming.
    Mute,
    /// The proxies confirm again.
    Unmute,
    /// Somebody edits the Canary into one that cannot be carried out.
    BreakSpec,
    /// Somebody puts that right.
    MendSpec,
    /// A person leaves a command, with a new id.
    Ask(&'static str),
    /// Git puts the first command back.
    Replay,
}

/// When the operator dies, counted in its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    /// The write around which it dies.
    pub(crate) at: usize,
    /// Whether that write takes effect.
    pub(crate) written: bool,
    /// What somebody does before another one takes over.
    pub(crate) meanwhile: Option<Act>,
}

/// The operator died.
#[derive(Debug)]
pub(crate) struct Died;

#[derive(Clone, Debug)]
struct Workload {
    revision: usize,
    desired: u32,
    ready: u32,
    /// The most endpoints that are left.
    left: u32,
    changed: Timestamp,
}

/// The world, with the operator in it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub(crate) struct World {
    pub(crate) strategy: Strategy,
    pub(crate) now: Timestamp,
    pub(crate) state: State,
    pub(crate) split: Option<Split>,
    pub(crate) events: Vec<Event>,
    pub(crate) calls: Vec<ProbeKey>,
    pub(crate) measures: usize,
    pub(crate) measured: Vec<Selection>,
    pub(crate) writes: usize,
    pub(crate) deleting: bool,
    pub(crate) given_back: bool,
    pub(crate) answers: BTreeMap<HookKind, Verdict>,
    pub(crate) checker: Checker,
    pub(crate) crash: Option<Crash>,
    pub(crate) asked: Vec<String>,
    command: Option<String>,
    /// What the primary can be given back.
    kept: BTreeSet<Revision>,
    natures: Vec<Nature>,
    target: Workload,
    primary: Option<Workload>,
    prepared: bool,
    routes_current: bool,
    routes_changed: Timestamp,
    muted: bool,
    invalid: bool,
    /// What another controller's primary ran, by index, and what we have marked it with.
    inherited: Option<(usize, Option<Revision>)>,
    wake: Option<Timestamp>,
    /// Requests of each second in which a step was in effect; they go down with the operator.
    blocks: Vec<Block>,
    /// Requests a second to both roles together.
    pub(crate) requests: f64,
    /// What was counted for the canary in all runs.
    pub(crate) counted: f64,
}

/// How long pods take to become ready, and proxies to confirm.
const START_UP: SignedDuration = SignedDuration::from_secs(3);
const ACK_LAG: SignedDuration = SignedDuration::from_secs(1);
const REPLICAS: u32 = 2;

pub(crate) fn weighted(step: i64, max: i64) -> Strategy {
    Strategy {
        plan: Plan::Weighted {
            ladder: Ladder::Linear {
                step: Weight::clamped(step),
                max: Weight::clamped(max),
            },
            mirror: false,
        },
        interval: SignedDuration::from_secs(10),
        threshold: 2,
        promotion_step: None,
        progress_deadline: SignedDuration::from_secs(60),
        skip_analysis: false,
        divides_traffic: true,
        sized: true,
        capacity: Capacity::Full,
        sticky: false,
        suspended: false,
        has_metrics: true,
        judgement: None,
        bake: None,
        hooks: Vec::new(),
        ack_timeout: SignedDuration::from_secs(5),
    }
}

/// The same, with failed requests judged.
pub(crate) fn judged(strategy: Strategy) -> Strategy {
    Strategy {
        judgement: Some(Terms {
            failures: Some(Excess::DEFAULT),
            latency: None,
            minimum_samples: 0,
            confidence: Confidence::DEFAULT,
            cohorts: Cohorts::Random,
        }),
        ..strategy
    }
}

pub(crate) fn hook(kind: HookKind) -> Hook {
    Hook {
        name: "one".to_owned(),
        kind,
    }
}

impl World {
    pub(crate) fn new(strategy: Strategy) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        Self {
            strategy,
            now,
            state: State::default(),
            split: None,
            events: Vec::new(),
            calls: Vec::new(),
            measures: 0,
            measured: Vec::new(),
            writes: 0,
            deleting: false,
            given_back: false,
            answers: BTreeMap::new(),
            checker: Checker::default(),
            crash: None,
            asked: Vec::new(),
            command: None,
            kept: BTreeSet::new(),
            natures: vec![Nature::Good],
            target: Workload {
                revision: 0,
                desired: REPLICAS,
                ready: REPLICAS,
                left: u32::MAX,
                changed: now,
            },
            primary: None,
            prepared: false,
            routes_current: true,
            routes_changed: now,
            muted: false,
            invalid: false,
            inherited: None,
            wake: None,
            blocks: Vec::new(),
            requests: 1000.0,
            counted: 0.0,
        }
    }

    /// A world whose Canary is initialized.
    pub(crate) fn initialized(strategy: Strategy) -> Self {
        let mut world = Self::new(strategy);
        world.run_for(60);
        assert_eq!(world.phase(), Phase::Initialized);
        world
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state.phase.expect("the machine has run")
    }

    /// The canary's share in the routes as they are.
    pub(crate) fn weight(&self) -> u8 {
        self.split.unwrap_or_default().canary.get()
    }

    pub(crate) fn target_revision(&self) -> Revision {
        Revision(format!("r{}", self.target.revision))
    }

    pub(crate) fn target_nature(&self) -> Nature {
        self.natures[self.target.revision]
    }

    pub(crate) fn primary_revision(&self) -> Option<Revision> {
        self.primary
            .as_ref()
            .map(|primary| Revision(format!("r{}", primary.revision)))
    }

    pub(crate) fn canary_replicas(&self) -> u32 {
        self.target.desired
    }

    pub(crate) fn primary_replicas(&self) -> u32 {
        self.primary.as_ref().map_or(0, |primary| primary.desired)
    }

    pub(crate) fn has(&self, reason: fairlead_rollout::Reason) -> bool {
        self.events.iter().any(|event| event.reason == reason)
    }

    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Release(nature) => {
                self.natures.push(nature);
                self.target.revision = self.natures.len() - 1;
                self.target.changed = self.now;
            }
            Act::Revert => {
                if let Some(primary) = &self.primary {
                    self.target.revision = primary.revision;
                    self.target.changed = self.now;
                }
            }
            Act::Target(revision) => {
                self.target.revision = revision;
                self.target.changed = self.now;
            }
            Act::LoseCanary => self.target.left = 0,
            Act::LoseMostOfCanary => self.target.left = 1,
            Act::LoseService => {
                self.prepared = false;
                self.target.left = 0;
            }
            Act::LosePrimary => {
                if let Some(primary) = &mut self.primary {
                    primary.left = 0;
                }
            }
            Act::ScalePrimary(replicas) => {
                if let Some(primary) = &mut self.primary {
                    primary.desired = replicas;
                }
            }
            Act::DeletePrimary => self.primary = None,
            Act::Recover => {
                self.target.left = u32::MAX;
                if let Some(primary) = &mut self.primary {
                    primary.left = u32::MAX;
                }
            }
            Act::Drift(percent) => {
                if self.split.is_some() {
                    self.split = Some(Split::to_canary(Weight::clamped(i64::from(percent))));
                    self.checker.somebody_moved_traffic();
                }
            }
            Act::DeleteRoutes => {
                self.split = None;
                self.checker.somebody_moved_traffic();
            }
            Act::EditRoutes => self.routes_current = false,
            Act::Mute => self.muted = true,
            Act::Unmute => self.muted = false,
            Act::BreakSpec => self.invalid = true,
            Act::MendSpec => self.invalid = false,
            Act::Ask(what) => {
                let token = format!("{what}@{}", self.asked.len());
                self.asked.push(token.clone());
                self.command = Some(token);
            }
            Act::Replay => self.command = self.asked.first().cloned(),
        }
    }

    /// The target's revision begins to fail every check.
    pub(crate) fn turn_bad(&mut self) {
        self.natures[self.target.revision] = Nature::Faulty;
    }

    /// Lets `seconds` pass, one by one, reconciling whenever the world or the clock asks for it.
    pub(crate) fn run_for(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    /// Runs until `done`, or panics after `seconds`.
    pub(crate) fn run_until(&mut self, seconds: u32, done: impl Fn(&Self) -> bool) {
        for _ in 0..seconds {
            if done(self) {
                return;
            }
            self.tick();
        }
        assert!(done(self), "not reached in {seconds} s; {:?}", self.state);
    }

    fn tick(&mut self) {
        self.now += SignedDuration::from_secs(1);
        self.grow();
        self.serve();
        // A watch would only wake the operator for a change; waking it every second asks more.
        while self.reconcile().is_err() {
            self.blocks.clear();
            let meanwhile = self.crash.take().and_then(|crash| crash.meanwhile);
            if let Some(act) = meanwhile {
                self.act(act);
            }
        }
    }

    /// Requests of one second, while the split of a run is in effect: of the canary's every second
    /// one is bad if its revision is worse, else one in a hundred, as of the primary's.
    fn serve(&mut self) {
        let Some(split) = self.split_in_effect() else {
            return;
        };
        let canary = self.requests * f64::from(split.canary.get()) / 100.0;
        let rate = match self.natures[self.target.revision] {
            Nature::Worse => 0.5,
            Nature::Good | Nature::Faulty | Nature::Broken | Nature::BrokenAsPrimary => 0.01,
        };
        let sample = |requests: f64, rate: f64| Sample {
            requests,
            bad: vec![requests * rate],
        };
        self.counted += canary;
        self.blocks.push(Block {
            id: u64::try_from(self.now.as_millisecond()).expect("a time after the epoch"),
            step: u32::from(split.canary.get()),
            canary: sample(canary, rate),
            primary: sample(self.requests - canary, 0.01),
        });
    }

    fn split_in_effect(&self) -> Option<Split> {
        let intent = self.state.traffic?;
        let is_in_effect = intent.in_effect.is_some() && self.split == Some(intent.target);
        (is_in_effect && intent.target.canary > Weight::ZERO).then_some(intent.target)
    }

    /// Pods become ready, or not.
    fn grow(&mut self) {
        let target_comes_up = !matches!(self.natures[self.target.revision], Nature::Broken);
        Self::grow_one(&mut self.target, target_comes_up, self.now);
        if let Some(primary) = &mut self.primary {
            let nature = self.natures[primary.revision];
            let comes_up = !matches!(nature, Nature::Broken | Nature::BrokenAsPrimary);
            Self::grow_one(primary, comes_up, self.now);
        }
    }

    fn grow_one(workload: &mut Workload, comes_up: bool, now: Timestamp) {
        if workload.desired == 0 || !comes_up {
            workload.ready = 0;
        } else if now.duration_since(workload.changed) >= START_UP {
            workload.ready = workload.desired;
        }
        workload.ready = workload.ready.min(workload.desired);
    }

    fn role(&self, workload: &Workload) -> Role {
        let endpoints = workload.ready.min(workload.left);
        let settled = self.now.duration_since(workload.changed) >= START_UP;
        let readiness =
            if workload.ready == workload.desired && settled && endpoints == workload.ready {
                Readiness::Ready
            } else {
                Readiness::Pending(format!("{} of {}", workload.ready, workload.desired))
            };
        Role {
            desired: workload.desired,
            readiness,
            observed: true,
            endpoints,
            needed: workload.desired,
            revision: Some(Revision(format!("r{}", workload.revision))),
        }
    }

    fn primary_role(&self, primary: &Workload) -> Role {
        let role = self.role(primary);
        let revision = match &self.inherited {
            Some((index, mark)) if *index == primary.revision => mark.clone(),
            _ => role.revision,
        };
        Role { revision, ..role }
    }

    fn inheritance(&self) -> Option<Inheritance> {
        let same = self.primary.as_ref()?.revision == self.target.revision;
        self.state.is_foreign().then_some(if same {
            Inheritance::Same
        } else {
            Inheritance::Different
        })
    }

    /// As another controller leaves it: in `phase`, with a weight, and no word of ours anywhere.
    pub(crate) fn inherited(strategy: Strategy, phase: Phase, release: bool, weight: u8) -> Self {
        let mut world = Self::initialized(strategy);
        if release {
            world.act(Act::Release(Nature::Good));
            world.target.desired = REPLICAS;
        }
        world.state = State {
            phase: Some(phase),
            ..State::default()
        };
        world.inherited = world
            .primary
            .as_ref()
            .map(|primary| (primary.revision, None));
        world.events.clear();
        world.split = Some(Split::to_canary(Weight::clamped(i64::from(weight))));
        world.target.ready = world.target.desired;
        world.checker = Checker::default();
        world
    }

    pub(crate) fn observe(&self, answers: Vec<Answer>) -> Observation {
        let confirmed = self.now.duration_since(self.routes_changed) >= ACK_LAG;
        Observation {
            revision: Ok(self.target_revision()),
            canary: Some(self.role(&self.target)),
            primary: self
                .primary
                .as_ref()
                .map(|primary| self.primary_role(primary)),
            autoscaler_minimum: None,
            prepared: self.prepared,
            split: self.split,
            routes_current: self.routes_current,
            acked: confirmed && !self.muted,
            answers,
            counted: self.state.run.as_ref().map(|run| Counted {
                run: run.id,
                blocks: self.blocks.clone(),
                trouble: None,
            }),
            deleting: self.deleting,
            inheritance: self.inheritance(),
            invalid: self.invalid.then(|| "`spec`: is wrong".to_owned()),
            command: self
                .command
                .as_deref()
                .map(|token| Request::new(token, Some(Author::Verified("a person".to_owned())))),
        }
    }

    /// One reconciliation: observe, decide, store, execute, until there is nothing to do.
    fn reconcile(&mut self) -> Result<(), Died> {
        if self.given_back {
            return Ok(());
        }
        let mut answers = Vec::new();
        for _ in 0..64 {
            let seen = self.observe(std::mem::take(&mut answers));
            let decision = step(&self.strategy, &self.state, &seen, self.now);
            let again = step(&self.strategy, &decision.state, &seen, self.now);
            decided(&self.state, &seen, &decision, &again);
            let unheard = Observation {
                answers: Vec::new(),
                counted: None,
                ..seen.clone()
            };
            let later = step(&self.strategy, &decision.state, &unheard, self.now);
            moves_alike(&decision, &later);
            if decision.state != self.state {
                self.write(|world| {
                    let run = decision.state.run.as_ref();
                    let last = run.and_then(|run| run.record.failures.last_block);
                    world
                        .blocks
                        .retain(|block| last.is_none_or(|last| block.id > last));
                    let id = |state: &State| state.run.as_ref().map(|run| run.id);
                    if id(&world.state) != id(&decision.state) {
                        world.blocks.clear();
                    }
                    world.state = decision.state.clone();
                    world.checker.stored(&seen, &decision);
                })?;
            }
            self.events.extend(decision.events);
            self.wake = match decision.requeue {
                Requeue::At(time) => Some(time),
                Requeue::OnChange => None,
            };
            if decision.effects.is_empty() {
                return Ok(());
            }
            for effect in decision.effects {
                answers.extend(self.execute(&effect)?);
            }
            if self.given_back {
                return Ok(());
            }
        }
        unreachable!("the machine does not come to rest: {:?}", self.state);
    }

    /// Counts a write and dies around it when the plan says so.
    fn write(&mut self, change: impl FnOnce(&mut Self)) -> Result<(), Died> {
        let planned = self.crash.filter(|crash| crash.at == self.writes);
        self.writes += 1;
        if let Some(crash) = planned {
            if crash.written {
                change(self);
            }
            return Err(Died);
        }
        change(self);
        Ok(())
    }

    fn execute(&mut self, effect: &Effect) -> Result<Option<Answer>, Died> {
        let seen = self.observe(Vec::new());
        self.checker
            .executes(&self.strategy, &self.state, &seen, effect);
        match effect {
            Effect::Prepare => self.write(|world| {
                world.prepared = true;
                world.target.left = u32::MAX;
            })?,
            Effect::CreatePrimary { revision, replicas } => {
                let revision = self.index(revision);
                self.write(|world| {
                    world.primary = Some(Workload {
                        revision,
                        desired: replicas.unwrap_or(world.target.desired).max(1),
                        ready: 0,
                        left: u32::MAX,
                        changed: world.now,
                    });
                })?;
            }
            Effect::Route { split } => self.write(|world| {
                world.split = Some(*split);
                world.routes_current = true;
                world.routes_changed = world.now;
            })?,
            Effect::SetSplit { from, to } => {
                assert_eq!(self.split, Some(*from), "a guarded write");
                self.write(|world| {
                    world.split = Some(*to);
                    world.routes_changed = world.now;
                })?;
            }
            Effect::ScaleCanary { replicas } => self.write(|world| {
                world.target.desired = *replicas;
                world.target.changed = world.now;
                world.target.ready = world.target.ready.min(*replicas);
            })?,
            Effect::PromotePrimary { revision, keeping }
            | Effect::RestorePrimary { revision, keeping } => {
                let restores = matches!(effect, Effect::RestorePrimary { .. });
                assert!(
                    !restores || self.kept.contains(revision),
                    "{revision} is given back and was not kept"
                );
                let revision = self.index(revision);
                let resized = self.strategy.is_resized();
                let runs = seen.primary.and_then(|primary| primary.revision);
                self.write(|world| {
                    world.kept.extend(runs);
                    world.kept.retain(|one| keeping.contains(one));
                    let wished = world.target.desired;
                    if let Some(primary) = &mut world.primary {
                        primary.revision = revision;
                        primary.changed = world.now;
                        if wished > 0 && !resized {
                            primary.desired = wished;
                        }
                    }
                })?;
            }
            Effect::MarkPrimary { revision } => self.write(|world| {
                if let Some((_, mark)) = &mut world.inherited {
                    *mark = Some(revision.clone());
                }
            })?,
            Effect::Ask { key, probe } => return self.answer(key, probe).map(Some),
            Effect::GiveBack => self.write(|world| world.given_back = true)?,
        }
        Ok(None)
    }

    fn answer(&mut self, key: &ProbeKey, probe: &Probe) -> Result<Answer, Died> {
        let verdict = match probe {
            Probe::Hook { kind, .. } => {
                self.write(|world| world.calls.push(key.clone()))?;
                let told = self.answers.get(kind).cloned();
                told.unwrap_or_else(|| match kind {
                    HookKind::Rollback => Verdict::Failed("no".to_owned()),
                    _ => Verdict::Passed,
                })
            }
            Probe::Metrics { which, of } => {
                self.measures += 1;
                self.measured.push(which.clone());
                let measured = match of {
                    Subject::Canary => self.target.revision,
                    Subject::Primary => self.primary.as_ref().expect("a primary").revision,
                };
                match self.natures[measured] {
                    Nature::Faulty => Verdict::Failed("too many errors".to_owned()),
                    Nature::Good | Nature::Worse | Nature::Broken | Nature::BrokenAsPrimary => {
                        Verdict::Passed
                    }
                }
            }
        };
        let key = key.clone();
        Ok(Answer { key, verdict })
    }

    fn index(&self, revision: &Revision) -> usize {
        if let Some((index, _)) = &self.inherited
            && *revision == Revision::inherited()
        {
            return *index;
        }
        let index = revision
            .0
            .strip_prefix('r')
            .and_then(|text| text.parse().ok());
        index
            .filter(|index| *index < self.natures.len())
            .expect("a revision of this world")
    }

    /// What must be the same whenever the operator died on the way.
    pub(crate) fn end(&self) -> End {
        End {
            phase: self.state.phase,
            split: self.split,
            promoted: self.state.promoted.clone(),
            refused: self.state.refused.clone(),
            kept: self.state.kept.clone(),
            primary: self.primary_revision(),
            canary_replicas: self.target.desired,
            retained: self.state.retained,
            given_back: self.given_back,
        }
    }
}

/// The end of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    phase: Option<Phase>,
    split: Option<Split>,
    promoted: Option<Revision>,
    refused: Vec<Revision>,
    kept: Vec<Revision>,
    primary: Option<Revision>,
    canary_replicas: u32,
    retained: bool,
    given_back: bool,
}
