//! Which addresses are refused, and what is allowed in spite of that. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Metadata services of clouds whose addresses are not link-local.
const METADATA: [IpAddr; 4] = [
    // Alibaba Cloud
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Addresses behind which there is more than the person who wrote a Canary may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The operator's own pod.
    Loopback,
    /// The link, where clouds serve credentials.
    LinkLocal,
    /// A node of the cluster.
    Node,
    /// The API server.
    ApiServer,
}

impl Class {
    const ALL: [Self; 4] = [Self::Loopback, Self::LinkLocal, Self::Node, Self::ApiServer];

    /// The name by which it is allowed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Node => "node",
            Self::ApiServer => "api-server",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that the operator's user allows by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// All addresses of a class.
    Class(Class),
    /// One host, as URLs name it, wherever it is.
    Host(String),
}

/// A name that is neither a class nor a host.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither loopback, link-local, node or api-server nor the name of a host")]
pub struct NoPermission(String);

impl FromStr for Permission {
    type Err = NoPermission;

    fn from_str(text: &str) -> Result<Self, NoPermission> {
        let text = text.trim();
        if let Some(class) = Class::ALL.into_iter().find(|class| class.as_str() == text) {
            return Ok(Self::Class(class));
        }
        let is_host = !text.is_empty()
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || ".:-_".contains(letter));
        if is_host {
            Ok(Self::Host(text.to_ascii_lowercase()))
        } else {
            Err(NoPermission(text.to_owned()))
        }
    }
}

/// Everything that is allowed by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(BTreeSet<Permission>);

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl Permissions {
    /// Whether a whole class is allowed.
    pub fn has_class(&self, class: Class) -> bool {
        self.0.contains(&Permission::Class(class))
    }

    /// Whether a host is allowed wherever it is.
    pub fn has_host(&self, host: &str) -> bool {
        self.0
            .contains(&Permission::Host(host.to_ascii_lowercase()))
    }
}

/// Where the cluster's own machines are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The nodes.
    pub nodes: BTreeSet<IpAddr>,
    /// The API server, by Service and by endpoint.
    pub api_server: BTreeSet<IpAddr>,
}

/// The class of an address, `None` when anyone may call it.
///
/// An IPv4 address in an IPv6 disguise counts as what it is: the kernel connects to it.
pub fn classify(address: IpAddr, places: &Places) -> Option<Class> {
    let address = undisguised(address);
    if is_own(address) {
        Some(Class::Loopback)
    } else if is_link_local(address) {
        Some(Class::LinkLocal)
    } else if places.api_server.contains(&address) {
        Some(Class::ApiServer)
    } else if places.nodes.contains(&address) {
        Some(Class::Node)
    } else {
        None
    }
}

/// Loopback, and the unspecified addresses, which lead there as well.
fn is_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.octets()[0] == 0,
        IpAddr::V6(address) => address.is_loopback() || address.is_unspecified(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    is_local || METADATA.contains(&address)
}

/// Mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`) and NAT64 (`64:ff9b::a.b.c.d`) addresses as
/// IPv4.
fn undisguised(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else {
        return address.to_canonical();
    };
    let segments = v6.segments();
    let low = u128::from(v6) & u128::from(u32::MAX);
    let is_compatible = segments[..6] == [0; 6] && low > 1;
    let is_nat64 = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    if is_compatible || is_nat64 {
        let [.., a, b, c, d] = v6.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    IpAddr::V6(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            nodes: ["192.168.1.10".parse().unwrap()].into(),
            api_server: ["10.96.0.1".parse().unwrap()].into(),
        }
    }

    fn check(address: &str, expected: Option<Class>) {
        let class = classify(address.parse().unwrap(), &places());
        assert_eq!(class, expected, "{address}");
    }

    #[test]
    fn loopback_in_every_spelling_is_refused() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
        ] {
            check(address, Some(Class::Loopback));
        }
    }

    #[test]
    fn metadata_services_are_refused() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            check(address, Some(Class::LinkLocal));
        }
    }

    #[test]
    fn the_clusters_machines_are_refused_and_its_services_are_not() {
        check("192.168.1.10", Some(Class::Node));
        check("::ffff:192.168.1.10", Some(Class::Node));
        check("10.96.0.1", Some(Class::ApiServer));
        check("10.96.0.2", None);
        check("192.168.1.11", None);
        check("93.184.216.34", None);
        check("2606:4700::1", None);
    }

    #[test]
    fn permissions_are_classes_or_hosts() {
        let parse = |text: &str| text.parse::<Permission>();
        assert_eq!(
            parse("link-local").unwrap(),
            Permission::Class(Class::LinkLocal)
        );
        assert_eq!(
            parse("Prometheus.example").unwrap(),
            Permission::Host("prometheus.example".to_owned())
        );
        parse("http://prometheus.example").unwrap_err();
        parse("").unwrap_err();
    }
}
