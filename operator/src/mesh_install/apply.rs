//! Writes the mesh's objects to the cluster, each after what it needs.

use fairlead_controller::Applier;
use fairlead_controller::applier::{self, Applied, ObjectKey, Prepared};

use super::build::{Component, Resources};

/// Applies all objects.
///
/// # Errors
/// The first object that could not be applied; those before it stay applied.
pub(crate) async fn apply(
    applier: &Applier,
    prepared: Resources<Prepared>,
) -> Result<Resources<Applied>, applier::Error> {
    let Resources {
        namespace,
        control_plane,
        gateways,
        webhooks,
    } = prepared;
    let namespace = applier.apply(&namespace).await?;
    let control_plane = component(applier, control_plane).await?;
    let mut applied = Vec::with_capacity(gateways.len());
    for (role, gateway) in gateways {
        let gateway = match gateway {
            Some(gateway) => Some(component(applier, gateway).await?),
            None => None,
        };
        applied.push((role, gateway));
    }
    let webhooks = all(applier, webhooks).await?;
    Ok(Resources {
        namespace,
        control_plane,
        gateways: applied,
        webhooks,
    })
}

async fn component(
    applier: &Applier,
    prepared: Component<Prepared>,
) -> Result<Component<Applied>, applier::Error> {
    let Component {
        surroundings,
        deployment,
    } = prepared;
    let surroundings = all(applier, surroundings).await?;
    let deployment = applier.apply(&deployment).await?;
    Ok(Component {
        surroundings,
        deployment,
    })
}

async fn all(applier: &Applier, prepared: Vec<Prepared>) -> Result<Vec<Applied>, applier::Error> {
    let mut applied = Vec::with_capacity(prepared.len());
    for object in &prepared {
        applied.push(applier.apply(object).await?);
    }
    Ok(applied)
}

impl Resources<Applied> {
    /// The keys of all objects.
    pub(crate) fn keys(&self) -> impl Iterator<Item = ObjectKey> {
        let Self {
            namespace,
            control_plane,
            gateways,
            webhooks,
        } = self;
        let components = std::iter::once(control_plane)
            .chain(gateways.iter().filter_map(|(_, gateway)| gateway.as_ref()));
        components
            .flat_map(|component| {
                let Component {
                    surroundings,
                    deployment,
                } = component;
                surroundings.iter().chain([deployment])
            })
            .chain([namespace])
            .chain(webhooks)
            .map(ObjectKey::from)
    }
}
