//! The crate from the outside: golden results, and kustomize itself as the judge.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod support;
#[cfg(test)]
mod wrong;
