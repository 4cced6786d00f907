//! The judgement on simulated traffic: its pass mark, and properties over any blocks.

mod latency;
mod pairing;
mod pass_mark;
mod properties;
mod random;
mod traffic;
