//! The mutating webhook `/inject`: decodes the review, makes sure that the pod will find the mesh's
//! root certificate, and answers with the patch.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};

use super::{Outcome, Settings, inject};
use crate::ca::distribution::RootDistribution;
use crate::metrics::{ByOutcome, Metrics};

/// Everything that the webhook needs.
#[derive(Debug)]
pub struct Injector {
    /// What does not depend on the pod.
    pub settings: Settings,
    /// Writes the root certificate into namespaces.
    pub roots: RootDistribution,
    /// Counts what was decided.
    pub metrics: Metrics,
}

/// Answers one review.
pub async fn review(
    State(injector): State<Arc<Injector>>,
    Json(review): Json<AdmissionReview<DynamicObject>>,
) -> Json<AdmissionReview<DynamicObject>> {
    let request: AdmissionRequest<DynamicObject> = match review.try_into() {
        Ok(request) => request,
        Err(error) => return Json(AdmissionResponse::invalid(error).into_review()),
    };
    Json(injector.respond(&request).await.into_review())
}

impl Injector {
    async fn respond(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = AdmissionResponse::from(request);
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let (patch, warnings) = match self.decide(request, namespace) {
            Ok(Outcome::Inject { patch, warnings }) => (patch, warnings),
            Ok(Outcome::Skip(reason)) => {
                tracing::debug!(namespace, pod = %request.name, ?reason, "pod not injected");
                self.count("skipped");
                return response;
            }
            Err(why) => {
                self.count("refused");
                return response.deny(why);
            }
        };
        if !request.dry_run
            && let Err(error) = self.roots.publish(namespace).await
        {
            // Without it the pod would wait for the kubelet's back-off; the distribution tries
            // again on its own, so this is no reason to refuse the pod.
            let error = fairlead_runtime::report(&error).to_string();
            tracing::warn!(
                namespace,
                error,
                "root certificate not published before injection"
            );
        }
        let mut response = match response.with_patch(patch) {
            Ok(response) => response,
            Err(error) => return AdmissionResponse::from(request).deny(error),
        };
        self.count("injected");
        response.warnings = (!warnings.is_empty()).then_some(warnings);
        response
    }

    fn decide(
        &self,
        request: &AdmissionRequest<DynamicObject>,
        namespace: &str,
    ) -> Result<Outcome, String> {
        let pod = decode(request).map_err(|error| format!("the pod cannot be decoded: {error}"))?;
        inject(&pod, namespace, &self.settings).map_err(|error| error.to_string())
    }

    fn count(&self, outcome: &'static str) {
        self.metrics
            .injections
            .get_or_create(&ByOutcome { outcome })
            .inc();
    }
}

fn decode(request: &AdmissionRequest<DynamicObject>) -> Result<Pod, serde_json::Error> {
    let object = serde_json::to_value(&request.object)?;
    serde_json::from_value(object)
}
