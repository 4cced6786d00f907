//! One look at a Canary: observe, decide, store, execute, and round again.
//!
//! This file knows the order of things; what each of them is stands in the file of its name.
//!
//! A round first relies on what is known. Where that leads to a change of the cluster, what must be
//! true of the cluster then is read again, and it is decided again, before the change is made.

use std::time::Duration;

use fairlead_crds::canary::{Canary, CanaryStatus};
use fairlead_rollout::{Answer, Decision, Effect, Phase, Probe, ProbeKey, Requeue, State, step};
use fairlead_runtime::{clock, report};
use jiff::{Timestamp, Unit};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::accept::{Accepted, remember};
use super::cluster::Cluster;
use super::desk::Reply;
use super::fights::Field;
use super::grounds::Grounds;
use super::history::Moment;
use super::measure::Check;
use super::observe::{Heard, World};
use super::sight::Known;
use super::takeover::Incumbent;
use super::validate::Validated;
use super::{
    Context, Error, FIELD_MANAGER, HELD_POLL, Reference, Result, cleanup, events, history, status,
    steer,
};

/// More rounds than this in one look mean that something undoes what is done.
const MOST_ROUNDS: usize = 32;

/// A look in progress.
pub(super) struct Look<'a> {
    pub(super) context: &'a Context,
    pub(super) api: Api<Canary>,
    pub(super) canary: Canary,
    pub(super) reference: Reference,
    /// Whether the API server has given out `canary` in this look.
    is_current: bool,
    plan: Validated,
    invalid: Option<String>,
    /// What the first look at a run in flight may rely on in place of what is known.
    briefing: Option<Cluster>,
}

impl<'a> Look<'a> {
    /// A look at `canary`: as the API server holds it now, if `is_current`, or as it was last
    /// known to be.
    pub(super) fn new(
        context: &'a Context,
        api: Api<Canary>,
        canary: Canary,
        is_current: bool,
        accepted: Accepted,
    ) -> Self {
        let Accepted { plan, invalid } = accepted;
        Self {
            context,
            api,
            reference: ObjectRef::new(&canary.name_any())
                .within(&canary.namespace().unwrap_or_default()),
            canary,
            is_current,
            plan,
            invalid,
            briefing: None,
        }
    }

    /// The same, with what it may rely on at first.
    pub(super) fn briefed(self, briefing: Option<Cluster>) -> Self {
        Self { briefing, ..self }
    }

    /// The Canary, validated.
    pub(super) const fn plan(&self) -> &Validated {
        &self.plan
    }

    /// Goes round until there is nothing to do but wait.
    pub(super) async fn run(&mut self) -> Result<Action> {
        self.keep_finalizer().await?;
        let deleting = self.canary.metadata.deletion_timestamp.is_some();
        if deleting && !cleanup::is_kept(&self.canary) {
            return Ok(Action::await_change());
        }
        let mut grounds = Grounds::Known;
        for _ in 0..MOST_ROUNDS {
            match Box::pin(self.round(grounds, deleting)).await? {
                Round::Next(next) => grounds = next,
                Round::Last(action) => return Ok(action),
            }
        }
        self.context.memory.release(&self.reference);
        tracing::warn!(
            object.name = self.canary.name_any(),
            object.namespace = self.canary.namespace(),
            "something undoes what this Canary does"
        );
        Ok(Action::requeue(HELD_POLL))
    }

    /// Observes, decides, stores and executes once.
    async fn round(&mut self, grounds: Grounds, deleting: bool) -> Result<Round> {
        let before = status::load(&self.canary.status.clone().unwrap_or_default());
        self.plan.route.follow(&before);
        let uid = self.canary.uid().unwrap_or_default();
        let replies = self.context.desk.answers(&uid);
        let answers = replies
            .iter()
            .map(|(key, reply)| Answer {
                key: key.clone(),
                verdict: reply.verdict.clone(),
            })
            .collect();
        // client required
        let heard = Heard {
            answers,
            counted: self.context.sources.mesh.counted(&uid),
            command: steer::request(&self.canary, self.context.stamps),
        };
        let briefing = self.briefing.take();
        let briefing = briefing.filter(|_| grounds == Grounds::Known && self.may_be_known(&before));
        let known = self.known(grounds, &before);
        let grounds = match (known.is_nothing() && briefing.is_none(), self.is_current) {
            (true, true) => Grounds::Fresh,
            (true, false) => grounds.max(Grounds::Pods),
            (false, _) => grounds,
        };
        let read_at = clock::instant();
        let seen = self.observe(heard, deleting, &before, known, briefing.as_ref());
        let world = seen.await?;
        // pure
        let now = micros(clock::now());
        let decision = step(&self.plan.strategy, &before, &world.observation, now);
        let needed = self.grounds_for(&before, &decision, briefing.is_some());
        if needed > grounds {
            return match needed {
                Grounds::Fresh => self.start_anew().await,
                Grounds::Known | Grounds::Pods => Ok(Round::Next(needed)),
            };
        }
        self.plan.route.follow(&decision.state);
        // client required
        let moment = Moment {
            before: &before,
            decision: &decision,
            replies: &replies,
            now,
        };
        if !Box::pin(self.store(&moment, &world)).await? {
            return self.start_anew().await;
        }
        self.tell(&before, &decision, &world).await;
        if !self.still_holds(&decision, deleting, read_at).await? {
            return self.start_anew().await;
        }
        // client required
        match self.execute(&decision, &world, now).await? {
            Progress::Made => {
                self.forget_changed(&decision.effects);
                Ok(Round::Next(Grounds::Known))
            }
            Progress::Stale => self.start_anew().await,
            Progress::Fought(note) => self.give_way(&note).await.map(Round::Last),
            Progress::Waiting => {
                self.keep_in_mind(&decision);
                Ok(Round::Last(pace(&decision, now)))
            }
            Progress::Gone => {
                self.context.memory.release(&self.reference);
                Ok(Round::Last(Action::await_change()))
            }
        }
    }

    /// Tells all who follow the rollout what was decided and is stored.
    async fn tell(&self, before: &State, decision: &Decision, world: &World) {
        let context = self.context;
        let uid = self.canary.uid().unwrap_or_default();
        let question = decision.effects.iter().find_map(Effect::question);
        context.desk.clear(&uid, question);
        context.metrics.note(&self.plan, before, &decision.state);
        if decision.state.phase == Some(Phase::Progressing) {
            context.sources.follow(&self.plan);
        }
        self.keep_comparing(&decision.state, world);
        let told = &decision.events;
        let teller = &context.teller;
        teller
            .tell(&self.canary, &self.plan, &decision.state, told)
            .await;
    }

    /// Goes on from the Canary as it is now, and from nothing else that is known.
    async fn start_anew(&mut self) -> Result<Round> {
        let (uid, generation) = (self.canary.uid(), self.canary.metadata.generation);
        let name = self.canary.name_any();
        let canary = self.api.get_opt(&name).await;
        let Some(canary) = canary.map_err(|source| Error::Fetch(source.into()))? else {
            self.context.leave(&self.reference, uid);
            return Ok(Round::Last(Action::await_change()));
        };
        if canary.uid() != uid {
            // Another one has its name: nothing that is known is of it.
            self.context.leave(&self.reference, uid);
            return Ok(Round::Last(Action::requeue(Duration::ZERO)));
        }
        self.context.memory.keep(&self.reference, &canary);
        self.canary = canary;
        self.is_current = true;
        Ok(if self.canary.metadata.generation == generation {
            Round::Next(Grounds::Fresh)
        } else {
            // The plan of this look is that of another spec.
            Round::Last(Action::requeue(Duration::ZERO))
        })
    }

    /// Forgets what effects have changed.
    fn forget_changed(&self, effects: &[Effect]) {
        let memory = &self.context.memory;
        let only_weights = |effect: &Effect| matches!(effect, Effect::SetSplit { .. });
        if !effects.iter().all(only_weights) {
            memory.forget_all(&self.reference);
        }
    }

    /// Keeps what the next look needs.
    fn keep_in_mind(&self, decision: &Decision) {
        let memory = &self.context.memory;
        if !decision.state.is_under_way() {
            memory.release(&self.reference);
        } else if decision.held {
            // What holds it may be something that no watch tells of.
            memory.forget_all(&self.reference);
        }
    }

    pub(super) async fn observe(
        &self,
        heard: Heard,
        deleting: bool,
        state: &State,
        known: Known,
        briefing: Option<&Cluster>,
    ) -> Result<World> {
        let cluster = briefing.unwrap_or(&self.context.cluster);
        let observer = cluster.observer(&self.plan, self.invalid.as_deref(), Incumbent::Heeded);
        let observed = Box::pin(observer.observe(heard, deleting, state, known)).await;
        let (world, sight) = observed.map_err(Error::Observe)?;
        self.context.memory.learn(&self.reference, &sight);
        Ok(world)
    }

    /// Stores what was decided; `false` when someone else wrote first and all is to be seen anew.
    async fn store(&mut self, moment: &Moment<'_>, world: &World) -> Result<bool> {
        let Moment {
            decision,
            replies,
            now,
            ..
        } = *moment;
        let before = self.canary.status.clone();
        let invalid = world.observation.invalid.as_deref();
        let mut status = before.clone().unwrap_or_default();
        for (_, reply) in replies
            .iter()
            .filter(|(_, reply)| !reply.findings.is_empty())
        {
            status::explain(&mut status, &reply.findings);
            self.context.metrics.measured(&self.plan, &reply.findings);
        }
        if world.configs.is_some() {
            status.tracked_configs = world.hashes();
        }
        status::store(&mut status, &decision.state, now);
        let terms = self.plan.strategy.judgement.as_ref();
        status::explain_judgement(&mut status, &decision.state, terms);
        self.note_share(&mut status, moment);
        history::record(&mut status, moment);
        self.plan.route.note(&mut status, &decision.state);
        if self.invalid.is_none() {
            remember(&mut status, &self.canary.spec);
        }
        // The machine speaks of the target; people know it by its kind and name.
        let target = &self.canary.spec.target_ref;
        let target = format!("{} `{}`", target.kind, target.name);
        let message = decision.message.replace("the target", &target);
        let report = status::Report {
            message: &message,
            trouble: invalid.map(|_| status::Trouble::Stalled(events::Trouble::INVALID)),
            inert: &self.plan.inert,
            generation: self.canary.metadata.generation,
            now,
        };
        status::conclude(&mut status, &report);
        status::mark_unchecked(&mut status, &report, world.unchecked);
        let is_news =
            invalid.is_some() && !status::is_stalled(before.as_ref(), events::Trouble::INVALID);
        let stored = self.write_status(status).await?;
        if stored {
            self.context.tracer.tell(&self.canary, before.as_ref());
        }
        if let (Some(why), true, true) = (invalid, stored, is_news) {
            let teller = &self.context.teller;
            let trouble = events::Trouble::Invalid;
            teller.warn(&self.canary, trouble, why.to_owned()).await;
        }
        Ok(stored)
    }

    /// Replaces the status, guarded by the version that this look began with.
    async fn write_status(&mut self, status: CanaryStatus) -> Result<bool> {
        if self.canary.status.as_ref() == Some(&status) {
            return Ok(true);
        }
        let mut canary = self.canary.clone();
        canary.status = Some(status);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self
            .api
            .replace_status(&canary.name_any(), &params, &canary)
            .await
        {
            Ok(stored) => {
                let keeps = |canary: &Canary| {
                    let status = canary.status.as_ref();
                    status.is_some_and(|status| status.rollout.is_some())
                };
                let is_dropped = keeps(&canary) && !keeps(&stored);
                self.context.memory.keep(&self.reference, &stored);
                self.canary = stored;
                self.is_current = true;
                if is_dropped {
                    Err(Error::Dropped)
                } else {
                    Ok(true)
                }
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(source) => Err(Error::StoreStatus(source.into())),
        }
    }

    async fn execute(
        &self,
        decision: &Decision,
        world: &World,
        now: Timestamp,
    ) -> Result<Progress> {
        let executor = self.context.cluster.executor(&self.plan, world);
        let mut progress = Progress::Waiting;
        for effect in &decision.effects {
            if let Effect::Ask { key, probe } = effect {
                self.ask(key, probe, &decision.state);
                continue;
            }
            let contested = self.contested(effect, &decision.state, world);
            if let Some((field, note)) = &contested
                && self.context.fights.is_fight(field, now)
            {
                return Ok(Progress::Fought(note.clone()));
            }
            match executor.execute(effect).await {
                Ok(routes) => {
                    progress = Progress::Made;
                    if let Some((field, _)) = contested {
                        self.context.fights.note(field, now);
                    }
                    if let Some(routes) = routes {
                        self.context.memory.wrote_routes(&self.reference, routes);
                    }
                }
                Err(error) if error.is_stale() => return Ok(Progress::Stale),
                Err(error) => return Err(Error::Execute(error)),
            }
            if matches!(effect, Effect::GiveBack) {
                cleanup::let_go(&self.api, &self.canary).await?;
                return Ok(Progress::Gone);
            }
        }
        Ok(progress)
    }

    /// The field that an effect sets and others may set too, and what to tell people then.
    fn contested(&self, effect: &Effect, state: &State, world: &World) -> Option<(Field, String)> {
        let (name, value, note) = match effect {
            Effect::ScaleCanary { replicas } => {
                let managers = world
                    .target
                    .as_ref()
                    .map(|target| target.replica_managers.join(", "));
                let kind = self.plan.kind;
                let size = kind.size_field()?;
                let note = format!(
                    "`{size}` of {} `{}` is set again and again by {}; leave it out \
                     there: this Canary owns it",
                    kind.as_str(),
                    self.plan.names.target,
                    managers
                        .filter(|names| !names.is_empty())
                        .as_deref()
                        .unwrap_or("someone else")
                );
                (size, replicas.to_string(), note)
            }
            Effect::SetSplit { to, .. } => {
                let note = format!(
                    "the weights of the routes of `{}` are changed again and again by someone \
                     else; leave them out there: this Canary owns them",
                    self.plan.route.apex
                );
                ("weights", to.to_string(), note)
            }
            Effect::Prepare
            | Effect::CreatePrimary { .. }
            | Effect::Route { .. }
            | Effect::PromotePrimary { .. }
            | Effect::RestorePrimary { .. }
            | Effect::MarkPrimary { .. }
            | Effect::Ask { .. }
            | Effect::GiveBack => return None,
        };
        let (run, step) = state.run.as_ref().map_or((0, 0), |run| (run.id, run.step));
        let uid = self.canary.uid().unwrap_or_default();
        Some((
            Field {
                uid,
                run,
                step,
                name,
                value,
            },
            note,
        ))
    }

    /// Stops correcting what someone else insists on, and says so.
    async fn give_way(&mut self, note: &str) -> Result<Action> {
        self.context.memory.release(&self.reference);
        self.conclude(Some(status::Trouble::Stalled("FieldFought")), note)
            .await?;
        let teller = &self.context.teller;
        teller
            .warn(&self.canary, events::Trouble::FieldFought, note.to_owned())
            .await;
        Ok(Action::requeue(HELD_POLL))
    }

    /// Says on the object why a look failed; it is tried again.
    pub(super) async fn stumble(&mut self, note: &str) {
        let teller = &self.context.teller;
        teller
            .warn(&self.canary, events::Trouble::Failed, note.to_owned())
            .await;
        let told = self.conclude(Some(status::Trouble::Retrying), note).await;
        if let Err(error) = told {
            tracing::debug!(error = %report(&error), "the status could not be written either");
        }
    }

    async fn conclude(&mut self, trouble: Option<status::Trouble>, message: &str) -> Result<bool> {
        let mut status = self.canary.status.clone().unwrap_or_default();
        let report = status::Report {
            message,
            trouble,
            inert: &self.plan.inert,
            generation: self.canary.metadata.generation,
            now: micros(clock::now()),
        };
        status::conclude(&mut status, &report);
        self.write_status(status).await
    }

    /// Leaves a question at the desk.
    fn ask(&self, key: &ProbeKey, probe: &Probe, state: &State) {
        let Context { desk, teller, .. } = self.context;
        let uid = self.canary.uid().unwrap_or_default();
        let canary = self.reference.clone();
        match probe {
            Probe::Metrics { which, of } => {
                let check = Check {
                    sources: self.context.sources.clone(),
                    plan: self.plan.clone(),
                    metrics: which.clone(),
                    of: *of,
                };
                desk.ask(&uid, canary, key.clone(), check.run());
            }
            Probe::Hook { kind, name } => {
                let hook = self
                    .plan
                    .hooks
                    .iter()
                    .find(|hook| hook.kind == Some(*kind) && hook.name == *name);
                let Some(hook) = hook.cloned() else { return };
                let phase = state.phase.map_or("", Phase::as_str);
                let mut payload = events::payload(&self.plan, state, phase);
                payload.metadata = hook.metadata;
                let idempotency = format!("{uid}/{key}");
                let webhooks = teller.webhooks.clone();
                desk.ask(&uid, canary, key.clone(), async move {
                    let asked = micros(clock::now());
                    let verdict = webhooks.call(&hook.endpoint, &payload, &idempotency).await;
                    Reply {
                        verdict,
                        findings: Vec::new(),
                        asked,
                    }
                });
            }
        }
    }
}

/// What follows a round.
enum Round {
    /// Another one.
    Next(Grounds),
    /// Nothing until then.
    Last(Action),
}

/// What became of the effects of a decision.
enum Progress {
    /// The world is another one: look again.
    Made,
    /// The world was another one already: look again.
    Stale,
    /// Someone else insists on another value.
    Fought(String),
    /// Nothing to do but wait.
    Waiting,
    /// The Canary is let go.
    Gone,
}

/// When to look again.
fn pace(decision: &Decision, now: Timestamp) -> Action {
    let mut after = match decision.requeue {
        Requeue::At(time) => Some(Duration::try_from(time.duration_since(now)).unwrap_or_default()),
        Requeue::OnChange => None,
    };
    if decision.held {
        after = Some(after.unwrap_or(HELD_POLL).min(HELD_POLL));
    }
    after.map_or_else(Action::await_change, Action::requeue)
}

/// What the status can hold: it must read back as it was written.
pub(super) fn micros(time: Timestamp) -> Timestamp {
    time.round(Unit::Microsecond).unwrap_or(time)
}
