//! A port on loopback that leads to a pod, through the API server.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An open forward; it ends when this is dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Forward {
    /// Listens on a free port and leads each connection to `port` of a ready pod that `selector`
    /// (a label selector) finds at that moment.
    pub async fn open(
        client: &Client,
        namespace: &str,
        selector: &str,
        port: u16,
    ) -> anyhow::Result<Self> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let selector = selector.to_owned();
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the forward is dropped"
        )]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let (pods, selector) = (pods.clone(), selector.clone());
                connections.spawn(async move {
                    if let Err(error) = lead(&pods, &selector, port, stream).await {
                        tracing::warn!(error = format!("{error:#}"), %selector, "forward failed");
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

async fn lead(
    pods: &Api<Pod>,
    selector: &str,
    port: u16,
    mut stream: TcpStream,
) -> anyhow::Result<()> {
    let found = pods.list(&ListParams::default().labels(selector)).await?;
    let pod = found
        .iter()
        .find(|pod| is_ready(pod))
        .context("no ready pod")?;
    let mut forwarder = pods.portforward(&pod.name_any(), &[port]).await?;
    let mut upstream = forwarder.take_stream(port).context("no stream")?;
    // Either side may just go away; that is not worth a warning.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    drop(upstream);
    forwarder.abort();
    Ok(())
}
