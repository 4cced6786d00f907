//! Keeps the CA bundle of our webhook configurations, and nothing else of them.
//!
//! The operator owns the configurations and leaves the bundles out; this writes the bundles alone,
//! under a field manager of its own, and only where a configuration exists and names our Service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const FIELD_MANAGER: &str = "fairlead-ca-bundle";
/// Pause after a write that failed: without its bundle the injector's webhook lets no pod be made.
const RETRY: Duration = Duration::from_secs(5);

/// One kind of webhook configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MutatingWebhookConfiguration.
    Mutating,
    /// ValidatingWebhookConfiguration.
    Validating,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let kind = match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(
            "admissionregistration.k8s.io",
            "v1",
            kind,
        ))
    }
}

/// The Service through which the API server reaches the webhooks.
#[derive(Debug, Clone)]
pub struct WebhookService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The loop that keeps one configuration's bundles.
pub struct Keeper {
    /// The client.
    pub client: Client,
    /// The configuration's kind.
    pub kind: Kind,
    /// The configuration's name.
    pub name: String,
    /// Our Service.
    pub service: WebhookService,
    /// The roots in force, as PEM.
    pub roots: watch::Receiver<Arc<str>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// Runs until shutdown.
    ///
    /// # Errors
    /// None: a write that fails is logged and tried again.
    pub async fn run(
        mut self,
        shutdown: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.kind.resource());
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut events = watcher(api.clone(), only)
            .default_backoff()
            .applied_objects()
            .boxed();
        let mut seen = None;
        let mut retry = false;
        loop {
            let pause = if retry { RETRY } else { Duration::MAX };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                event = events.next() => match event {
                    Some(Ok(configuration)) => seen = Some(configuration),
                    Some(Err(error)) => {
                        let error = fairlead_runtime::report(&error).to_string();
                        tracing::warn!(error, configuration = self.name, "watch interrupted");
                    }
                    None => return Ok(()),
                },
                changed = self.roots.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(pause) => {}
            }
            if let Some(configuration) = &seen {
                retry = !self.write(&api, configuration).await;
            }
        }
    }

    /// Whether the configuration has the bundle now.
    async fn write(&self, api: &Api<DynamicObject>, configuration: &DynamicObject) -> bool {
        let bundle = STANDARD.encode(self.roots.borrow().as_bytes());
        let types = self.kind.resource();
        let Some(patch) = bundle_patch(configuration, &types, &self.service, &bundle) else {
            return true;
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api
            .patch(&configuration.name_any(), &params, &Patch::Apply(&patch))
            .await
        {
            Ok(_) => {
                tracing::info!(configuration = self.name, "CA bundle written");
                true
            }
            Err(error) => {
                let error = fairlead_runtime::report(&error).to_string();
                tracing::warn!(
                    error,
                    configuration = self.name,
                    "failed to write the CA bundle"
                );
                false
            }
        }
    }
}

/// The patch that gives each webhook of ours the bundle, or nothing where all have it.
///
/// It names every webhook of ours, since server-side apply takes back what is left out. The uid
/// keeps it from creating a configuration that was deleted meanwhile.
fn bundle_patch(
    configuration: &DynamicObject,
    types: &ApiResource,
    service: &WebhookService,
    bundle: &str,
) -> Option<Value> {
    let ours: Vec<&Value> = configuration
        .data
        .get("webhooks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|webhook| {
            let target = &webhook["clientConfig"]["service"];
            target["namespace"] == service.namespace.as_str()
                && target["name"] == service.name.as_str()
        })
        .collect();
    if ours
        .iter()
        .all(|webhook| webhook["clientConfig"]["caBundle"] == bundle)
    {
        return None;
    }
    let webhooks: Vec<Value> = ours
        .iter()
        .map(|webhook| json!({ "name": webhook["name"], "clientConfig": { "caBundle": bundle } }))
        .collect();
    Some(json!({
        "apiVersion": types.api_version,
        "kind": types.kind,
        "metadata": {
            "name": configuration.metadata.name,
            "uid": configuration.metadata.uid,
        },
        "webhooks": webhooks,
    }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::http::{Method, Request, Response};
    use bytes::Bytes;
    use http_body_util::combinators::BoxBody;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use kube::client::Body;

    use super::*;

    /// An API server that holds the configuration, refuses the first write, and ends the keeper
    /// with the second.
    fn refuses_once(done: CancellationToken) -> Client {
        let refused = Arc::new(AtomicBool::new(false));
        let service = tower::service_fn(move |request: Request<Body>| {
            let is_watch = request
                .uri()
                .query()
                .is_some_and(|q| q.contains("watch=true"));
            let (status, body) = if *request.method() == Method::PATCH {
                if refused.swap(true, Ordering::SeqCst) {
                    done.cancel();
                    (200, text(&json!(configuration(""))))
                } else {
                    let why =
                        json!({ "status": "Failure", "code": 500, "reason": "InternalError" });
                    (500, text(&why))
                }
            } else if is_watch {
                let never = futures::stream::pending::<Result<Frame<_>, Infallible>>();
                (200, BoxBody::new(StreamBody::new(never)))
            } else {
                let items = [configuration("")];
                (
                    200,
                    text(&json!({ "metadata": { "resourceVersion": "1" }, "items": items })),
                )
            };
            let response = Response::builder().status(status).body(body).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        Client::new(service, "default")
    }

    fn text(value: &Value) -> BoxBody<Bytes, Infallible> {
        BoxBody::new(Full::from(value.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_bundle_that_was_refused_is_written_again_without_an_event() {
        let done = CancellationToken::new();
        let (_roots, roots) = watch::channel(Arc::from("root"));
        let keeper = Keeper {
            client: refuses_once(done.clone()),
            kind: Kind::Mutating,
            name: "injector".to_owned(),
            service: service(),
            roots,
        };
        let limit = Duration::from_secs(60);
        let ended = tokio::time::timeout(limit, keeper.run(done)).await;
        ended.expect("the bundle was not written again").unwrap();
    }

    fn configuration(bundle: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": { "name": "injector", "uid": "1" },
            "webhooks": [
                {
                    "name": "ours",
                    "clientConfig": {
                        "caBundle": bundle,
                        "service": { "namespace": "istio-system", "name": "istiod" },
                    },
                },
                { "name": "foreign", "clientConfig": { "url": "https://example.test" } },
            ],
        }))
        .unwrap()
    }

    fn service() -> WebhookService {
        WebhookService {
            namespace: "istio-system".to_owned(),
            name: "istiod".to_owned(),
        }
    }

    #[test]
    fn writes_only_the_bundles_of_our_own_webhooks() {
        let patch = bundle_patch(
            &configuration(""),
            &Kind::Mutating.resource(),
            &service(),
            "cm9vdA==",
        )
        .unwrap();
        let expected = json!([{ "name": "ours", "clientConfig": { "caBundle": "cm9vdA==" } }]);
        assert_eq!(patch["webhooks"], expected);
        assert_eq!(patch["metadata"]["uid"], "1");
        // Lists leave the kind out of their items, and a patch without one is refused.
        assert_eq!(patch["kind"], "MutatingWebhookConfiguration");
    }

    #[test]
    fn leaves_a_configuration_alone_that_is_already_right() {
        assert_eq!(
            bundle_patch(
                &configuration("cm9vdA=="),
                &Kind::Mutating.resource(),
                &service(),
                "cm9vdA=="
            ),
            None
        );
    }
}
