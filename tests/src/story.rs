//! The main job as a user lives it, told once: the demo narrates these steps, the end-to-end
//! suite asserts on what they return.
//!
//! A step acts through the API server, helm and git only, as a user would, and returns what it
//! measured.

pub mod applications;
pub mod figures;
pub mod install;
pub mod release;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;

use crate::cluster::Cluster;
use crate::images::Images;
use crate::manifest;
use crate::tools::{Tools, workspace};

/// The namespace of the operator, of gitops and of what stands beside them.
pub const SYSTEM: &str = "fairlead-system";
/// The root namespace of the mesh.
pub const MESH: &str = "istio-system";
/// How long a workload of the demo may take to come up.
pub const COMES_UP: Duration = Duration::from_secs(120);

/// What every step acts on.
#[derive(Clone)]
pub struct Stage {
    /// A client of the cluster, as an administrator.
    pub client: Client,
    /// The kubeconfig that helm uses; absent for helm's own default.
    pub kubeconfig: Option<PathBuf>,
    /// Path of the helm binary.
    pub helm: PathBuf,
    /// The checkout: its charts and examples are what users apply.
    pub checkout: PathBuf,
    /// Image references by name, as keys `image:<name>`.
    pub images: BTreeMap<String, String>,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("kubeconfig", &self.kubeconfig)
            .finish_non_exhaustive()
    }
}

impl Stage {
    /// A stage on a local cluster, with every image imported.
    pub async fn on(cluster: &Cluster) -> anyhow::Result<Self> {
        for archive in Images::read()?.archives() {
            cluster.load_image(&archive)?;
        }
        Self::with(cluster.client().await?, Some(cluster.kubeconfig()))
    }

    /// A stage on the current context's cluster, whose nodes can pull the images.
    pub async fn on_current_context() -> anyhow::Result<Self> {
        let client = Client::try_default()
            .await
            .context("failed to read the current context")?;
        Self::with(client, None)
    }

    fn with(client: Client, kubeconfig: Option<PathBuf>) -> anyhow::Result<Self> {
        let images = Images::read()?;
        let images = images.references();
        Ok(Self {
            client,
            kubeconfig,
            helm: Tools::read()?.path("helm")?.to_path_buf(),
            checkout: workspace(),
            images: images
                .map(|(name, full)| (format!("image:{name}"), full.to_owned()))
                .collect(),
        })
    }

    /// Reads a file of the checkout.
    pub fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = self.checkout.join(file);
        std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read `{}`", path.display()))
    }

    /// A workload of podinfo's to release: the image by name, and what tells one release of it from
    /// the next.
    pub fn application(
        &self,
        namespace: &str,
        name: &str,
        image: &str,
        release: &str,
    ) -> anyhow::Result<String> {
        let values = [
            ("namespace", namespace),
            ("name", name),
            ("image", self.image(image)?),
            ("release", release),
        ];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        manifest::fill(
            include_str!("../manifests/application.yaml"),
            &values.into(),
        )
    }

    /// The reference of an image.
    pub fn image(&self, name: &str) -> anyhow::Result<&str> {
        self.images
            .get(&format!("image:{name}"))
            .map(String::as_str)
            .with_context(|| format!("no image `{name}`: run `cargo xtask image`"))
    }
}
