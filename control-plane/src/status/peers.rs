//! What the other replicas' proxies have accepted: each replica knows only its own streams, so the
//! leader asks the others before it calls an object live.
//!
//! Replicas are found by the EndpointSlices of our own Service. They prove themselves to each other
//! with their serving certificates, which the authority gives to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::progress::Verdict;
use crate::config::ObjectRef;

/// Path of the question.
pub const PATH: &str = "/replica/progress";
/// A replica that takes longer counts as one that has not accepted.
const DEADLINE: Duration = Duration::from_secs(1);
/// Names and verdicts of some thousand objects.
const LARGEST_ANSWER: usize = 4 << 20;
/// Port of our Service behind which the webhooks and this answer.
const PORT_NAME: &str = "https-webhook";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Generations by object, in the form of the question: `kind/namespace/name`.
pub type Question = BTreeMap<String, i64>;

/// What one replica knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Where each object of the question stands with the proxies that are connected to it.
    pub standings: BTreeMap<String, Standing>,
    /// Names of the proxies that are connected to it.
    pub connected: BTreeSet<String>,
    /// Names of those that were, and that run and have to be somewhere.
    pub absent: BTreeSet<String>,
}

/// Where one object stands on one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// All proxies of the replica that use it have accepted it.
    Live,
    /// These have not, or the replica itself has not seen the generation.
    Pending(Vec<String>),
    /// One has refused it: its name, and what it said.
    Rejected(String, String),
}

impl Standing {
    /// The verdict of a replica on a generation; without one, it has not seen it yet.
    pub fn of(verdict: Option<Verdict>) -> Self {
        match verdict {
            Some(Verdict::Live | Verdict::Invalid) => Self::Live,
            Some(Verdict::Pending { waiting }) => {
                Self::Pending(waiting.iter().map(ToString::to_string).collect())
            }
            Some(Verdict::Rejected { proxy, message }) => {
                Self::Rejected(proxy.to_string(), message)
            }
            None => Self::Pending(Vec::new()),
        }
    }
}

/// The text that stands for an object in questions and answers.
pub fn name_of(object: &ObjectRef) -> String {
    format!("{}/{}", object.kind.as_str(), object.key)
}

/// Merges what replicas say about one object; the worst counts.
pub fn merge(replica: &str, standing: Option<&Standing>, verdict: Verdict) -> Verdict {
    let unheard = || Verdict::Pending {
        waiting: vec![format!("replica {replica}").into()],
    };
    match (verdict, standing) {
        (Verdict::Live, None) => unheard(),
        (Verdict::Live, Some(Standing::Pending(waiting))) if waiting.is_empty() => unheard(),
        (Verdict::Live, Some(Standing::Pending(waiting))) => Verdict::Pending {
            waiting: waiting.iter().map(|name| name.as_str().into()).collect(),
        },
        (Verdict::Live, Some(Standing::Rejected(proxy, message))) => Verdict::Rejected {
            proxy: proxy.as_str().into(),
            message: message.clone(),
        },
        (verdict, _) => verdict,
    }
}

/// The other replicas that are ready, by the name of their pod.
pub fn replicas<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    service: &str,
    own_pod: &str,
) -> BTreeMap<String, SocketAddr> {
    let mut replicas = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        if labels
            .and_then(|labels| labels.get(SERVICE_LABEL))
            .map(String::as_str)
            != Some(service)
        {
            continue;
        }
        let mut ports = slice.ports.iter().flatten();
        let port = ports
            .find(|port| port.name.as_deref() == Some(PORT_NAME))
            .and_then(|port| u16::try_from(port.port?).ok());
        let Some(port) = port else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let is_ready = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                != Some(false);
            let pod = endpoint
                .target_ref
                .as_ref()
                .and_then(|target| target.name.as_deref());
            let address = endpoint
                .addresses
                .first()
                .and_then(|address| address.parse().ok());
            if let (true, Some(pod), Some(ip)) = (is_ready, pod, address)
                && pod != own_pod
            {
                replicas.insert(pod.to_owned(), SocketAddr::new(ip, port));
            }
        }
    }
    replicas
}

/// Why a replica did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be reached, or is not one of us.
    #[error("failed to connect")]
    Connect(#[source] std::io::Error),
    /// The exchange broke.
    #[error("failed to ask")]
    Ask(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered something else.
    #[error("answered {0}")]
    Status(StatusCode),
    /// It took too long.
    #[error("took too long")]
    Deadline,
}

/// Asks other replicas.
#[derive(Clone)]
pub struct Peers {
    tls: watch::Receiver<Arc<ClientConfig>>,
    name: ServerName<'static>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Peers {
    /// Replicas that serve under `name`.
    pub fn new(tls: watch::Receiver<Arc<ClientConfig>>, name: ServerName<'static>) -> Self {
        Self { tls, name }
    }

    /// The answer of each replica; one that does not answer is left out of the result.
    pub async fn ask(
        &self,
        replicas: &BTreeMap<String, SocketAddr>,
        question: &Question,
    ) -> BTreeMap<String, Answer> {
        let answers = replicas.iter().map(|(replica, address)| async move {
            let asked = tokio::time::timeout(DEADLINE, self.ask_one(*address, question)).await;
            match asked.unwrap_or(Err(Error::Deadline)) {
                Ok(answer) => Some((replica.clone(), answer)),
                Err(error) => {
                    let error = fairlead_runtime::report(&error).to_string();
                    tracing::warn!(replica, error, "replica does not tell its progress");
                    None
                }
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }

    async fn ask_one(&self, address: SocketAddr, question: &Question) -> Result<Answer, Error> {
        let broke = |source: Box<dyn std::error::Error + Send + Sync>| Error::Ask(source);
        let tcp = TcpStream::connect(address).await.map_err(Error::Connect)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls.borrow()));
        let tls = connector
            .connect(self.name.clone(), tcp)
            .await
            .map_err(Error::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|error| broke(error.into()))?;
        let body = serde_json::to_vec(question).map_err(|error| broke(error.into()))?;
        let request = Request::post(PATH)
            .header(header::HOST, self.name.to_str().as_ref())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broke(error.into()))?;
        let exchange = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| broke(error.into()))?;
            if response.status() != StatusCode::OK {
                return Err(Error::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), LARGEST_ANSWER)
                .collect()
                .await;
            let body = body.map_err(broke)?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| broke(error.into()))
        };
        tokio::select! {
            answer = exchange => answer,
            ended = connection => Err(broke(match ended {
                Ok(()) => "the connection was closed".into(),
                Err(error) => error.into(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(service: &str) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": { "labels": { SERVICE_LABEL: service } },
            "addressType": "IPv4",
            "ports": [{ "name": "grpc-xds", "port": 15012 }, { "name": PORT_NAME, "port": 15017 }],
            "endpoints": [
                { "addresses": ["10.0.0.1"], "targetRef": { "name": "istiod-a" } },
                { "addresses": ["10.0.0.2"], "targetRef": { "name": "istiod-b" } },
                {
                    "addresses": ["10.0.0.3"],
                    "conditions": { "ready": false },
                    "targetRef": { "name": "istiod-c" },
                },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn the_other_ready_pods_of_our_own_service_are_asked() {
        let slices = [slice("istiod"), slice("elsewhere")];
        let found = replicas(slices.iter(), "istiod", "istiod-a");
        let expected = [("istiod-b".to_owned(), "10.0.0.2:15017".parse().unwrap())];
        assert_eq!(found, expected.into());
    }

    #[test]
    fn an_object_is_live_only_when_every_replica_says_so() {
        let say = |standing: Option<Standing>| merge("b", standing.as_ref(), Verdict::Live);
        assert_eq!(say(Some(Standing::Live)), Verdict::Live);
        let unheard = Verdict::Pending {
            waiting: vec!["replica b".into()],
        };
        assert_eq!(say(None), unheard);
        assert_eq!(say(Some(Standing::Pending(Vec::new()))), unheard);
        let waiting = Standing::Pending(vec!["web-0.shop".to_owned()]);
        assert_eq!(
            say(Some(waiting)),
            Verdict::Pending {
                waiting: vec!["web-0.shop".into()]
            }
        );
    }

    #[test]
    fn what_is_known_here_to_be_wrong_stays_wrong() {
        assert_eq!(
            merge("b", Some(&Standing::Live), Verdict::Invalid),
            Verdict::Invalid
        );
    }
}
