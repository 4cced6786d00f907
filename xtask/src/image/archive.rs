//! The archive of an image, as `docker save` writes it: containerd imports it, crane pushes it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};

use super::layer::Layer;
use super::recipe::Recipe;

/// The image's configuration, which names its content.
pub(super) fn config(recipe: &Recipe, layers: &[Layer]) -> Result<Vec<u8>> {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let variables = recipe
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let environment: Vec<String> = std::iter::once(path).chain(variables).collect();
    let digests: Vec<String> = layers
        .iter()
        .map(|layer| format!("sha256:{}", layer.digest))
        .collect();
    Ok(serde_json::to_vec(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": [recipe.program.path()],
            "Env": environment,
            "User": recipe.user.to_string(),
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    }))?)
}

/// The tag of an image: the hash of its configuration, which has the hashes of its layers.
pub(super) fn tag(config: &[u8]) -> String {
    hex::encode(&Sha256::digest(config)[..8])
}

/// Writes the archive, whole or not at all.
pub(super) fn write(file: &Path, reference: &str, config: &[u8], layers: &[Layer]) -> Result<()> {
    let partial = file.with_extension("partial");
    let mut builder = Builder::new(BufWriter::new(File::create(&partial)?));
    let names: Vec<String> = layers
        .iter()
        .map(|layer| format!("{}.tar", layer.digest))
        .collect();
    let manifest =
        json!([{"Config": "config.json", "RepoTags": [reference], "Layers": names}]).to_string();
    append(
        &mut builder,
        "manifest.json",
        manifest.len() as u64,
        manifest.as_bytes(),
    )?;
    append(&mut builder, "config.json", config.len() as u64, config)?;
    for (layer, name) in layers.iter().zip(&names) {
        let content = File::open(&layer.file)?;
        append(&mut builder, name, content.metadata()?.len(), content)?;
    }
    builder.into_inner()?.flush()?;
    Ok(fs::rename(partial, file)?)
}

fn append<W: io::Write>(
    builder: &mut Builder<W>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    Ok(builder.append_data(&mut header, name, content)?)
}

/// This machine's architecture, as images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
