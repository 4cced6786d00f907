//! Leader election between candidates of one process.

use std::convert::Infallible;
use std::time::Duration;

use fairlead_controller::lease::{Config, Error, lead};
use fairlead_tests::ApiServer;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Much longer than anything here takes, for machines that do much else.
const DEADLINE: Duration = Duration::from_secs(30);

fn config(identity: &str) -> Config {
    Config {
        interval: Duration::from_millis(50),
        ..Config::new("default", "test", identity)
    }
}

/// Waits until somebody leads, and says who.
async fn leader(led: &mut mpsc::UnboundedReceiver<&'static str>) -> &'static str {
    tokio::time::timeout(DEADLINE, led.recv())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
#[ignore = "needs kube-apiserver"]
async fn one_leads_and_the_next_follows_when_it_stops() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let (tell, mut led) = mpsc::unbounded_channel();
    let candidate = |name: &'static str, stop: &CancellationToken| {
        let tell = tell.clone();
        lead(
            client.clone(),
            config(name),
            stop.clone(),
            move |token| async move {
                tell.send(name).unwrap();
                token.cancelled().await;
                Ok::<_, Infallible>(())
            },
        )
    };
    let (stop_a, stop_b) = (CancellationToken::new(), CancellationToken::new());
    let story = async {
        let first = leader(&mut led).await;
        assert!(led.try_recv().is_err(), "two lead at once");
        let (mine, others) = if first == "a" {
            (&stop_a, &stop_b)
        } else {
            (&stop_b, &stop_a)
        };
        mine.cancel();
        // The lease lasts 15 s, but it was released.
        assert_ne!(leader(&mut led).await, first);
        others.cancel();
    };
    let (a, b, ()) = tokio::join!(candidate("a", &stop_a), candidate("b", &stop_b), story);
    a.unwrap();
    b.unwrap();
    let lease = Api::<Lease>::namespaced(client, "default")
        .get("test")
        .await
        .unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity, None);
}

#[tokio::test]
#[ignore = "needs kube-apiserver"]
async fn a_leader_whose_lease_was_taken_stops_at_once() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let leases: Api<Lease> = Api::namespaced(client.clone(), "default");
    let outcome = lead(
        client,
        config("a"),
        CancellationToken::new(),
        |_| async move {
            let thief = json!({ "spec": { "holderIdentity": "thief" } });
            leases
                .patch("test", &PatchParams::default(), &Patch::Merge(thief))
                .await
                .unwrap();
            std::future::pending::<Result<(), Infallible>>().await
        },
    );
    let outcome = tokio::time::timeout(DEADLINE, outcome).await.unwrap();
    assert!(matches!(outcome, Err(Error::Lost { why, .. }) if why.contains("thief")));
}
