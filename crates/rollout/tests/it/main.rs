//! The rollout machine against a small world: scenarios told one by one, and properties over many;
//! and the judgement against simulated traffic.

mod checker;
mod inherited;
mod judgement;
mod properties;
mod scenarios;
mod world;
