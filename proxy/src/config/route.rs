//! Route configurations, compiled; no IO.

use std::sync::Arc;
use std::time::Duration;

use fairlead_routing::rewrite::Rewriter;
use fairlead_routing::{HostTable, Request, Table, host::PortMatch};
use fairlead_xds::resource::route::{
    Action, Forward, HashKey, HostRewrite, Mirror, Redirect, RedirectPath, Route as Spec,
    RouteConfiguration, VirtualHost as HostSpec,
};

use super::Error;
use super::mutation::Mutations;
use crate::http::fault::Fault;
use crate::http::headers::Cors;
use crate::http::retry::Policy;

/// A route configuration.
#[derive(Debug)]
pub struct Routes {
    /// What the control plane said.
    pub spec: RouteConfiguration,
    hosts: HostTable,
    virtual_hosts: Vec<VirtualHost>,
}

/// A virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// All requests must come over TLS.
    pub require_tls: bool,
    /// The upstream is told the attempt's number.
    pub include_attempt_count: bool,
    table: Table,
    routes: Vec<Route>,
}

/// A route.
#[derive(Debug)]
pub struct Route {
    /// Its name, for the log.
    pub name: Arc<str>,
    /// What happens to requests.
    pub target: Target,
    /// Faults instead of the listener's.
    pub fault: Option<Fault>,
    /// Cross-origin rules instead of the listener's.
    pub cors: Option<Cors>,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Target {
    /// It is forwarded.
    Forward(Box<Forwarding>),
    /// It is redirected.
    Redirect {
        /// How.
        redirect: Redirect,
        /// The new path, where it is a rewrite of the old one.
        rewriter: Option<Rewriter>,
        /// Headers changed on the answer.
        headers: Mutations,
    },
    /// It is answered.
    Respond {
        /// The status.
        status: http::StatusCode,
        /// The body.
        body: bytes::Bytes,
        /// Headers changed on the answer.
        headers: Mutations,
    },
}

/// How requests are forwarded.
#[derive(Debug)]
pub struct Forwarding {
    /// Clusters with their shares.
    pub clusters: Vec<Share>,
    /// Change of the path.
    pub rewriter: Option<Rewriter>,
    /// New authority.
    pub host: Option<HostRewrite>,
    /// Limit for the whole exchange.
    pub timeout: Option<Duration>,
    /// What the client's `grpc-timeout` may be at most; zero takes it as it is.
    pub max_grpc_timeout: Option<Duration>,
    /// When to try again.
    pub retry: Option<Policy>,
    /// Copies.
    pub mirrors: Vec<Mirror>,
    /// What binds a request to an endpoint.
    pub hash: Vec<HashKey>,
}

/// A cluster with its share.
#[derive(Debug)]
pub struct Share {
    /// The cluster.
    pub cluster: String,
    /// Its part of the sum of all.
    pub weight: u32,
    /// New authority for its share.
    pub host: Option<String>,
    /// Headers changed, of all levels.
    pub headers: Mutations,
}

/// Envoy's limit where a route has none of its own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

impl Routes {
    /// Compiles a configuration.
    pub fn compile(spec: &RouteConfiguration) -> Result<Self, Error> {
        let port = if spec.ignore_port_in_host {
            PortMatch::Ignore
        } else {
            PortMatch::Exact
        };
        let domains = spec
            .virtual_hosts
            .iter()
            .enumerate()
            .flat_map(|(index, host)| {
                host.domains
                    .iter()
                    .map(move |domain| (domain.as_str(), index))
            });
        Ok(Self {
            spec: spec.clone(),
            hosts: HostTable::new(port, domains).map_err(Error::Domains)?,
            virtual_hosts: spec
                .virtual_hosts
                .iter()
                .map(|host| VirtualHost::compile(spec, host))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The virtual host and route of a request.
    pub fn find(
        &self,
        authority: &str,
        request: &impl Request,
    ) -> Option<(&VirtualHost, Option<&Route>)> {
        let host = self.virtual_hosts.get(self.hosts.find(authority)?)?;
        let route = host
            .table
            .find(request)
            .and_then(|index| host.routes.get(index));
        Some((host, route))
    }
}

impl VirtualHost {
    fn compile(configuration: &RouteConfiguration, spec: &HostSpec) -> Result<Self, Error> {
        let regex = |source| Error::Regex {
            host: spec.name.clone(),
            source,
        };
        let table =
            Table::compile(spec.routes.iter().map(|route| &route.matches)).map_err(regex)?;
        let routes = spec
            .routes
            .iter()
            .map(|route| Route::compile(configuration, spec, route));
        Ok(Self {
            name: spec.name.clone(),
            require_tls: spec.require_tls,
            include_attempt_count: spec.include_attempt_count,
            table,
            routes: routes.collect::<Result<_, _>>()?,
        })
    }
}

impl Route {
    fn compile(
        configuration: &RouteConfiguration,
        host: &HostSpec,
        spec: &Spec,
    ) -> Result<Self, Error> {
        let levels = [&spec.headers, &host.headers, &configuration.headers];
        let regex = |source| Error::Regex {
            host: host.name.clone(),
            source,
        };
        let target = match &spec.action {
            Action::Forward(forward) => {
                let rewriter = forward
                    .path
                    .as_ref()
                    .map(|path| path.compile(&spec.matches.path));
                let rewriter = rewriter.transpose().map_err(regex)?;
                Target::Forward(Box::new(Forwarding::compile(forward, rewriter, &levels)?))
            }
            Action::Redirect(redirect) => {
                let rewriter = match &redirect.path {
                    Some(RedirectPath::Rewrite(path)) => {
                        Some(path.compile(&spec.matches.path).map_err(regex)?)
                    }
                    Some(RedirectPath::Full(_)) | None => None,
                };
                let headers = Mutations::compile(levels)?;
                Target::Redirect {
                    redirect: redirect.clone(),
                    rewriter,
                    headers,
                }
            }
            Action::Respond { status, body } => Target::Respond {
                status: http::StatusCode::from_u16(*status)
                    .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR),
                body: match body {
                    Some(fairlead_xds::resource::route::Body::Text(text)) => text.clone().into(),
                    Some(fairlead_xds::resource::route::Body::Bytes(bytes)) => bytes.clone().into(),
                    None => bytes::Bytes::new(),
                },
                headers: Mutations::compile(levels)?,
            },
        };
        Ok(Self {
            name: spec.name.as_str().into(),
            target,
            fault: spec
                .fault
                .as_ref()
                .map(Fault::compile)
                .transpose()
                .map_err(regex)?,
            cors: spec
                .cors
                .as_ref()
                .map(Cors::compile)
                .transpose()
                .map_err(regex)?,
        })
    }
}

impl Forwarding {
    fn compile(
        spec: &Forward,
        rewriter: Option<Rewriter>,
        levels: &[&fairlead_xds::resource::route::HeaderMutations; 3],
    ) -> Result<Self, Error> {
        let clusters = spec.clusters.iter().map(|share| {
            Ok(Share {
                cluster: share.name.clone(),
                weight: share.weight,
                host: share.host.clone(),
                headers: Mutations::compile(
                    std::iter::once(&share.headers).chain(levels.iter().copied()),
                )?,
            })
        });
        let timeout = spec.timeout.unwrap_or(DEFAULT_TIMEOUT);
        Ok(Self {
            clusters: clusters.collect::<Result<_, Error>>()?,
            rewriter,
            host: spec.host.clone(),
            timeout: (!timeout.is_zero()).then_some(timeout),
            max_grpc_timeout: spec.max_grpc_timeout,
            retry: spec
                .retry
                .as_ref()
                .map(Policy::compile)
                .filter(|policy| policy.retries > 0),
            mirrors: spec.mirrors.clone(),
            hash: spec.hash.clone(),
        })
    }
}
