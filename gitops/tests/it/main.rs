//! The GitOps binary and its parts against real git servers and a real API server.

#[cfg(test)]
mod commands;
#[cfg(test)]
mod fetch;
#[cfg(test)]
mod git_server;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod world;
