//! The MeshInstall controller: deploys the mesh that a MeshInstall describes, and keeps it so.
//!
//! Each reconcile runs five steps: `dereference` reads what the spec's meaning depends on,
//! `validate` checks it, `build` makes the objects, `apply` writes them (and `cleanup`
//! removes those no longer wanted), `status` says how it went. Watches on everything that it owns
//! wake it: a pod that becomes ready as well as an object that somebody changed or deleted.

use std::fmt::Debug;
use std::sync::Arc;

use fairlead_controller::applier;
use fairlead_controller::events::Reason as _;
use fairlead_controller::{Applier, Class, Failure, Recorder, run};
use fairlead_crds::label;
use fairlead_crds::mesh_install::MeshInstall;
use fairlead_runtime::{clock, report};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, DeserializeGuard};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::context::Context;

mod apply;
mod build;
mod cleanup;
mod dereference;
mod event;
mod health;
mod profile;
mod status;
mod validate;

use build::ROOT_CONFIG_MAP;
use status::{Before, Outcome};

/// Who writes what a MeshInstall deploys.
const FIELD_MANAGER: &str = "fairlead-mesh-install";
/// Changes within this time are answered by one reconcile: a Deployment that rolls out changes many
/// times a second.
const DEBOUNCE: std::time::Duration = std::time::Duration::from_millis(100);

/// Why a MeshInstall could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec makes no mesh.
    #[error("failed to validate the spec")]
    Validate(#[source] validate::Error),
    /// The cluster could not be read.
    #[error("failed to read the cluster")]
    Dereference(#[source] dereference::Error),
    /// The objects could not be made.
    #[error("failed to build the mesh")]
    Build(#[source] applier::Error),
    /// The objects could not be written.
    #[error("failed to apply the mesh")]
    Apply(#[source] applier::Error),
    /// Objects that are not wanted could not be removed.
    #[error("failed to clean up the mesh")]
    Cleanup(#[source] applier::Error),
    /// The status could not be written.
    #[error("failed to write the status")]
    Status(#[source] applier::Error),
    /// The status of an object with a broken spec could not be read.
    #[error("failed to read the status")]
    ReadStatus(#[source] fairlead_controller::ApiError),
}

impl Failure for Error {
    fn class(&self) -> Class {
        match self {
            Self::Validate(_) => Class::Invalid,
            Self::Dereference(error) => error.cause().class(),
            Self::Build(error)
            | Self::Apply(error)
            | Self::Cleanup(error)
            | Self::Status(error) => error.class(),
            Self::ReadStatus(error) => error.class(),
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Validate(_) => "invalid-spec",
            Self::Dereference(error) => error.cause().category(),
            Self::Build(error)
            | Self::Apply(error)
            | Self::Cleanup(error)
            | Self::Status(error) => error.category(),
            Self::ReadStatus(error) => error.category(),
        }
    }
}

/// What this controller's reconciler works with.
struct Reconciler {
    context: Arc<Context>,
    applier: Applier,
    recorder: Recorder,
}

/// Runs the controller until shutdown.
pub async fn run(context: Arc<Context>) -> Result<(), std::convert::Infallible> {
    let client = context.client.clone();
    let options = run::Options {
        name: "mesh-install",
        shutdown: context.shutdown.clone(),
        metrics: context.metrics.clone(),
    };
    let instance = &context.settings.instance;
    let reconciler = Reconciler {
        applier: Applier::new(client.clone(), FIELD_MANAGER),
        recorder: Recorder::new(client.clone(), "fairlead-operator", instance),
        context,
    };
    run::run(
        controller(&client),
        reconcile,
        Arc::new(reconciler),
        options,
    )
    .await;
    Ok(())
}

type Installs = Controller<DeserializeGuard<MeshInstall>>;

/// Watches MeshInstalls and every kind that they deploy.
fn controller(client: &Client) -> Installs {
    let installs = Api::<DeserializeGuard<MeshInstall>>::all(client.clone());
    let controller = Controller::new(installs.clone(), watcher::Config::default())
        .with_config(Config::default().debounce(DEBOUNCE));
    let all = controller.store();
    let everyone = move || -> Vec<_> {
        all.state()
            .iter()
            .map(|install| ObjectRef::from_obj(&**install))
            .collect()
    };
    // The oldest installs the mesh: when it goes, the next one's time has come.
    let next = everyone.clone();
    let controller = controller.watches(installs, watcher::Config::default(), move |_| next());
    // Gateways wait for it.
    let root = watcher::Config::default().fields(&format!("metadata.name={ROOT_CONFIG_MAP}"));
    let maps = Api::<ConfigMap>::namespaced(client.clone(), build::NAMESPACE);
    let controller = controller.watches(maps, root, move |_| everyone());
    let controller = owns::<Deployment>(controller, client);
    // Pods tell why a Deployment does not become available.
    let controller = owns::<Pod>(controller, client);
    let controller = owns::<Service>(controller, client);
    let controller = owns::<ServiceAccount>(controller, client);
    let controller = owns::<PodDisruptionBudget>(controller, client);
    let controller = owns::<RoleBinding>(controller, client);
    let controller = owns::<ClusterRoleBinding>(controller, client);
    let controller = owns::<ValidatingWebhookConfiguration>(controller, client);
    owns::<MutatingWebhookConfiguration>(controller, client)
}

/// Wakes the MeshInstall that an object of this kind was deployed for.
fn owns<K>(controller: Installs, client: &Client) -> Installs
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let ours = watcher::Config::default().labels(label::MESH_INSTALL);
    controller.watches(Api::<K>::all(client.clone()), ours, |object| {
        object
            .labels()
            .get(label::MESH_INSTALL)
            .map(|name| ObjectRef::new(name))
    })
}

async fn reconcile(
    object: Arc<DeserializeGuard<MeshInstall>>,
    reconciler: Arc<Reconciler>,
) -> Result<Action, Error> {
    if object.meta().deletion_timestamp.is_some() {
        // The API server deletes what we deployed; applying it again would be a race.
        return Ok(Action::await_change());
    }
    let before = reconciler.before(&object).await?;
    let outcome = match reconciler.install(&object, &before).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let outcome = match &error {
                Error::Validate(error) => status::refused(&before, error, clock::now()),
                other => status::interrupted(&before, report(other).to_string(), clock::now()),
            };
            reconciler.tell(&object, &before, outcome).await?;
            return Err(error);
        }
    };
    reconciler.tell(&object, &before, outcome).await?;
    Ok(Action::await_change())
}

impl Reconciler {
    /// The five steps.
    async fn install(
        &self,
        object: &DeserializeGuard<MeshInstall>,
        before: &Before,
    ) -> Result<Outcome, Error> {
        // client required
        let seen = dereference::dereference(&self.context.client, object.meta())
            .await
            .map_err(Error::Dereference)?;
        // pure
        let mesh =
            validate::validate(object, &seen, &self.context.settings).map_err(Error::Validate)?;
        // pure
        let prepared = build::build(&mesh).map_err(Error::Build)?;
        // client required
        let applied = apply::apply(&self.applier, prepared)
            .await
            .map_err(Error::Apply)?;
        // client required
        let deleted = cleanup::cleanup(&self.applier, &mesh.name, &applied)
            .await
            .map_err(Error::Cleanup)?;
        if !deleted.is_empty() {
            let note = format!("deleted {}", deleted.join(", "));
            self.recorder
                .publish(object, event::Reason::Pruned, note)
                .await;
        }
        // pure
        status::applied(before, &mesh, &applied, &seen.pods, clock::now()).map_err(Error::Apply)
    }

    /// What the status says now, also of an object whose spec cannot be read.
    async fn before(&self, object: &DeserializeGuard<MeshInstall>) -> Result<Before, Error> {
        let generation = object.meta().generation;
        if let Ok(install) = &object.0 {
            return Ok(Before {
                status: install.status.clone().unwrap_or_default(),
                generation,
            });
        }
        let resource = ApiResource::erase::<MeshInstall>(&());
        let raw = Api::<DynamicObject>::all_with(self.context.client.clone(), &resource)
            .get(&object.name_any())
            .await
            .map_err(|error| Error::ReadStatus(error.into()))?;
        let status = raw.data.get("status").cloned().unwrap_or_default();
        // A status that cannot be read either is written anew.
        Ok(Before {
            status: serde_json::from_value(status).unwrap_or_default(),
            generation,
        })
    }

    /// Writes the status and publishes the event, if something changed.
    async fn tell(
        &self,
        object: &DeserializeGuard<MeshInstall>,
        before: &Before,
        outcome: Outcome,
    ) -> Result<(), Error> {
        let Outcome { status, event } = outcome;
        if status != before.status {
            self.applier
                .apply_status(object, &status)
                .await
                .map_err(Error::Status)?;
        }
        if let Some((reason, note)) = event {
            tracing::info!(
                object.kind = "MeshInstall",
                object.name = object.name_any(),
                reason = reason.as_str(),
                note
            );
            self.recorder.publish(object, reason, note).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fairlead_crds::mesh_install::MeshInstallSpec;

    use super::*;
    use crate::args::Args;
    use crate::context::Settings;

    pub(super) fn install(spec: MeshInstallSpec) -> DeserializeGuard<MeshInstall> {
        let mut install = MeshInstall::new("mesh", spec);
        install.metadata.uid = Some("uid-of-mesh".to_owned());
        DeserializeGuard(Ok(install))
    }

    pub(super) fn with_profile(profile: &str) -> MeshInstallSpec {
        MeshInstallSpec {
            profile: profile.to_owned(),
            ..MeshInstallSpec::default()
        }
    }

    pub(super) fn settings() -> Settings {
        let args = <Args as clap::Parser>::parse_from([
            "fairlead-operator",
            "--control-plane-image=localhost/fairlead/control-plane:1",
            "--proxy-image=localhost/fairlead/proxy:1",
        ]);
        Settings::from(&args)
    }
}
