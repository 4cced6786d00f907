//! The images that `cargo xtask image` built, by name; builds nothing itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::cluster::PauseImage;
use crate::tools::workspace;

/// One built image.
#[derive(Debug, Clone, Deserialize)]
pub struct Image {
    /// Its full name with its tag, the hash of its content.
    pub reference: String,
    /// Its archive.
    pub archive: PathBuf,
}

/// All built images, as `target/images/index.json` lists them.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Images {
    images: BTreeMap<String, Image>,
}

impl Images {
    /// Reads the list that `cargo xtask image` wrote.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn read() -> Result<Self> {
        let index = workspace().join("target/images/index.json");
        let text = std::fs::read(&index).with_context(|| {
            format!(
                "failed to read `{}`: run `cargo xtask image` first",
                index.display()
            )
        })?;
        serde_json::from_slice(&text)
            .with_context(|| format!("failed to parse `{}`", index.display()))
    }

    /// One image.
    ///
    /// # Errors
    /// When it was not built.
    pub fn find(&self, name: &str) -> Result<&Image> {
        self.images
            .get(name)
            .with_context(|| format!("no image `{name}`: run `cargo xtask image`"))
    }

    /// The image that every pod needs.
    ///
    /// # Errors
    /// When it was not built.
    pub fn pause(&self) -> Result<PauseImage> {
        let image = self.find("pause")?;
        Ok(PauseImage {
            name: image.reference.clone(),
            archive: image.archive.clone(),
        })
    }

    /// Every image's full name, by its short one.
    pub fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        self.images
            .iter()
            .map(|(name, image)| (name.as_str(), image.reference.as_str()))
    }

    /// The archives of all images.
    pub fn archives(&self) -> Vec<PathBuf> {
        self.images
            .values()
            .map(|image| image.archive.clone())
            .collect()
    }
}
