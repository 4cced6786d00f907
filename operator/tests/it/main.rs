//! The operator against a real API server, without kubelet or controller manager: the tests play
//! those, and the operator has no more rights than the chart gives it. And the guides, read by it.

#[cfg(test)]
mod guides;
#[cfg(test)]
mod mesh_install;
#[cfg(test)]
mod stage;
