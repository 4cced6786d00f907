//! The neighbour of whatever goes wrong: the example's podinfo under load, which must not notice.

use std::future::Future;

use anyhow::{Result, ensure};
use fairlead_tests::load::{Load, Plan};
use fairlead_tests::story::Stage;
use futures::future::LocalBoxFuture;

/// Requests a second: enough that a gap of a tenth of a second is seen.
const RATE: u32 = 20;

/// Podinfo, called through the gateway all the while.
pub(crate) struct Neighbour {
    load: Load,
}

impl Neighbour {
    /// Starts to call it.
    pub(crate) async fn start(stage: &Stage) -> Result<Self> {
        let plan = Plan::podinfo("neighbour", RATE);
        let load = Load::start(&stage.client, &plan, &stage.images).await?;
        Ok(Self { load })
    }

    /// Tells a story; every request to the neighbour must be answered meanwhile.
    pub(crate) fn unharmed<'a, T: 'a>(
        &'a self,
        story: impl Future<Output = Result<T>> + 'a,
    ) -> LocalBoxFuture<'a, Result<T>> {
        Box::pin(async move {
            let before = self.load.counts().await?;
            let told = story.await?;
            let since = self.load.next().await?.since(&before);
            ensure!(
                since.requests > 0 && since.errors == 0,
                "the neighbour was harmed: {since:?}"
            );
            Ok(told)
        })
    }

    /// Ends the calls.
    pub(crate) async fn stop(self) -> Result<()> {
        self.load.stop().await.map(drop)
    }
}
