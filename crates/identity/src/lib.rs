//! SPIFFE identities, certificate signing, rotation rules and trust bundles.
//!
//! Pure but for key generation and serial numbers, whose randomness is the crypto library's own.
//! No clock: `now` is always an argument. Keys never appear in `Debug` output or errors.

pub mod bundle;
pub mod csr;
pub mod issuer;
pub mod rotation;
pub mod spiffe;

pub use bundle::TrustBundle;
pub use csr::{KeyAndRequest, VerifiedRequest};
pub use issuer::{Authority, Issued, PrivateKey};
pub use spiffe::SpiffeId;
