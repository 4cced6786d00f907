//! Secrets: certificates with their keys, and trusted roots.

use std::fmt;

use serde::{Serialize, Serializer};

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Unique name.
    pub name: String,
    /// What it holds.
    pub content: SecretContent,
}

/// What a secret holds.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretContent {
    /// A certificate with its key.
    Certificate {
        /// PEM, the leaf first.
        chain: Vec<u8>,
        /// PEM.
        key: Vec<u8>,
    },
    /// Trusted roots.
    Roots {
        /// PEM.
        roots: Vec<u8>,
    },
}

/// Tells what it is, never the key.
impl Serialize for SecretContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// Shows what it is, never the key.
impl fmt::Debug for SecretContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { chain, .. } => {
                write!(
                    f,
                    "Certificate {{ chain: {} bytes, key: redacted }}",
                    chain.len()
                )
            }
            Self::Roots { roots } => write!(f, "Roots {{ roots: {} bytes }}", roots.len()),
        }
    }
}
