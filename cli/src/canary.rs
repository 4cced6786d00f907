//! `fairlead canary …`: one file for each thing to do.

mod course;
mod explain;
mod follow;
mod get;
mod history;
mod manifest;
mod plan;
mod right;
mod simulate;
mod steer;
mod summary;
mod wait;
mod watch;

use anyhow::Result;
use fairlead_crds::canary::Canary;
use fairlead_rollout::{Verb, Weight};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

pub(crate) use self::manifest::Subject;
pub(crate) use self::simulate::Replay;

use self::wait::Until;
use crate::args::{About, Command, Connection, Output, Steer};
use crate::cluster::{Cluster, Error};
use crate::exit::Exit;

/// Does what was asked for.
pub(crate) async fn run(about: About, connection: &Connection, output: Output) -> Result<Exit> {
    let command = match about {
        About::Real(command) => command,
        // What stands in files needs no cluster.
        About::Simulate(replay) => {
            return Box::pin(simulate::run(&replay, connection, output)).await;
        }
    };
    let canaries = Canaries::connect(connection).await?;
    let steer = |steer: Steer, verb| steer::run(&canaries, steer, verb, output);
    match command {
        Command::Get {
            name: Some(name), ..
        } => get::one(&canaries, &name, output).await,
        Command::Get { all_namespaces, .. } => get::all(&canaries, all_namespaces, output).await,
        Command::Watch { name } => watch::run(&canaries, name.as_deref(), output).await,
        Command::Explain { name } => explain::run(&canaries, &name, output).await,
        Command::History { name } => history::run(&canaries, &name, output).await,
        Command::Plan(subject) => plan::run(&canaries, &subject, output).await,
        Command::Wait {
            name,
            revision,
            baked,
            timeout,
        } => {
            let until = if baked { Until::Baked } else { Until::Ended };
            wait::run(&canaries, &name, revision.as_deref(), until, timeout).await
        }
        Command::Pause(which) => steer(which, Verb::Pause).await,
        Command::Resume(which) => steer(which, Verb::Resume).await,
        Command::Promote { steer: which, full } => {
            let verb = if full {
                Verb::PromoteFull
            } else {
                Verb::Promote
            };
            steer(which, verb).await
        }
        Command::Abort(which) => steer(which, Verb::Abort).await,
        Command::Retry(which) => steer(which, Verb::Retry).await,
        Command::RollbackTo {
            steer: which,
            revision,
        } => steer(which, Verb::RollbackTo(revision)).await,
        Command::Adopt(which) => steer(which, Verb::Adopt).await,
        Command::SetWeight {
            steer: which,
            weight,
        } => steer(which, Verb::SetWeight(Weight::clamped(weight.into()))).await,
    }
}

/// The Canaries of a namespace.
struct Canaries {
    cluster: Cluster,
    api: Api<Canary>,
}

impl Canaries {
    async fn connect(connection: &Connection) -> Result<Self, Error> {
        let cluster = Cluster::connect(connection).await?;
        let api = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        Ok(Self { cluster, api })
    }

    /// All of the namespace.
    async fn list(&self) -> Result<Vec<Canary>, Error> {
        let list = self.api.list(&ListParams::default()).await;
        let what = format!("list Canaries in `{}`", self.cluster.namespace);
        list.map(|list| list.items)
            .map_err(|source| self.cluster.explain(source, &what))
    }

    /// One by its name, or what there is instead.
    async fn read(&self, name: &str) -> Result<Canary, Error> {
        let what = format!("read Canary `{}/{name}`", self.cluster.namespace);
        let found = self.api.get_opt(name).await;
        if let Some(canary) = found.map_err(|source| self.cluster.explain(source, &what))? {
            return Ok(canary);
        }
        let names: Vec<String> = self
            .list()
            .await?
            .iter()
            .map(|canary| format!("`{}`", canary.name_any()))
            .collect();
        let others = if names.is_empty() {
            "its namespace has none; choose another one with --namespace".to_owned()
        } else {
            format!("its namespace has {}", names.join(", "))
        };
        Err(Error::Absent {
            namespace: self.cluster.namespace.clone(),
            name: name.to_owned(),
            others,
        })
    }
}
