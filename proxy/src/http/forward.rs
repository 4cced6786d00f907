//! The forwarding of one request: endpoint, connection, attempts, and the head of the response.

use std::net::SocketAddr;
use std::rc::Rc;

use fairlead_xds::resource::listener::Direction;
use fairlead_xds::resource::route::HostRewrite;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Response};

use super::affinity::{self, Affinity};
use super::body;
use super::connection::{FailureKind, Received, Version};
use super::exchange::{Exchange, Upstream};
use super::head::Head;
use super::replay::Replay;
use super::respond::Error;
use super::retry::{Outcome, Policy};
use super::router::{Answer, Context, Failed};
use super::upgrade::{self, Wish};
use super::upstream::{Lease, Ticket};
use super::{headers, mirror, request};
use crate::cluster::{Cluster, Refusal};
use crate::config::mutation::Facts;
use crate::config::route::{Forwarding, Share, VirtualHost};
use crate::telemetry::Flag;
use crate::telemetry::peer::{PEER_HEADER, PEER_ID_HEADER};

/// Attempts that are repeated without counting as retries, when a connection from the pool turned
/// out to be closed: several may have been.
const STALE_CONNECTIONS: u32 = 8;

/// The forwarding of one request.
#[derive(Debug)]
pub struct Forward<'r> {
    context: &'r Rc<Context>,
    rules: &'r Forwarding,
    share: &'r Share,
    host: &'r VirtualHost,
    cluster: Rc<Cluster>,
}

impl<'r> Forward<'r> {
    /// Forwards to the cluster of `share`, as `rules` say.
    pub fn new(
        context: &'r Rc<Context>,
        rules: &'r Forwarding,
        share: &'r Share,
        host: &'r VirtualHost,
    ) -> Result<Self, Error> {
        let cluster = context
            .worker
            .cluster(&share.cluster)
            .ok_or(Error::ClusterNotFound)?;
        Ok(Self {
            context,
            rules,
            share,
            host,
            cluster,
        })
    }

    /// Sends a request, again if need be, and gives the head of the response.
    pub async fn run(
        &self,
        exchange: &mut Exchange,
        parts: http::request::Parts,
        authority: &str,
        body: Received,
        wish: Option<Wish>,
    ) -> Result<Answer, Failed> {
        exchange.upstream = Some(Upstream {
            cluster: Rc::clone(&self.cluster),
            host: None,
            local: None,
        });
        let is_grpc = exchange.is_grpc();
        let timeout = match request::grpc_timeout(&parts.headers) {
            Some(asked) if is_grpc && self.rules.max_grpc_timeout.is_some() => {
                let limit = self.rules.max_grpc_timeout.filter(|limit| !limit.is_zero());
                Some(limit.map_or(asked, |limit| limit.min(asked)))
            }
            _ => self.rules.timeout,
        };
        let deadline = body::deadline(exchange.started(), timeout.filter(|_| wish.is_none()));
        let mut head = self.head(parts, authority);
        if let Some(wish) = &wish {
            wish.mark(&mut head.headers);
        }
        let body = Replay::new(body);
        exchange.count_body(body.share());
        let affinity = self.affinity(&head);
        let outbound = Outbound {
            head: &head,
            body: &body,
            is_upgrade: wish.is_some(),
            key: affinity.key,
        };
        let attempts = self.attempts(exchange, &outbound);
        let result = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, attempts)
                .await
                .unwrap_or_else(|_elapsed| Err(Error::Timeout.into())),
            None => attempts.await,
        };
        if !self.rules.mirrors.is_empty()
            && let Some(whole) = body.whole()
        {
            mirror::send(self.context, &self.rules.mirrors, &head, &whole);
        }
        let (mut response, lease) = result.inspect_err(|_failed| body.abandon())?;
        self.finish_response(exchange, &mut response, wish.is_some());
        if let Some(cookie) = affinity.cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(match wish {
            Some(wish) if upgrade::is_granted(response.status()) => Answer::Upgraded {
                response,
                lease,
                wish,
            },
            _ => Answer::Upstream {
                response,
                lease,
                deadline,
            },
        })
    }

    fn affinity(&self, head: &Head) -> Affinity {
        if self.rules.hash.is_empty() {
            return Affinity::default();
        }
        let remote = self.context.downstream.remote.ip();
        let request = affinity::Request {
            headers: &head.headers,
            path: head.path.as_str(),
            remote,
        };
        affinity::bind(&self.rules.hash, request, self.context.worker.roll())
    }

    /// The head as the route changes it.
    fn head(&self, parts: http::request::Parts, authority: &str) -> Head {
        let Self {
            context,
            rules,
            share,
            host,
            ..
        } = self;
        let http::request::Parts {
            method,
            uri,
            mut headers,
            ..
        } = parts;
        headers.remove(header::HOST);
        let path = uri.path_and_query().cloned();
        let mut path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let remote = context.downstream.remote.ip();
        let new_host = share
            .headers
            .request
            .apply(&mut headers, Some(Facts { remote }));
        if let Some(rewriter) = &rules.rewriter {
            let rewritten = rewriter.rewrite(path.as_str());
            if let (Ok(before), Ok(after)) = (
                HeaderValue::from_str(path.as_str()),
                rewritten.parse::<PathAndQuery>(),
            ) {
                headers.insert(headers::ORIGINAL_PATH, before);
                path = after;
            }
        }
        let new_host = new_host.as_ref().and_then(|host| host.to_str().ok());
        let literal = match &rules.host {
            Some(HostRewrite::Literal(host)) => Some(host.as_str()),
            Some(HostRewrite::Endpoint) | None => None,
        };
        let authority = share
            .host
            .as_deref()
            .or(literal)
            .or(new_host)
            .unwrap_or(authority);
        Head {
            method,
            authority: authority.to_owned(),
            path,
            headers,
            count_attempts: host.include_attempt_count,
        }
    }

    async fn attempts(
        &self,
        exchange: &mut Exchange,
        outbound: &Outbound<'_>,
    ) -> Result<(Response<Received>, Lease), Failed> {
        let Outbound { head, body, .. } = outbound;
        let retry = self.rules.retry.as_ref();
        let mut tried: Vec<SocketAddr> = Vec::new();
        let (mut retries, mut stale) = (0, 0);
        loop {
            let attempt = self.attempt(exchange, outbound, &tried, retries + 1);
            let attempt = match retry.and_then(|policy| policy.per_try_timeout) {
                Some(limit) => tokio::time::timeout(limit, attempt)
                    .await
                    .unwrap_or_else(|_elapsed| Err((Error::PerTryTimeout, Reuse::No))),
                None => attempt.await,
            };
            if let Err((error, reuse)) = &attempt
                && stale < STALE_CONNECTIONS
                && body.is_repeatable()
                && is_stale(error, *reuse, &head.method)
            {
                stale += 1;
                continue;
            }
            self.judge_host(
                exchange,
                attempt.as_ref().ok().map(|(response, _)| response),
            );
            let wanted = retry.filter(|policy| wants(policy, exchange, &attempt));
            let again = wanted.filter(|policy| retries < policy.retries && body.is_repeatable());
            let Some(policy) = again else {
                let exhausted = wanted.is_some() && retries > 0;
                if exhausted && attempt.is_ok() {
                    exchange.flags.set(Flag::UpstreamRetryLimitExceeded);
                }
                let retried = retries > 0;
                return attempt.map_err(|(error, _)| Failed {
                    error,
                    retried,
                    exhausted,
                });
            };
            drop(attempt);
            retries += 1;
            if policy.avoid_previous
                && let Some(host) = exchange.upstream.as_ref().and_then(|u| u.host.as_ref())
            {
                tried.push(host.address);
            }
            tokio::time::sleep(policy.backoff(retries, self.context.worker.roll())).await;
        }
    }

    async fn attempt(
        &self,
        exchange: &mut Exchange,
        outbound: &Outbound<'_>,
        tried: &[SocketAddr],
        number: u32,
    ) -> Attempt {
        let Context {
            worker, downstream, ..
        } = &**self.context;
        let Outbound {
            head,
            body,
            is_upgrade,
            key,
        } = outbound;
        // Endpoints may have changed since the last attempt.
        let cluster = worker
            .cluster(&self.share.cluster)
            .unwrap_or_else(|| Rc::clone(&self.cluster));
        let now = fairlead_runtime::clock::instant();
        let host = cluster
            .choose(downstream.destination, tried, *key, now, || worker.roll())
            .map_err(|refusal| (refusal.into(), Reuse::No))?;
        let version = if *is_upgrade {
            Version::Http1
        } else {
            cluster.config.version(downstream.version)
        };
        let authority = match self.rules.host {
            Some(HostRewrite::Endpoint) if !host.hostname.is_empty() => &host.hostname,
            _ => &head.authority,
        };
        let request = head.request(self.context, &host, version, authority, number);
        let request = request.map(|()| body.attempt());
        let ticket = Ticket::new(&cluster, Rc::clone(&host));
        exchange.upstream = Some(Upstream {
            cluster: Rc::clone(&cluster),
            host: Some(host),
            local: None,
        });
        let lease = if *is_upgrade {
            Lease::open(ticket, &cluster, downstream).await
        } else {
            Lease::acquire(ticket, &cluster, version, downstream).await
        };
        let mut lease = lease.map_err(|error| (error, Reuse::No))?;
        let sent = lease.send(request, Some(body.share())).await;
        let response = sent.map_err(|failure| {
            let reuse = if lease.reused { Reuse::Yes } else { Reuse::No };
            (Error::Upstream(failure.kind), reuse)
        })?;
        exchange.answered = Some(fairlead_runtime::clock::instant());
        Ok((response, lease))
    }

    /// Tells outlier detection how an attempt ended.
    fn judge_host(&self, exchange: &Exchange, response: Option<&Response<Received>>) {
        let Some(rules) = &self.cluster.config.spec.outlier_detection else {
            return;
        };
        let Some(host) = exchange.upstream.as_ref().and_then(|u| u.host.as_ref()) else {
            return;
        };
        let now = fairlead_runtime::clock::instant();
        let hosts = self.cluster.hosts();
        let ejected = hosts
            .iter()
            .filter(|host| host.health.is_ejected(now))
            .count();
        let status = response.map_or(503, |response| response.status().as_u16());
        host.health
            .record(status, rules, (hosts.len(), ejected), now);
    }

    fn finish_response(
        &self,
        exchange: &mut Exchange,
        response: &mut Response<Received>,
        upgrade: bool,
    ) {
        exchange.see_response(response.status(), response.headers());
        exchange.details = "via_upstream".into();
        let granted = upgrade && upgrade::is_granted(response.status());
        let spec = &self.context.filter.spec;
        let headers = response.headers_mut();
        if !granted {
            headers::remove_hop_by_hop(headers);
        }
        headers.remove(PEER_HEADER);
        headers.remove(PEER_ID_HEADER);
        if let Some(answered) = exchange.answered {
            let time = answered
                .saturating_duration_since(exchange.started())
                .as_millis();
            let time = u64::try_from(time).unwrap_or(u64::MAX);
            headers.insert(headers::SERVICE_TIME, HeaderValue::from(time));
        }
        if self.context.downstream.direction != Direction::Inbound
            && !spec.server_name.is_empty()
            && let Ok(name) = HeaderValue::from_str(&spec.server_name)
        {
            headers.insert(header::SERVER, name);
        }
        self.share.headers.response.apply(headers, None);
    }
}

/// A request as all attempts send it.
#[derive(Debug)]
struct Outbound<'a> {
    head: &'a Head,
    body: &'a Replay,
    is_upgrade: bool,
    key: Option<u64>,
}

type Attempt = Result<(Response<Received>, Lease), (Error, Reuse)>;

fn wants(policy: &Policy, exchange: &Exchange, attempt: &Attempt) -> bool {
    policy.wants(match attempt {
        Ok((response, _)) => Outcome::Answer {
            status: response.status(),
            grpc: exchange.grpc_status_of(response.headers()),
            overloaded: response.headers().contains_key(headers::OVERLOADED),
        },
        Err((error, _)) => Outcome::Failed(error),
    })
}

/// Whether the connection of a failed attempt had been used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Yes,
    No,
}

/// Whether an attempt failed only because a pooled connection was at its end: then it is repeated
/// on another one. A request that may have been read is repeated only if that is harmless
/// (RFC 9110, section 9.2.2).
fn is_stale(error: &Error, reuse: Reuse, method: &Method) -> bool {
    match error {
        Error::Upstream(FailureKind::NotProcessed) => reuse == Reuse::Yes,
        Error::Upstream(FailureKind::Closed) => reuse == Reuse::Yes && method.is_idempotent(),
        _ => false,
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoHealthyUpstream => Self::NoHealthyUpstream,
            Refusal::Overflow => Self::Overflow,
        }
    }
}
