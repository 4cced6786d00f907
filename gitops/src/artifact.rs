//! Artifacts: archives of sources, stored under the hash of their content and served over HTTP.
//!
//! A path is `<kind>/<namespace>/<name>/<sha256>.tar.gz`, so what stands under a URL never changes.

pub mod reader;
pub mod server;
pub mod store;
pub mod unpack;

use std::fmt;

/// The hash of an artifact, as status and consumers write it: `sha256:<hexadecimal>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

/// A text that is not a digest of a kind that is known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest of the form `sha256:<64 hexadecimal digits>`")]
pub struct MalformedDigest(String);

impl Digest {
    /// Reads `sha256:…`.
    pub fn parse(text: &str) -> Result<Self, MalformedDigest> {
        text.strip_prefix("sha256:")
            .filter(|hex| is_sha256(hex))
            .map(|hex| Self(hex.to_owned()))
            .ok_or_else(|| MalformedDigest(text.to_owned()))
    }

    /// Takes the hexadecimal digits of a hash that was just computed.
    pub(crate) fn of_hex(hex: &str) -> Self {
        Self(hex.to_owned())
    }

    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let hash = sha2::Sha256::digest(bytes);
        Self(hash.iter().fold(String::new(), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
