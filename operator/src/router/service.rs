//! Plain Services: the apex leads to the primary, and nothing divides traffic.
//!
//! The canary is judged by hooks and by what its own Service is asked; its only traffic is theirs.

use fairlead_rollout::Split;
use futures::future::{BoxFuture, ready};

use super::{Error, RoutePlan, Router, Routes};

/// Routes that are not there: whether the apex Service leads to the primary is seen by whoever
/// looks at Services.
#[derive(Clone, Copy, Debug)]
pub(super) struct Services;

impl Router for Services {
    fn read<'a>(&'a self, _plan: &'a RoutePlan) -> BoxFuture<'a, Result<Routes, Error>> {
        Box::pin(ready(Ok(Routes {
            split: Some(Split::PRIMARY),
            current: true,
            acked: true,
            ..Routes::default()
        })))
    }

    fn write<'a>(
        &'a self,
        _plan: &'a RoutePlan,
        _split: Split,
        seen: &'a Routes,
    ) -> BoxFuture<'a, Result<Routes, Error>> {
        Box::pin(ready(Ok(seen.clone())))
    }

    fn give_back<'a>(&'a self, _plan: &'a RoutePlan) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(ready(Ok(())))
    }
}
