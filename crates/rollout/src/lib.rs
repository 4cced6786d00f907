//! The canary state machine: an observation goes in, a decision comes out.
//!
//! No IO, no clock, no randomness: the caller observes, calls [`step`], stores the state it got
//! back (the intent), runs the effects in order until one fails, and observes again.
//! Nothing else carries over: after a crash at any point, the stored [`State`] and the next
//! [`Observation`] lead to the same end.
//!
//! ```text
//!            ┌────────────── stored in .status ─────────────┐
//!            ▼                                              │
//!  observe ─► step(strategy, state, observation, now) ─► Decision { state, effects, events, requeue }
//!     ▲                                                             │
//!     └──────────── the world, and the answers of hooks ◄───────────┘
//! ```
#![deny(clippy::wildcard_enum_match_arm, clippy::iter_over_hash_type)]

pub mod judgement;

mod command;
mod effect;
mod event;
mod observation;
mod phase;
mod probe;
mod rehearsal;
mod stage;
mod state;
mod step;
mod strategy;
mod weight;

pub use command::{Author, Command, Handled, Request, UnreadableCommand, Verb};
pub use effect::{Decision, Effect, Requeue};
pub use event::{Event, Reason, Severity};
pub use observation::{Answer, Counted, Inheritance, Observation, Readiness, Revision, Role};
pub use phase::Phase;
pub use probe::{HookKind, Probe, ProbeKey, Subject, Verdict};
pub use rehearsal::{Ending, Rehearsal, Scene, rehearse};
pub use stage::{Selection, Size, Stage};
pub use state::{Bake, Intent, Place, Postponed, Round, Run, Shortcut, State};
pub use step::step;
pub use strategy::{Capacity, Hook, Plan, Strategy};
pub use weight::{Ladder, Split, Weight};
