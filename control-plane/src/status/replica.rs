//! Answers other replicas: where each object stands with the proxies of this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fairlead_runtime::clock;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::Tracker;
use super::peers::{Answer, Question, Standing, name_of};
use crate::tls::Peer;

/// What answers need.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The bookkeeping of this replica.
    pub tracker: Arc<Tracker>,
    /// The name that replicas serve under.
    pub name: String,
}

/// Answers one question.
pub async fn answer(
    State(replica): State<Arc<Replica>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(question): Json<Question>,
) -> Response {
    if !peer
        .certificate
        .is_some_and(|certificate| is_replica(&certificate, &replica.name))
    {
        return (
            StatusCode::FORBIDDEN,
            "for replicas of the control plane alone\n",
        )
            .into_response();
    }
    let now = clock::instant();
    let answer = replica.tracker.read(|progress| {
        let unseen = question
            .keys()
            .map(|name| (name.clone(), Standing::of(None)));
        let mut standings: BTreeMap<String, Standing> = unseen.collect();
        for (object, state) in progress.objects() {
            let name = name_of(object);
            // A newer generation than the one asked about is asked about soon.
            if question
                .get(&name)
                .is_some_and(|asked| *asked <= state.generation)
            {
                standings.insert(name, Standing::of(progress.verdict_of_streams(object)));
            }
        }
        Answer {
            standings,
            connected: progress
                .connected_names()
                .map(ToString::to_string)
                .collect(),
            absent: progress
                .absent_names(now)
                .map(ToString::to_string)
                .collect(),
        }
    });
    Json(answer).into_response()
}

/// Whether a certificate, verified already, is one that replicas serve under.
fn is_replica(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    names
        .value
        .general_names
        .iter()
        .any(|own| matches!(own, GeneralName::DNSName(dns) if *dns == name))
}
