//! Queries against readings that the test makes, in paused time.

use std::collections::BTreeMap;

use super::counts::Counts;
use super::window::{Process, Reading, Snapshot};
use super::*;

fn target() -> Target {
    Target {
        namespace: "test".to_owned(),
        workload: Some("podinfo".to_owned()),
        service: "podinfo-canary".to_owned(),
    }
}

/// A mesh without a task: the test reads in its place.
fn mesh() -> Mesh {
    Mesh(Arc::new(Shared {
        targets: Mutex::default(),
        wanted: Notify::new(),
        readings: watch::Sender::default(),
        comparisons: Mutex::default(),
    }))
}

fn publish(mesh: &Mesh, outcome: Result<Counts, String>) {
    mesh.0.readings.send_modify(|readings| {
        readings.attempts += 1;
        match outcome {
            Ok(counts) => {
                let reading = Reading {
                    started: jiff::Timestamp::UNIX_EPOCH,
                    counts: BTreeMap::from([(target(), counts)]),
                };
                let process = Process {
                    pod: "a".to_owned(),
                    restarts: 0,
                };
                let snapshot = Snapshot {
                    at: clock::instant(),
                    time: clock::now(),
                    readings: BTreeMap::from([(process, reading)]),
                    silent: Vec::new(),
                };
                readings.history.push(snapshot, LONGEST_WINDOW);
                readings.trouble = None;
            }
            Err(trouble) => readings.trouble = Some(trouble),
        }
    });
}

/// Asks while a proxy that counts ten requests a second, two of them failed, is read each second.
async fn ask(measure: Measure, window: Duration) -> (Result<Vec<f64>, QueryError>, Duration) {
    let mesh = mesh();
    let provider = mesh.provider(target(), measure, window);
    let begun = clock::instant();
    let read = async {
        for second in 0.. {
            let total = second * 10;
            let buckets = [(10.0, total - second), (500.0, second)];
            publish(&mesh, Ok(Counts::for_tests(total, second * 2, &buckets)));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        answer = provider.query("") => (answer, clock::instant() - begun),
        () = read => unreachable!("it reads for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_query_waits_until_there_is_something_to_compare() {
    let (answer, took) = ask(Measure::SuccessRate, Duration::from_secs(60)).await;
    assert_eq!(answer.unwrap(), [80.0]);
    assert!(took >= WARM_UP && took < WARM_UP + PERIOD, "{took:?}");
    let (answer, took) = ask(Measure::Duration, Duration::from_secs(3)).await;
    assert_eq!(answer.unwrap(), [500.0]);
    assert!(took < WARM_UP, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_requests_the_answer_is_not_a_number() {
    let mesh = mesh();
    let provider = mesh.provider(target(), Measure::SuccessRate, Duration::from_secs(2));
    let read = async {
        for _ in 0_u64.. {
            publish(&mesh, Ok(Counts::for_tests(7, 0, &[])));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let answer = tokio::select! {
        answer = provider.query("") => answer.unwrap(),
        () = read => unreachable!("it reads for ever"),
    };
    assert!(
        matches!(answer[..], [value] if value.is_nan()),
        "{answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_keeps_proxies_from_being_read_is_told() {
    let mesh = mesh();
    let provider = mesh.provider(target(), Measure::SuccessRate, Duration::from_secs(2));
    let read = async {
        tokio::task::yield_now().await;
        publish(&mesh, Err("no pod has a proxy".to_owned()));
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = provider.query("") => answer.unwrap_err().to_string(),
        () = read => unreachable!("it waits for ever"),
    };
    assert!(answer.contains("no pod has a proxy"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn readings_that_never_come_end_the_wait() {
    let mesh = mesh();
    let provider = mesh.provider(target(), Measure::SuccessRate, Duration::from_secs(2));
    provider.query("").await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_target_that_nobody_asks_about_is_forgotten() {
    let mesh = mesh();
    mesh.follow(&target());
    assert_eq!(mesh.targets().len(), 1);
    tokio::time::advance(IDLE).await;
    assert_eq!(mesh.targets().len(), 0);
}
