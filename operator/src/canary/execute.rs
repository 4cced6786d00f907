//! Carries out effects. Decides nothing: each effect says what it leads to.

use fairlead_controller::ApiError;
use fairlead_rollout::{Effect, Revision, Split};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::objects::{self, Role};
use super::observe::World;
use super::revision::{compose, identity};
use super::takeover;
use super::validate::Validated;
use crate::router::{self, Provider, Router, Routes};
use crate::workload::archive::{Archive, Record};
use crate::workload::autoscaler::{self, Autoscaler};
use crate::workload::configs::{Configs, Copies, Reference};
use crate::workload::{self, Content, PrimaryPlan, Snapshot, Workload};

/// The selector of someone else's Service as it was before we led it to the primary.
const ORIGINAL_SELECTOR: &str = "fairlead.dev/original-selector";

/// Why an effect failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server did not take an object.
    #[error("failed to write {object}")]
    Write {
        /// What.
        object: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// A workload.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// The routes.
    #[error(transparent)]
    Router(#[from] router::Error),
    /// The world is another one than the decision was made in.
    #[error("the target changed while revision {0} was being carried out")]
    Moved(Revision),
    /// The primary is gone and so is what it ran.
    #[error(
        "the primary is gone, and the cluster no longer keeps the template of revision {0}: \
         release a new revision"
    )]
    Lost(Revision),
    /// What the primary is to get back is gone.
    #[error(
        "what the primary ran with revision {0} is no longer kept (its ControllerRevision is gone): \
         release a new revision, or `rollback-to` another"
    )]
    Forgotten(Revision),
}

impl Error {
    /// Whether looking again is all that is needed.
    pub(super) fn is_stale(&self) -> bool {
        let conflict = |error: Option<&ApiError>| error.is_some_and(ApiError::is_conflict);
        match self {
            Self::Moved(_) => true,
            Self::Write { source, .. } => source.is_conflict(),
            Self::Workload(error) => conflict(error.api()),
            Self::Router(error) => conflict(error.api()),
            Self::Lost(_) | Self::Forgotten(_) => false,
        }
    }
}

/// Carries out the effects of one decision on the world that it was made in.
#[derive(Clone, Copy)]
pub(super) struct Executor<'a> {
    /// The cluster.
    pub(super) client: &'a Client,
    /// The kind of the workloads.
    pub(super) workload: &'a dyn Workload,
    /// The kind of the routes.
    pub(super) router: &'a dyn Router,
    /// The Canary.
    pub(super) plan: &'a Validated,
    /// What was seen.
    pub(super) world: &'a World,
}

impl Executor<'_> {
    /// Changes the cluster; questions are not asked here. Tells how the routes are after a change
    /// of nothing but them.
    pub(super) async fn execute(&self, effect: &Effect) -> Result<Option<Routes>, Error> {
        match effect {
            Effect::SetSplit { to, .. } => {
                let (plan, seen) = (&self.plan.route, &self.world.routes);
                return Ok(Some(self.router.write(plan, *to, seen).await?));
            }
            Effect::Prepare => self.prepare().await?,
            Effect::CreatePrimary { revision, replicas } => {
                self.create_primary(revision, *replicas).await?;
            }
            Effect::Route { split } => self.route(*split).await?,
            Effect::ScaleCanary { replicas } => self.scale(*replicas).await?,
            Effect::PromotePrimary { revision, keeping } => self.promote(revision, keeping).await?,
            Effect::RestorePrimary { revision, keeping } => self.restore(revision, keeping).await?,
            Effect::MarkPrimary { revision } => self.mark(revision).await?,
            Effect::GiveBack => self.give_back().await?,
            Effect::Ask { .. } => {}
        }
        Ok(None)
    }

    async fn prepare(&self) -> Result<(), Error> {
        let Some(target) = &self.world.target else {
            return Ok(());
        };
        for role in [Role::Primary, Role::Canary] {
            if let Some(service) = self.service(role, target, true) {
                if self.claim(role, target).await? {
                    // It has another version now, with which it is seen next.
                    return Ok(());
                }
                self.apply(&service).await?;
            }
            if self.plan.route.provider == Provider::Istio {
                self.apply(&objects::destination_rule(role, &self.plan.route))
                    .await?;
            }
        }
        if let Some((scaler, live)) = self.scaler() {
            let (scaled, owner) = (self.plan.names.scaled(), &self.plan.route.owner);
            self.apply(&scaler.primary(live, scaled, owner)).await?;
        }
        Ok(())
    }

    /// Makes a copy of a Service as target ours, if another controller has made it.
    async fn claim(&self, role: Role, target: &Snapshot) -> Result<bool, Error> {
        let live = role.of(&self.world.services).as_ref();
        let Some(live) = live.filter(|_| target.selector.is_none()) else {
            return Ok(false);
        };
        let claimed = takeover::claim_service(self.client, live).await;
        claimed.map_err(|source| Error::Write {
            object: format!("Service `{}`", role.name(&self.plan.route)),
            source: source.into(),
        })
    }

    async fn route(&self, split: Split) -> Result<(), Error> {
        self.router
            .write(&self.plan.route, split, &self.world.routes)
            .await?;
        let Some(target) = &self.world.target else {
            return Ok(());
        };
        let live = Role::Apex.of(&self.world.services).as_ref();
        let is_ours = live.is_none_or(|live| objects::is_owned(live, &self.plan.route.owner));
        let Some(mut service) = self.service(Role::Apex, target, is_ours) else {
            return Ok(());
        };
        if let Some(live) = live.filter(|_| !is_ours) {
            let kept = live["metadata"]["annotations"][ORIGINAL_SELECTOR].as_str();
            let original =
                kept.map_or_else(|| live["spec"]["selector"].to_string(), ToOwned::to_owned);
            service["metadata"]["annotations"][ORIGINAL_SELECTOR] = json!(original);
        }
        self.apply(&service).await
    }

    fn service(&self, role: Role, target: &Snapshot, is_ours: bool) -> Option<Value> {
        let live = role.of(&self.world.services).as_ref();
        objects::service(role, &self.plan.route, target, live, is_ours)
    }

    /// The target's autoscaler, as it is asked for and as it is.
    fn scaler(&self) -> Option<(&Autoscaler, &Value)> {
        let live = self.world.autoscaler.as_ref();
        self.plan.autoscaler.as_ref().zip(live)
    }

    /// Keeps the target's autoscaler off a target at rest, and off no other.
    async fn hold_scaler(&self, rests: bool) -> Result<(), Error> {
        let Some((scaler, live)) = self.scaler() else {
            return Ok(());
        };
        let Some(patch) = scaler.hold(live, rests) else {
            return Ok(());
        };
        let (kind, namespace) = (scaler.kind, &self.plan.names.namespace);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let held = api.patch(&scaler.name, &params, &Patch::Merge(patch)).await;
        held.map(drop).map_err(|source| Error::Write {
            object: format!("{} `{namespace}/{}`", kind.as_str(), scaler.name),
            source: source.into(),
        })
    }

    async fn scale(&self, replicas: u32) -> Result<(), Error> {
        let Some(target) = &self.world.target else {
            return Ok(());
        };
        self.hold_scaler(replicas == 0).await?;
        let guard = &target.resource_version;
        self.workload
            .scale(&self.plan.names, replicas, guard)
            .await?;
        Ok(())
    }

    async fn create_primary(
        &self,
        revision: &Revision,
        replicas: Option<u32>,
    ) -> Result<(), Error> {
        let Some(target) = &self.world.target else {
            return Err(Error::Moved(revision.clone()));
        };
        if let Some(record) = self.archive().find(revision).await? {
            return self.give(revision, record, replicas).await;
        }
        let current = target.template.as_ref().ok();
        let content = if let Some(current) =
            current.filter(|current| current.identity == identity(revision))
        {
            current.content.clone()
        } else {
            let kept = self
                .workload
                .content(&self.plan.names, identity(revision))
                .await?;
            kept.ok_or_else(|| Error::Lost(revision.clone()))?
        };
        let configs = self.configs(&content).await?;
        if compose(identity(revision), &configs.hashes()) == *revision {
            return self.copy(revision, content, &configs, replicas).await;
        }
        if compose(identity(revision), &self.world.hashes()) == *revision {
            return Err(Error::Moved(revision.clone()));
        }
        // The target's configs are others by now; what the primary had of them is still there.
        let renamed = configs.renamed();
        let copies = renamed.iter().map(Reference::copy);
        let found = self.copies().find(copies).await;
        if found.map_err(workload::Error::from)?.len() < renamed.len() {
            return Err(Error::Lost(revision.clone()));
        }
        let content = content.with_copies(&renamed);
        self.apply_primary(revision, content, replicas).await
    }

    async fn promote(&self, revision: &Revision, keeping: &[Revision]) -> Result<(), Error> {
        let moved = || Error::Moved(revision.clone());
        let target = self.world.target.as_ref().ok_or_else(moved)?;
        let current = target.template.as_ref().map_err(|_unknown| moved())?;
        // What was analysed, and nothing that came in the meantime.
        let configs = self.configs(&current.content).await?;
        if compose(&current.identity, &configs.hashes()) != *revision {
            return Err(moved());
        }
        self.archive().keep(keeping).await?;
        let content = current.content.clone();
        self.copy(revision, content, &configs, None).await
    }

    async fn restore(&self, revision: &Revision, keeping: &[Revision]) -> Result<(), Error> {
        let kept = self.archive().find(revision).await?;
        let record = kept.ok_or_else(|| Error::Forgotten(revision.clone()))?;
        self.archive().keep(keeping).await?;
        self.give(revision, record, None).await
    }

    /// Gives the primary what was kept.
    async fn give(
        &self,
        revision: &Revision,
        record: Record,
        replicas: Option<u32>,
    ) -> Result<(), Error> {
        self.archive().put_back(revision, &record).await?;
        self.apply_primary(revision, record.content, replicas).await
    }

    async fn mark(&self, revision: &Revision) -> Result<(), Error> {
        let Some(primary) = &self.world.primary else {
            return Err(Error::Moved(revision.clone()));
        };
        let names = &self.plan.names;
        let resource = self.plan.kind.resource();
        let guard = &primary.resource_version;
        let marked = takeover::mark(self.client, &resource, names, guard, revision).await;
        marked.map_err(|source| Error::Write {
            object: format!("{} `{}/{}`", resource.kind, names.namespace, names.primary),
            source: source.into(),
        })
    }

    async fn configs(&self, content: &Content) -> Result<Configs, Error> {
        let pod = content.pod().cloned().unwrap_or_default();
        let configs = Configs::read(self.client, &self.plan.names.namespace, &pod).await;
        Ok(configs.map_err(workload::Error::from)?)
    }

    fn archive(&self) -> Archive<'_> {
        Archive {
            kind: self.plan.kind,
            copies: self.copies(),
        }
    }

    fn copies(&self) -> Copies<'_> {
        Copies {
            client: self.client,
            namespace: &self.plan.names.namespace,
            primary: &self.plan.names.primary,
            owner: &self.plan.route.owner,
        }
    }

    /// Gives the primary what the target asks for, with configs of its own.
    async fn copy(
        &self,
        revision: &Revision,
        content: Content,
        configs: &Configs,
        replicas: Option<u32>,
    ) -> Result<(), Error> {
        let written = self.copies().write(configs).await;
        written.map_err(workload::Error::from)?;
        let content = content.with_copies(&configs.renamed());
        if !self.plan.kind.has_history() {
            self.archive().hold(revision, &content).await?;
        }
        self.apply_primary(revision, content, replicas).await
    }

    /// `replicas` is what a primary is made with that does not exist; else as many as the target.
    async fn apply_primary(
        &self,
        revision: &Revision,
        content: Content,
        replicas: Option<u32>,
    ) -> Result<(), Error> {
        let Some(target) = &self.world.target else {
            return Err(Error::Moved(revision.clone()));
        };
        let existing = self.world.primary.as_ref();
        let scaled_by_others = self.plan.autoscaler.is_some();
        // A canary that is sized by its step says nothing about the primary.
        let says_nothing = target.desired == 0 || self.plan.strategy.is_resized();
        let replicas = match existing {
            Some(primary) if scaled_by_others || says_nothing => primary.desired,
            Some(_) => target.desired,
            None => replicas.unwrap_or(target.desired),
        };
        let primary = PrimaryPlan {
            target,
            content,
            revision,
            replicas: replicas.max(1),
            owner: self.plan.route.owner.clone(),
            guard: existing.map(|primary| primary.resource_version.clone()),
        };
        self.workload
            .apply_primary(&self.plan.names, primary)
            .await?;
        Ok(())
    }

    /// Leads a Service that is not ours to the target again, and takes the routes back.
    async fn give_back(&self) -> Result<(), Error> {
        self.hold_scaler(false).await?;
        let live = Role::Apex.of(&self.world.services).as_ref();
        let foreign = live.filter(|live| !objects::is_owned(live, &self.plan.route.owner));
        // A target that is gone will be back, and its Service must lead to it then.
        let original = foreign.and_then(|live| {
            let kept = live["metadata"]["annotations"][ORIGINAL_SELECTOR].as_str();
            let kept = kept.and_then(|text| serde_json::from_str::<Value>(text).ok());
            let target = self.world.target.as_ref();
            let own = target.and_then(|target| target.selector.as_ref());
            kept.or_else(|| own.map(|own| json!({ &own.key: own.value })))
        });
        if let (Some(live), Some(selector)) = (foreign, original) {
            // Applying nothing else gives up all other fields that we hold.
            self.apply(&json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": self.plan.route.apex, "namespace": self.plan.route.namespace },
                "spec": { "selector": selector, "ports": live["spec"]["ports"] },
            }))
            .await?;
        }
        self.router.give_back(&self.plan.route).await?;
        Ok(())
    }

    async fn apply(&self, object: &Value) -> Result<(), Error> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let resource = match kind.as_str() {
            "Service" => ApiResource::erase::<Service>(&()),
            "HorizontalPodAutoscaler" => autoscaler::Kind::HorizontalPodAutoscaler.resource(),
            "ScaledObject" => autoscaler::Kind::ScaledObject.resource(),
            rule => {
                let kind = GroupVersionKind::gvk("networking.istio.io", "v1", rule);
                ApiResource::from_gvk(&kind)
            }
        };
        let namespace = &self.plan.route.namespace;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
        applied.map(drop).map_err(|source| Error::Write {
            object: format!("{kind} `{namespace}/{name}`"),
            source: source.into(),
        })
    }
}
