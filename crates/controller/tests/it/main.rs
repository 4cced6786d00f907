//! The reconciler machinery against a real API server.

#[cfg(test)]
mod applier;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod lease;
