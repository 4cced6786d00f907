//! Faults injected on purpose.

use fairlead_crds::networking as crd;
use fairlead_xds::resource::route::{Abort, Fault, Share};

use super::share;
use crate::diagnostic::Findings;

pub(super) fn read_fault(
    field: &str,
    fault: &crd::HttpFaultInjection,
    findings: &mut Findings<'_>,
) -> Option<Fault> {
    let delay = fault.delay.as_ref().and_then(|delay| {
        let field = format!("{field}.fault.delay");
        let is_exponential = [("exponentialDelay", delay.exponential_delay.is_some())];
        findings.error_of(
            &field,
            &is_exponential,
            "is not supported and has no effect",
        );
        if delay.fixed_delay.is_none() {
            findings.error(&field, "needs a `fixedDelay`; nothing is delayed");
        }
        let field = format!("{field}.fixedDelay");
        let time = findings.duration(&field, delay.fixed_delay.as_ref())?;
        let old = delay
            .percent
            .and_then(|percent| u32::try_from(percent).ok());
        let part = match (delay.percentage, old) {
            (None, Some(percent)) => Share::from_millionths(percent.saturating_mul(10_000)),
            (percent, _) => share(percent),
        };
        Some((time, part))
    });
    let abort = fault.abort.as_ref().and_then(|abort| {
        let is_http2 = [("http2Error", abort.http2_error.is_some())];
        let place = format!("{field}.fault.abort");
        findings.error_of(&place, &is_http2, "is not supported and has no effect");
        let error = read_abort(abort);
        if error.is_none() {
            findings.error(
                place,
                "needs an `httpStatus` from 200 to 599 or a `grpcStatus`; nothing is aborted",
            );
        }
        Some((error?, share(abort.percentage)))
    });
    (delay.is_some() || abort.is_some()).then(|| Fault {
        delay,
        abort,
        headers: Vec::new(),
    })
}

pub(super) fn read_abort(abort: &crd::FaultAbort) -> Option<Abort> {
    if let Some(status) = abort.http_status.filter(|status| *status != 0) {
        let status = u16::try_from(status).ok()?;
        return (200..600).contains(&status).then_some(Abort::Http(status));
    }
    grpc_status(abort.grpc_status.as_deref()?).map(Abort::Grpc)
}

/// A status of gRPC by its name or its number.
pub(super) fn grpc_status(text: &str) -> Option<u32> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let by_name = NAMES.iter().position(|name| *name == text);
    let by_number = || text.parse().ok().filter(|number| *number < NAMES.len());
    by_name
        .or_else(by_number)
        .and_then(|number| u32::try_from(number).ok())
}
