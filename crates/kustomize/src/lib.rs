//! Kustomize overlays built on in-memory files, apply order, and inventory difference.
//!
//! Everything here is a function from values to values: no IO, no clock, no randomness.
//! The entry points, in the order in which a reconciler calls them: [`Tree`] holds the files of a
//! source, [`build`] makes objects of a directory, [`substitute`] fills in variables, [`order`]
//! sorts them into stages, [`inventory`] tells what to prune.
//!
//! The semantics are kustomize's (<https://kubectl.docs.kubernetes.io/references/kustomize/>);
//! `tests/it/oracle.rs` compares the results with the tool itself.
#![deny(clippy::iter_over_hash_type)]

mod field;
pub mod inventory;
pub mod order;
mod overlay;
mod patch;
mod resource;
pub mod substitute;
mod tree;
pub mod yaml;

pub use overlay::spec::{Image, PatchEntry, PatchOptions, Selector};
pub use overlay::{Customization, Error, build};
pub use patch::Error as PatchError;
pub use resource::{Id, Origin, Resource, is_cluster_scoped};
pub use tree::{PathOutsideTree, Tree};
