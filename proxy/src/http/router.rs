//! A request's way: from its arrival to the head of its response.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fairlead_xds::resource::listener::RouteSource;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version as HttpVersion};
use tokio::time::Instant;

use super::body::Reply;
use super::connection::{Pending, Received};
use super::exchange::Exchange;
use super::forward::Forward;
use super::redirect;
use super::request::{self, View, path_of};
use super::respond::{self, Dialect, Error};
use super::sanitize::sanitize;
use super::upgrade::{self, Wish};
use super::upstream::Lease;
use crate::config::Routes;
use crate::config::listener::Http;
use crate::config::route::{Forwarding, Route, Share, Target};
use crate::downstream::Downstream;
use crate::drain::Drain;
use crate::telemetry::Flag;
use crate::worker::Worker;

/// What all requests of one connection have in common.
#[derive(Debug)]
pub struct Context {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The connection.
    pub downstream: Rc<Downstream>,
    /// How its HTTP is served.
    pub filter: Arc<Http>,
    /// Whether the peer should leave.
    pub drain: Drain,
}

/// Answers a request, with an upstream's response or one of our own.
pub async fn respond(context: Rc<Context>, request: Request<Received>) -> Response<Reply> {
    let mut exchange = Box::new(Exchange::begin(
        &context.worker,
        &context.downstream,
        &request,
    ));
    let version = request.version();
    let mut response = match handle(&context, &mut exchange, request).await {
        Ok(Answer::Upstream {
            response,
            lease,
            deadline,
        }) => {
            let (parts, body) = response.into_parts();
            Response::from_parts(parts, Reply::upstream(body, lease, exchange, deadline))
        }
        Ok(Answer::Upgraded {
            response,
            lease,
            wish,
        }) => wish.grant(response, lease, exchange, context.drain.clone()),
        Ok(Answer::Local { response, details }) => {
            exchange.details = details.into();
            local(response, exchange)
        }
        Err(Failed {
            error,
            retried,
            exhausted,
        }) => {
            let dialect = if exchange.is_grpc() {
                Dialect::Grpc
            } else {
                Dialect::Http
            };
            exchange.flags = respond::flags(&error, exhausted, exchange.flags);
            exchange.details = error.details();
            if let Error::Connect(why) = &error {
                exchange.transport_failure.clone_from(why);
            }
            local(respond::respond(&error, retried, dialect), exchange)
        }
    };
    if version != HttpVersion::HTTP_2
        && context.drain.is_started()
        && !upgrade::is_granted(response.status())
    {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn local(response: Response<Bytes>, mut exchange: Box<Exchange>) -> Response<Reply> {
    exchange.see_response(response.status(), response.headers());
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, Reply::local(body, Some(exchange)))
}

/// How a request was answered.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields say it")]
pub enum Answer {
    /// By an upstream.
    Upstream {
        response: Response<Received>,
        lease: Lease,
        deadline: Option<Instant>,
    },
    /// By an upstream that agreed to an upgrade.
    Upgraded {
        response: Response<Received>,
        lease: Lease,
        wish: Wish,
    },
    /// By ourselves.
    Local {
        response: Response<Bytes>,
        details: &'static str,
    },
}

impl Answer {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Upstream { response, .. } | Self::Upgraded { response, .. } => {
                response.headers_mut()
            }
            Self::Local { response, .. } => response.headers_mut(),
        }
    }
}

/// Why it was not, after how much effort.
#[derive(Debug)]
pub struct Failed {
    /// What went wrong last.
    pub error: Error,
    /// It was tried more than once.
    pub retried: bool,
    /// No retry was left.
    pub exhausted: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            retried: false,
            exhausted: false,
        }
    }
}

async fn handle(
    context: &Rc<Context>,
    exchange: &mut Exchange,
    mut request: Request<Received>,
) -> Result<Answer, Failed> {
    let authority = request::authority(&request).ok_or(Error::MissingHost)?;
    let wish = wish(context, &mut request)?;
    let (mut parts, body) = request.into_parts();
    sanitize(context, exchange, &mut parts);
    exchange.see_request(&parts.headers);

    let is_tls = context.downstream.is_tls;
    let target = Asked {
        authority: &authority,
        scheme: if is_tls { "https" } else { "http" },
    };
    let routes = routes(context).ok_or(Error::RouteNotFound)?;
    let found = routes.find(&authority, &target.view(&parts));
    let (host, route) = found.ok_or(Error::RouteNotFound)?;
    if host.require_tls && !is_tls {
        let location = format!("https://{authority}{}", path_of(&parts.uri));
        return Ok(redirect_to(StatusCode::MOVED_PERMANENTLY, &location));
    }
    let route = route.ok_or(Error::RouteNotFound)?;
    exchange.route = Arc::clone(&route.name);
    let cors = route.cors.as_ref();
    if let Some((status, answer)) =
        cors.and_then(|cors| cors.preflight(&parts.method, &parts.headers))
    {
        let mut response = respond::plain(status, Bytes::new());
        response.headers_mut().extend(answer);
        return Ok(Answer::Local {
            response,
            details: "cors.preflight",
        });
    }
    let origin = cors.and_then(|cors| Some((cors, cors.allowed_origin(&parts.headers)?)));
    inject_fault(context, exchange, route, &target.view(&parts)).await?;

    let mut answer = match &route.target {
        Target::Forward(rules) => {
            let share = choose_share(&context.worker, rules).ok_or(Error::ClusterNotFound)?;
            let forward = Forward::new(context, rules, share, host)?;
            forward.run(exchange, parts, &authority, body, wish).await?
        }
        Target::Respond {
            status,
            body,
            headers,
        } => {
            let mut response = respond::plain(*status, body.clone());
            headers.response.apply(response.headers_mut(), None);
            Answer::Local {
                response,
                details: "direct_response",
            }
        }
        Target::Redirect {
            redirect,
            rewriter,
            headers,
        } => {
            let Asked { authority, scheme } = target;
            let location =
                redirect::location(redirect, rewriter.as_ref(), &parts.uri, authority, scheme);
            let status = StatusCode::from_u16(redirect.status.code());
            let mut answer = redirect_to(status.unwrap_or(StatusCode::FOUND), &location);
            headers.response.apply(answer.headers_mut(), None);
            answer
        }
    };
    if let Some((cors, origin)) = origin {
        cors.mark(origin, answer.headers_mut());
    }
    Ok(answer)
}

/// The scheme and authority that a request asks for.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    authority: &'a str,
    scheme: &'a str,
}

impl<'a> Asked<'a> {
    fn view(self, parts: &'a http::request::Parts) -> View<'a> {
        View::new(parts, self.authority, self.scheme)
    }
}

/// The upgrade that a request wants, if it may have it.
fn wish(context: &Context, request: &mut Request<Received>) -> Result<Option<Wish>, Error> {
    if request.method() == Method::CONNECT {
        return Err(Error::UpgradeRefused);
    }
    let Some(wanted) = request::upgrade(request).cloned() else {
        return Ok(None);
    };
    if upgrade::is_allowed(&wanted, &context.filter.spec.upgrades) {
        return Ok(Some(Wish::new(wanted, Pending::of_request(request))));
    }
    // An offer that is not taken up, such as `h2c`, is ignored (RFC 9110, section 7.8).
    let refused = wanted.as_bytes().eq_ignore_ascii_case(b"websocket");
    if refused {
        Err(Error::UpgradeRefused)
    } else {
        Ok(None)
    }
}

fn choose_share<'r>(worker: &Worker, rules: &'r Forwarding) -> Option<&'r Share> {
    if let [only] = rules.clusters.as_slice() {
        return Some(only);
    }
    let total: u64 = rules
        .clusters
        .iter()
        .map(|share| u64::from(share.weight))
        .sum();
    let weights = rules.clusters.iter().map(|share| share.weight);
    rules.clusters.get(fairlead_routing::pick(
        weights,
        worker.spread(total.max(1)),
    )?)
}

fn redirect_to(status: StatusCode, location: &str) -> Answer {
    let mut response = respond::plain(status, Bytes::new());
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Answer::Local {
        response,
        details: "direct_response",
    }
}

fn routes(context: &Context) -> Option<Arc<Routes>> {
    if let Some(inline) = &context.filter.inline {
        return Some(Arc::clone(inline));
    }
    match &context.filter.spec.routes {
        RouteSource::Rds(name) => context.worker.snapshot.borrow().routes.get(name).cloned(),
        RouteSource::Inline(_) => None,
    }
}

async fn inject_fault(
    context: &Context,
    exchange: &mut Exchange,
    route: &Route,
    request: &View<'_>,
) -> Result<(), Error> {
    let Some(fault) = route.fault.as_ref().or(context.filter.fault.as_ref()) else {
        return Ok(());
    };
    let verdict = fault.judge(request, || context.worker.spread(1_000_000));
    if let Some(delay) = verdict.delay {
        exchange.flags.set(Flag::DelayInjected);
        tokio::time::sleep(delay).await;
    }
    verdict.abort.map_or(Ok(()), Err)
}
