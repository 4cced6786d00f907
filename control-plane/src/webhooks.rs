//! The HTTPS server of the webhooks, and what lets the API server and the pods trust it.

pub mod ca_bundle;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, post};
use fairlead_runtime::tasks::Tasks;
use kube::Client;

use crate::Shared;
use crate::admission::{self, Validator};
use crate::args::{Args, NativeSidecars};
use crate::ca::distribution::RootDistribution;
use crate::inject::webhook::Injector;
use crate::inject::{self, Settings};
use crate::status::peers;
use crate::status::replica::{self, Replica};
use crate::tls::{Peer, TlsListener};
use ca_bundle::WebhookService;

/// How long questions are answered after SIGTERM: until nobody is sent here any more.
const LAME_DUCK: Duration = Duration::from_secs(3);
/// The largest review: two versions of the largest object that the API server stores.
const LARGEST_REVIEW: usize = 8 << 20;
/// The first minor version of Kubernetes 1 whose sidecar containers can be relied on.
const NATIVE_SIDECARS_SINCE: u32 = 33;

/// Starts injection and validation.
///
/// # Errors
/// The address cannot be listened on, or the API server does not tell its version.
pub(crate) async fn start(tasks: &Tasks, args: &Args, mesh: &Shared) -> anyhow::Result<()> {
    let (roots, keeper) = RootDistribution::new(mesh.client.clone(), mesh.serving.roots.clone());
    tasks.spawn("root distribution", keeper.run(tasks.token().clone()));

    let settings = settings(&mesh.client, args).await?;
    let injector = Injector {
        settings,
        roots,
        metrics: mesh.metrics.clone(),
    };
    let validator = Validator {
        published: mesh.snapshots.clone(),
    };
    let replica = Replica {
        tracker: Arc::clone(&mesh.tracker),
        name: args.replica_name(),
    };
    let router = Router::new()
        .merge(route("/inject", post(inject::webhook::review), injector))
        .merge(route("/validate", post(admission::review), validator))
        .merge(route(peers::PATH, post(replica::answer), replica))
        .layer(DefaultBodyLimit::max(LARGEST_REVIEW))
        .into_make_service_with_connect_info::<Peer>();
    let address = args.listen.webhook_address;
    let listener = TlsListener::bind(address, mesh.serving.webhooks.clone())
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    tracing::info!(%address, "webhooks listen");
    let token = tasks.token().clone();
    let stop = async move {
        token.cancelled().await;
        tokio::time::sleep(LAME_DUCK).await;
    };
    tasks.spawn("webhooks", async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(stop)
            .await
    });
    keep_bundles(tasks, args, mesh);
    Ok(())
}

fn route<S>(path: &str, method: MethodRouter<Arc<S>>, state: S) -> Router
where
    S: Send + Sync + 'static,
{
    Router::new()
        .route(path, method)
        .with_state(Arc::new(state))
}

fn keep_bundles(tasks: &Tasks, args: &Args, mesh: &Shared) {
    let configurations = [
        (ca_bundle::Kind::Mutating, &args.injection.injector_webhook),
        (
            ca_bundle::Kind::Validating,
            &args.injection.validator_webhook,
        ),
    ];
    for (kind, name) in configurations {
        let keeper = ca_bundle::Keeper {
            client: mesh.client.clone(),
            kind,
            name: name.clone(),
            service: WebhookService {
                namespace: args.namespace.clone(),
                name: args.service.clone(),
            },
            roots: mesh.serving.roots.clone(),
        };
        tasks.spawn(
            format!("CA bundle of {name}"),
            keeper.run(tasks.token().clone()),
        );
    }
}

async fn settings(client: &Client, args: &Args) -> anyhow::Result<Settings> {
    let native_sidecar = match args.injection.native_sidecars {
        NativeSidecars::Always => true,
        NativeSidecars::Never => false,
        NativeSidecars::Auto => {
            let version = client.apiserver_version().await;
            let version = version.context("failed to ask the API server for its version")?;
            is_native_since(&version.major, &version.minor)
        }
    };
    Ok(Settings {
        proxy_image: args.injection.proxy_image.clone(),
        ca_address: args.ca_address(),
        trust_domain: args.trust_domain.clone(),
        cluster_domain: args.cluster_domain.clone(),
        cluster_id: args.cluster_id.clone(),
        policy: args.injection.injection_policy,
        native_sidecar,
        resources: args.injection.resources(),
    })
}

/// Providers append a `+` to the minor version.
fn is_native_since(major: &str, minor: &str) -> bool {
    let minor = minor.trim_end_matches(|c: char| !c.is_ascii_digit());
    major == "1"
        && minor
            .parse()
            .is_ok_and(|minor: u32| minor >= NATIVE_SIDECARS_SINCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_sidecars_need_a_new_enough_cluster() {
        assert!(is_native_since("1", "33"));
        assert!(is_native_since("1", "34+"));
        assert!(!is_native_since("1", "32"));
        assert!(!is_native_since("1", "?"));
    }
}
