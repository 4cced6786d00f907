//! Faults injected on purpose, compiled; the dice are an argument.

use std::time::Duration;

use fairlead_routing::rule::Matcher;
use fairlead_routing::{InvalidRegex, Request, RouteMatch};
use fairlead_xds::resource::route::{Abort, Fault as Spec, Share};
use http::StatusCode;

use super::respond::Error;

/// A fault rule.
#[derive(Debug, Clone)]
pub struct Fault {
    delay: Option<(Duration, Share)>,
    abort: Option<(Abort, Share)>,
    matcher: Matcher,
}

/// What happens to one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// It waits first.
    pub delay: Option<Duration>,
    /// It is answered with an error.
    pub abort: Option<Error>,
}

impl Fault {
    /// Compiles a rule.
    pub fn compile(spec: &Spec) -> Result<Self, InvalidRegex> {
        let Spec {
            delay,
            abort,
            headers,
        } = spec;
        let matcher = RouteMatch {
            headers: headers.clone(),
            ..RouteMatch::any()
        }
        .compile()?;
        Ok(Self {
            delay: *delay,
            abort: *abort,
            matcher,
        })
    }

    /// Decides about a request; each roll is asked for once at most.
    pub fn judge(&self, request: &impl Request, mut roll: impl FnMut() -> u64) -> Verdict {
        if !self.matcher.is_match(request) {
            return Verdict::default();
        }
        let delay = self
            .delay
            .filter(|(_, share)| share.takes(roll()))
            .map(|(delay, _)| delay);
        let abort =
            self.abort
                .filter(|(_, share)| share.takes(roll()))
                .map(|(abort, _)| match abort {
                    Abort::Http(status) => Error::Fault(
                        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    ),
                    Abort::Grpc(code) => Error::GrpcFault(code),
                });
        Verdict { delay, abort }
    }
}
