//! The operator's own binary, and `fairlead`, against a real API server, without pods: the tests play the
//! controllers, the proxies, Prometheus and the webhooks.
//!
//! Each story has a namespace, an operator that watches only that one, and a judge that reads the
//! API server's own history of weights and endpoints.

mod affinity;
mod chosen;
mod definition;
mod edits;
mod fairlead;
mod foretold;
mod history;
mod hooks;
mod interruption;
mod judgement;
mod kept;
mod kinds;
mod migrate;
mod promotion;
mod providers;
mod rules;
mod scalers;
mod stage;
mod steering;
mod steps;
mod stories;
mod takeover;
mod target;
mod traces;
