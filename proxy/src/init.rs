//! `fairlead-proxy init`: redirects a pod's TCP traffic to the proxy, or undoes it.
//!
//! The only part of the proxy that needs root; it runs once, before anything else in the pod.
//! What the rules are is decided in [`rules`], without effects; how they get into the kernel is in
//! [`command`]. Running it again leaves the same rules.

use std::net::IpAddr;

pub mod command;
pub mod rules;

pub use command::{Error, apply, clean};

/// An address range, as `address/prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// First address of the range, or any in it.
    pub address: IpAddr,
    /// Length of the network part.
    pub prefix: u8,
}

/// Why a range could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address range such as `10.0.0.0/8`")]
pub struct InvalidCidr(String);

impl std::str::FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok().ok_or_else(invalid)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|p| *p <= longest)
                .ok_or_else(invalid)?,
            None => longest,
        };
        Ok(Self { address, prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// All of them, or those listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include<T> {
    /// `*`
    All,
    /// A list, possibly empty.
    Only(Vec<T>),
}

impl<T: std::str::FromStr> std::str::FromStr for Include<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        items
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

/// What to redirect, and what to leave alone.
#[derive(Debug, Clone, clap::Args)]
pub struct Capture {
    /// Outbound ranges to redirect: `*` or a list.
    #[arg(
        short = 'i',
        long,
        env = "FAIRLEAD_INCLUDE_OUTBOUND_CIDRS",
        default_value = "*"
    )]
    pub include_outbound_cidrs: Include<Cidr>,
    /// Outbound ranges to leave alone, after `--include-outbound-cidrs=*`.
    #[arg(
        short = 'x',
        long,
        env = "FAIRLEAD_EXCLUDE_OUTBOUND_CIDRS",
        value_delimiter = ','
    )]
    pub exclude_outbound_cidrs: Vec<Cidr>,
    /// Inbound ports to redirect: `*` or a list.
    #[arg(
        short = 'b',
        long,
        env = "FAIRLEAD_INCLUDE_INBOUND_PORTS",
        default_value = "*"
    )]
    pub include_inbound_ports: Include<u16>,
    /// Inbound ports to leave alone, besides the proxy's own.
    #[arg(
        short = 'd',
        long,
        env = "FAIRLEAD_EXCLUDE_INBOUND_PORTS",
        value_delimiter = ','
    )]
    pub exclude_inbound_ports: Vec<u16>,
    /// Outbound ports to redirect even where their range is excluded.
    #[arg(
        short = 'q',
        long,
        env = "FAIRLEAD_INCLUDE_OUTBOUND_PORTS",
        value_delimiter = ','
    )]
    pub include_outbound_ports: Vec<u16>,
    /// Outbound ports to leave alone.
    #[arg(
        short = 'o',
        long,
        env = "FAIRLEAD_EXCLUDE_OUTBOUND_PORTS",
        value_delimiter = ','
    )]
    pub exclude_outbound_ports: Vec<u16>,
    /// Network interfaces whose traffic is left alone.
    #[arg(
        short = 'c',
        long,
        env = "FAIRLEAD_EXCLUDE_INTERFACES",
        value_delimiter = ','
    )]
    pub exclude_interfaces: Vec<String>,
    /// Port of the outbound listener.
    #[arg(
        short = 'p',
        long,
        env = "FAIRLEAD_OUTBOUND_PORT",
        default_value_t = 15001
    )]
    pub outbound_port: u16,
    /// Port of the inbound listener.
    #[arg(
        short = 'z',
        long,
        env = "FAIRLEAD_INBOUND_PORT",
        default_value_t = 15006
    )]
    pub inbound_port: u16,
    /// User and group of the proxy, whose own traffic is not redirected.
    #[arg(short = 'u', long, env = "FAIRLEAD_PROXY_UID", default_value_t = 1337)]
    pub proxy_uid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_keeps_its_prefix_and_a_bare_address_is_one_host() {
        assert_eq!(
            "10.0.0.0/8".parse::<Cidr>().unwrap().to_string(),
            "10.0.0.0/8"
        );
        assert_eq!(
            "10.1.2.3".parse::<Cidr>().unwrap().to_string(),
            "10.1.2.3/32"
        );
        "10.0.0.0/33".parse::<Cidr>().unwrap_err();
        "x/8".parse::<Cidr>().unwrap_err();
    }

    #[test]
    fn a_star_includes_all_and_an_empty_list_nothing() {
        assert_eq!("*".parse::<Include<u16>>().unwrap(), Include::All);
        assert_eq!("".parse::<Include<u16>>().unwrap(), Include::Only(vec![]));
        assert_eq!(
            "80, 81".parse::<Include<u16>>().unwrap(),
            Include::Only(vec![80, 81])
        );
    }
}
