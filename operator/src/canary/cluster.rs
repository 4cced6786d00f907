//! What Canaries are about, as one client shows it and changes it.

use kube::Client;

use super::execute::Executor;
use super::observe::{Observer, World};
use super::takeover::Incumbent;
use super::validate::Validated;
use crate::router::Routers;
use crate::workload::Workloads;

/// A client, and all that is known through it.
#[derive(Clone)]
pub(super) struct Cluster {
    /// Its API server.
    pub(super) client: Client,
    workloads: Workloads,
    routers: Routers,
}

impl Cluster {
    /// Uses `client`.
    pub(super) fn new(client: Client) -> Self {
        Self {
            workloads: Workloads::new(&client),
            routers: Routers::new(&client),
            client,
        }
    }

    /// Reads what concerns one Canary; `invalid` says what is wrong with its spec, when the plan is
    /// that of an earlier one.
    pub(super) fn observer<'a>(
        &'a self,
        plan: &'a Validated,
        invalid: Option<&'a str>,
        incumbent: Incumbent,
    ) -> Observer<'a> {
        Observer {
            client: &self.client,
            workload: self.workloads.of(plan.kind),
            router: self.routers.of(plan.route.provider),
            plan,
            invalid,
            incumbent,
        }
    }

    /// Changes what concerns one Canary, as it was seen.
    pub(super) fn executor<'a>(&'a self, plan: &'a Validated, world: &'a World) -> Executor<'a> {
        Executor {
            client: &self.client,
            workload: self.workloads.of(plan.kind),
            router: self.routers.of(plan.route.provider),
            plan,
            world,
        }
    }
}
