//! The rollout machine against a small world: scenarios told one by one, and properties over many.

mod checker;
mod inherited;
mod judged;
mod kept;
mod properties;
mod rehearsal;
mod scenarios;
mod staged;
mod sticky;
mod world;
