//! Gets an artifact of any source, from our own folder or over HTTP, and checks its hash.

use fairlead_kustomize::Tree;
use futures::StreamExt as _;

use super::store::Store;
use super::{Digest, MalformedDigest, unpack};

/// An artifact may not be larger than this, packed.
const MAX_PACKED: usize = 100 << 20;

/// Why an artifact could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its digest is of an unknown kind.
    #[error("the artifact cannot be checked")]
    Digest(#[source] MalformedDigest),
    /// It is not in our folder, though it should be.
    #[error("failed to read the artifact `{path}`")]
    Read {
        /// Its path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server of the artifact did not deliver.
    #[error("failed to download the artifact from {url}")]
    Download {
        /// Its URL.
        url: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// It is larger than allowed.
    #[error("the artifact is larger than {} MiB", MAX_PACKED >> 20)]
    TooLarge,
    /// Its content is not what the source's status says.
    #[error("the artifact's digest is {found} and should be {expected}")]
    Mismatch {
        /// What the status says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// It is not an archive of files.
    #[error("failed to unpack the artifact")]
    Unpack(#[source] unpack::Error),
}

/// The files of an artifact.
pub async fn read(
    store: &Store,
    http: &reqwest::Client,
    url: &str,
    digest: &str,
) -> Result<Tree, Error> {
    let expected = Digest::parse(digest).map_err(Error::Digest)?;
    let bytes = match store
        .path_of_url(url)
        .and_then(|path| Some((path, store.file(path)?)))
    {
        Some((path, file)) => tokio::fs::read(file).await.map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?,
        None => download(http, url).await?,
    };
    let found = Digest::of(&bytes);
    if found != expected {
        return Err(Error::Mismatch { expected, found });
    }
    unpack::unpack(&bytes).map_err(Error::Unpack)
}

async fn download(http: &reqwest::Client, url: &str) -> Result<Vec<u8>, Error> {
    let fail = |source: reqwest::Error| Error::Download {
        url: url.to_owned(),
        source: source.without_url(),
    };
    let response = http
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(fail)?;
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(fail)?;
        if bytes.len() + chunk.len() > MAX_PACKED {
            return Err(Error::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
