//! The validating webhook `/validate`: says at once what is wrong with an object of the mesh.
//!
//! What cannot be decoded is refused. Everything else is let in with warnings: an object may name
//! what is only about to be applied, and its status will tell.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fairlead_crds::networking::{DestinationRule, Gateway, ServiceEntry, VirtualService};
use fairlead_crds::security::PeerAuthentication;
use fairlead_translate::{Kind, ObjectKey, Objects, Snapshot, Translator};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use crate::config::{self, MESH_KINDS, ObjectRef};
use crate::push::Published;

/// Warnings beyond this many are counted; the API server cuts long lists.
const WARNINGS: usize = 8;

/// What validation sees.
#[derive(Debug, Clone)]
pub struct Validator {
    /// The newest snapshot; none while the caches are filling.
    pub published: watch::Receiver<Option<Arc<Published>>>,
}

/// Answers one review.
pub async fn review(
    State(validator): State<Arc<Validator>>,
    Json(review): Json<AdmissionReview<DynamicObject>>,
) -> Json<AdmissionReview<DynamicObject>> {
    let request: AdmissionRequest<DynamicObject> = match review.try_into() {
        Ok(request) => request,
        Err(error) => return Json(AdmissionResponse::invalid(error).into_review()),
    };
    Json(validator.respond(&request).into_review())
}

impl Validator {
    fn respond(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let mut response = AdmissionResponse::from(request);
        let kind = MESH_KINDS.into_iter().find(|kind| {
            config::resource(*kind).is_some_and(|resource| {
                resource.group == request.kind.group && resource.kind == request.kind.kind
            })
        });
        let (Some(kind), Some(object)) = (kind, &request.object) else {
            return response;
        };
        let object = match serde_json::to_value(object) {
            Ok(object) => object,
            Err(error) => return response.deny(error),
        };
        let published = self.published.borrow().clone();
        let snapshot = published.map(|published| published.snapshot().clone());
        match judge(kind, object, snapshot.unwrap_or_default()) {
            Ok(warnings) => response.warnings = (!warnings.is_empty()).then_some(warnings),
            Err(why) => return response.deny(why),
        }
        response
    }
}

/// What is wrong with `object` among those of `snapshot`: a refusal, or warnings.
fn judge(kind: Kind, object: Value, mut snapshot: Snapshot) -> Result<Vec<String>, String> {
    let named = match kind {
        Kind::VirtualService => insert::<VirtualService>(object, &mut snapshot.virtual_services),
        Kind::DestinationRule => insert::<DestinationRule>(object, &mut snapshot.destination_rules),
        Kind::Gateway => insert::<Gateway>(object, &mut snapshot.gateways),
        Kind::ServiceEntry => insert::<ServiceEntry>(object, &mut snapshot.service_entries),
        Kind::PeerAuthentication => {
            insert::<PeerAuthentication>(object, &mut snapshot.peer_authentications)
        }
        Kind::Service | Kind::Secret => return Ok(Vec::new()),
    };
    let object = ObjectRef { kind, key: named? };
    let mut warnings = problems_of(&object, &snapshot);
    if warnings.len() > WARNINGS {
        let more = warnings.len() - WARNINGS;
        warnings.truncate(WARNINGS);
        warnings.push(format!("and {more} more"));
    }
    Ok(warnings)
}

fn insert<K>(object: Value, objects: &mut Objects<K>) -> Result<ObjectKey, String>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let decoded: K = serde_path_to_error::deserialize(object).map_err(|error| {
        let kind = K::kind(&());
        format!(
            "the {kind} cannot be decoded: {}: {}",
            error.path(),
            error.inner()
        )
    })?;
    let key = ObjectKey::new(decoded.namespace().unwrap_or_default(), decoded.name_any());
    objects.insert(key.clone(), Arc::new(decoded));
    Ok(key)
}

fn problems_of(object: &ObjectRef, snapshot: &Snapshot) -> Vec<String> {
    Translator::new(snapshot)
        .diagnostics()
        .iter()
        .filter(|diagnostic| ObjectRef::from(&diagnostic.source) == *object)
        .map(|diagnostic| format!("{}: {}", diagnostic.field, diagnostic.message))
        .collect()
}
