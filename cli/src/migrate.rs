//! `fairlead migrate …`: what a move to Fairlead would mean. Changes nothing.

mod argument;
mod draw;
mod flagger;
mod setting;
mod verdict;

use anyhow::Result;
use fairlead_crds::canary::Canary;
use fairlead_operator::canary::forecast::{Forecaster, rival};
use fairlead_operator::canary::takeover;
use fairlead_operator::canary::validate::Limits;
use fairlead_runtime::clock;
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use serde::Serialize;

use self::flagger::Flagger;
use self::verdict::Verdict;
use crate::args::{Connection, Output, Source};
use crate::cluster::{Cluster, Error};
use crate::exit::Exit;
use crate::output::print;

/// Canaries that are looked at at a time: each costs a dozen requests.
const SIDE_BY_SIDE: usize = 8;
/// Flagger's lease, and where it is unless a flag says otherwise.
const LEASE: (&str, &str) = ("kube-system", "flagger-leader-election");

/// What a move would mean.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Whether nothing needs a person.
    ready: bool,
    flaggers: Vec<Flagger>,
    /// Who leads among Flagger's replicas, if one does.
    leader: Option<String>,
    canaries: Vec<Verdict>,
    /// What to do, in order.
    next: Vec<String>,
}

/// Checks and reports.
pub(crate) async fn run(source: Source, connection: &Connection, output: Output) -> Result<Exit> {
    let Source::Flagger = source;
    let cluster = Cluster::connect(connection).await?;
    let report = check(&cluster, connection.namespace.as_deref()).await?;
    print(output, &report, |style| draw::draw(&report, style))?;
    Ok(if report.ready {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

async fn check(cluster: &Cluster, namespace: Option<&str>) -> Result<Report, Error> {
    let canaries = list(cluster, namespace).await?;
    let found = takeover::flaggers(&cluster.client).await;
    let found = found.map_err(|source| cluster.explain(source, "list Deployments everywhere"))?;
    let flaggers: Vec<Flagger> = found.iter().map(Flagger::read).collect();
    let leader = leader(cluster, &flaggers).await?;
    let canaries = judge(cluster, &canaries, &flaggers).await;
    let is_told = flaggers
        .iter()
        .all(|flagger| flagger.gaps().next().is_none());
    Ok(Report {
        ready: is_told && canaries.iter().all(|canary| canary.ready),
        next: next(&flaggers, &canaries),
        flaggers,
        leader,
        canaries,
    })
}

async fn list(
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Result<Vec<DeserializeGuard<Canary>>, Error> {
    let client = cluster.client.clone();
    let api = namespace.map_or_else(
        || Api::all(client.clone()),
        |namespace| Api::namespaced(client.clone(), namespace),
    );
    let list = api.list(&ListParams::default()).await;
    list.map(|list| list.items)
        .map_err(|source| cluster.explain(source, "list Canaries"))
}

/// Who holds Flagger's lease.
async fn leader(cluster: &Cluster, flaggers: &[Flagger]) -> Result<Option<String>, Error> {
    let told = flaggers
        .iter()
        .find_map(|flagger| flagger.told("-leader-election-namespace"));
    let (namespace, name) = (told.unwrap_or(LEASE.0), LEASE.1);
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found
        .map_err(|source| cluster.explain(source, &format!("read Lease `{namespace}/{name}`")))?;
    let spec = found.and_then(|lease| lease.spec).unwrap_or_default();
    Ok(holder(spec, clock::now()))
}

/// Who holds a lease that is not over.
fn holder(lease: LeaseSpec, now: Timestamp) -> Option<String> {
    let seconds = i64::from(lease.lease_duration_seconds?);
    let over = lease.renew_time?.0 + SignedDuration::from_secs(seconds);
    let holder = lease.holder_identity?;
    (now < over && !holder.is_empty()).then_some(holder)
}

async fn judge(
    cluster: &Cluster,
    canaries: &[DeserializeGuard<Canary>],
    flaggers: &[Flagger],
) -> Vec<Verdict> {
    let server = flaggers.iter().find_map(Flagger::metrics_server);
    let forecaster = Forecaster::new(&cluster.client, server);
    let default = flaggers
        .iter()
        .find_map(|flagger| flagger.told("-mesh-provider"));
    let readable: Vec<&Canary> = canaries
        .iter()
        .filter_map(|one| one.0.as_ref().ok())
        .collect();
    let judged = canaries.iter().map(|guarded| {
        let (forecaster, readable) = (&forecaster, &readable);
        async move {
            match &guarded.0 {
                Ok(canary) => judge_one(forecaster, canary, readable, default).await,
                Err(invalid) => Verdict::unreadable(
                    guarded.namespace().unwrap_or_default(),
                    guarded.name_any(),
                    &invalid.error,
                ),
            }
        }
    });
    stream::iter(judged).buffered(SIDE_BY_SIDE).collect().await
}

async fn judge_one(
    forecaster: &Forecaster,
    canary: &Canary,
    all: &[&Canary],
    default_provider: Option<&str>,
) -> Verdict {
    let mut found = Vec::new();
    if let Some(rival) = rival(canary, all.iter().copied()) {
        found.push(rival.to_string());
    }
    // It is judged as it will be by the values above.
    let limits = Limits {
        provider: default_provider.unwrap_or_default().to_owned(),
        ..Limits::default()
    };
    let forecast = forecaster.forecast(canary, &limits, clock::now());
    Verdict::new(canary, forecast.await, found)
}

/// What to do, in order.
fn next(flaggers: &[Flagger], canaries: &[Verdict]) -> Vec<String> {
    let mut steps = Vec::new();
    let waits = canaries.iter().filter(|canary| !canary.ready).count();
    if waits > 0 {
        steps.push(format!(
            "put right, or decide on, the {waits} that need attention; a run in flight may end \
             under Flagger first"
        ));
    }
    let secrets: Vec<String> = flaggers.iter().filter_map(Flagger::make_secret).collect();
    if !secrets.is_empty() {
        steps.push("kubectl create namespace fairlead-system".to_owned());
    }
    steps.extend(secrets);
    steps.extend(
        flaggers
            .iter()
            .filter(|flagger| flagger.runs)
            .map(|flagger| {
                let Flagger {
                    namespace, name, ..
                } = flagger;
                format!("kubectl scale deployment {name} -n {namespace} --replicas 0")
            }),
    );
    steps.push(
        "helm install fairlead charts/fairlead -n fairlead-system --create-namespace \
         --take-ownership -f values.yaml, with the values above (it takes over the CRDs that are \
         there)"
            .to_owned(),
    );
    steps
}

#[cfg(test)]
mod tests;
