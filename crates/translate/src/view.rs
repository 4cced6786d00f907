//! What clients of one namespace see: services with their rules, and destinations resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{BLACK_HOLE, outbound_name};
use crate::registry::{Registry, Service};
use crate::rule::{Rule, Rules};
use crate::virtual_service::Destination;

/// A service with the rule that holds for it.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    pub(crate) service: Arc<Service>,
    pub(crate) rule: Option<Rule>,
}

/// What clients of one namespace, and with some labels, see.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) services: Vec<Visible>,
    by_host: BTreeMap<String, usize>,
}

/// A cluster that a route names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) subset: String,
}

impl Target {
    pub(crate) fn cluster(&self) -> String {
        outbound_name(self.port, &self.subset, &self.host)
    }
}

/// Why a destination leads nowhere.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    #[error("no service is known by the host `{0}`")]
    Host(String),
    #[error("the service has no port {0}")]
    Port(u16),
    #[error("the service has several ports, so `port.number` is needed")]
    AmbiguousPort,
    #[error("no DestinationRule for `{host}` has a subset `{subset}`")]
    Subset { host: String, subset: String },
}

impl View {
    pub(crate) fn new(
        registry: &Registry,
        rules: &Rules,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        let services: Vec<_> = registry
            .visible(namespace)
            .into_iter()
            .map(|service| {
                let rule = rules.find(&service, namespace, labels);
                Visible { service, rule }
            })
            .collect();
        let by_host = services
            .iter()
            .enumerate()
            .map(|(index, visible)| (visible.service.host.clone(), index))
            .collect();
        Self {
            namespace: namespace.to_owned(),
            labels: labels.clone(),
            services,
            by_host,
        }
    }

    /// The service of a host, or of a wildcard over it.
    pub(crate) fn find(&self, host: &str) -> Option<&Visible> {
        if let Some(index) = self.by_host.get(host) {
            return self.services.get(*index);
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(index) = self.by_host.get(&format!("*.{parent}")) {
                return self.services.get(*index);
            }
            rest = parent;
        }
        None
    }

    /// Whether a host is that of a service itself, and not only under a wildcard.
    pub(crate) fn is_service(&self, host: &str) -> bool {
        self.by_host.contains_key(host)
    }

    /// The cluster of a destination for requests that came to `port`, if that is known.
    pub(crate) fn resolve(
        &self,
        destination: &Destination,
        port: Option<u16>,
    ) -> Result<Target, Unresolved> {
        let host = &destination.host;
        let visible = self
            .find(host)
            .ok_or_else(|| Unresolved::Host(host.clone()))?;
        let service = &visible.service;
        let number = match (destination.port, service.ports.as_slice(), port) {
            (Some(number), _, _) => number,
            (None, [only], _) => only.number,
            (None, _, Some(port)) => port,
            (None, _, None) => return Err(Unresolved::AmbiguousPort),
        };
        if service.port(number).is_none() {
            return Err(Unresolved::Port(number));
        }
        let subset = &destination.subset;
        let subsets = visible.rule.as_ref().map(Rule::subsets);
        if !subset.is_empty() && !subsets.is_some_and(|subsets| subsets.contains_key(subset)) {
            return Err(Unresolved::Subset {
                host: host.clone(),
                subset: subset.clone(),
            });
        }
        Ok(Target {
            host: service.host.clone(),
            port: number,
            subset: subset.clone(),
        })
    }
}

/// Resolves the destinations of routes, and remembers which clusters they name.
#[derive(Debug)]
pub(crate) struct Resolver<'v> {
    pub(crate) view: &'v View,
    pub(crate) used: BTreeSet<Target>,
}

impl<'v> Resolver<'v> {
    pub(crate) const fn new(view: &'v View) -> Self {
        Self {
            view,
            used: BTreeSet::new(),
        }
    }

    /// The cluster of a destination; what leads nowhere fails, and does not go elsewhere.
    pub(crate) fn cluster(&mut self, destination: &Destination, port: u16) -> String {
        match self.view.resolve(destination, Some(port)) {
            Ok(target) => {
                let cluster = target.cluster();
                self.used.insert(target);
                cluster
            }
            Err(_) => BLACK_HOLE.to_owned(),
        }
    }
}
