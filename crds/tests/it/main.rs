//! What users write deserialises, and what is committed is what the types say.

#[cfg(test)]
mod committed;
#[cfg(test)]
mod manifest;
#[cfg(test)]
mod server;
