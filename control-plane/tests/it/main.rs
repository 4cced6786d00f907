//! The control plane against a real API server, with the rights that the chart gives it and a proxy
//! that the tests play: it says when it accepts and when it refuses.

#[cfg(test)]
mod proxy;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod stories;
