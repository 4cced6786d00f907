//! Selection of the virtual host by the request's authority.
//!
//! Envoy's order: exact domain, then the longest `*suffix`, then the longest `prefix*`, then `*`.
//! A wildcard stands for at least one character. Case is ignored.

use std::borrow::Cow;
use std::collections::HashMap;

/// Whether a port in the authority counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMatch {
    /// The authority is compared as it is.
    Exact,
    /// A port in the authority is removed first (`ignore_port_in_host_matching`).
    Ignore,
}

/// A domain that two virtual hosts claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("domain `{domain}` belongs to more than one virtual host")]
pub struct DuplicateDomain {
    /// The domain, in lower case.
    pub domain: String,
}

/// Virtual hosts by a domain, or by the part of it beside the wildcard.
type Domains = HashMap<Box<str>, usize>;

/// Domains with a wildcard by the length of the other part, the longest first.
type ByLength = Box<[(usize, Domains)]>;

/// Domains of all virtual hosts of one route configuration.
#[derive(Clone, Debug)]
pub struct HostTable {
    port: PortMatch,
    exact: Domains,
    suffixes: ByLength,
    prefixes: ByLength,
    any: Option<usize>,
}

impl HostTable {
    /// Builds the table from pairs of a domain and the index of its virtual host.
    ///
    /// # Errors
    /// When two virtual hosts claim the same domain.
    pub fn new<'d>(
        port: PortMatch,
        domains: impl IntoIterator<Item = (&'d str, usize)>,
    ) -> Result<Self, DuplicateDomain> {
        let mut exact = HashMap::new();
        let mut suffixes = HashMap::<usize, Domains>::new();
        let mut prefixes = HashMap::<usize, Domains>::new();
        let mut any = None;
        for (domain, index) in domains {
            let domain = domain.to_ascii_lowercase();
            let previous = if domain == "*" {
                any.replace(index)
            } else if let Some(suffix) = domain.strip_prefix('*') {
                suffixes
                    .entry(suffix.len())
                    .or_default()
                    .insert(suffix.into(), index)
            } else if let Some(prefix) = domain.strip_suffix('*') {
                prefixes
                    .entry(prefix.len())
                    .or_default()
                    .insert(prefix.into(), index)
            } else {
                exact.insert(domain.as_str().into(), index)
            };
            if previous.is_some() {
                return Err(DuplicateDomain { domain });
            }
        }
        Ok(Self {
            port,
            exact,
            suffixes: longest_first(suffixes),
            prefixes: longest_first(prefixes),
            any,
        })
    }

    /// The virtual host of `authority`.
    pub fn find(&self, authority: &str) -> Option<usize> {
        let host = match self.port {
            PortMatch::Exact => authority,
            PortMatch::Ignore => without_port(authority),
        };
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        self.exact
            .get(&*host)
            .or_else(|| {
                find_part(&self.suffixes, &host, |len| {
                    host.len()
                        .checked_sub(len)
                        .and_then(|from| host.get(from..))
                })
            })
            .or_else(|| find_part(&self.prefixes, &host, |len| host.get(..len)))
            .copied()
            .or(self.any)
    }
}

fn longest_first(parts: HashMap<usize, Domains>) -> ByLength {
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
    parts.into()
}

fn find_part<'t, 'h>(
    parts: &'t [(usize, Domains)],
    host: &str,
    part: impl Fn(usize) -> Option<&'h str>,
) -> Option<&'t usize> {
    parts
        .iter()
        // The wildcard stands for at least one character.
        .filter(|(len, _)| *len < host.len())
        .find_map(|(len, domains)| domains.get(part(*len)?))
}

/// The host of an authority, whose port is removed; brackets of an IPv6 address stay.
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(domains: &[&str], authority: &str, expected: Option<&str>) {
        let pairs = domains
            .iter()
            .enumerate()
            .map(|(index, domain)| (*domain, index));
        let table = HostTable::new(PortMatch::Ignore, pairs).unwrap();
        assert_eq!(
            table.find(authority).map(|index| domains[index]),
            expected,
            "{authority}"
        );
    }

    #[test]
    fn an_exact_domain_goes_before_wildcards() {
        let domains = ["*", "*.example.com", "shop.*", "shop.example.com"];
        check(&domains, "shop.example.com", Some("shop.example.com"));
        check(&domains, "shop.example.com:8080", Some("shop.example.com"));
        check(&domains, "SHOP.Example.com", Some("shop.example.com"));
        check(&domains, "web.example.com", Some("*.example.com"));
        check(&domains, "shop.example.org", Some("shop.*"));
        check(&domains, "web.example.org", Some("*"));
    }

    #[test]
    fn the_longest_wildcard_wins() {
        let domains = ["*.com", "*.example.com", "*-x.example.com"];
        check(&domains, "a-x.example.com", Some("*-x.example.com"));
        check(&domains, "a.b.example.com", Some("*.example.com"));
        check(&domains, "b.com", Some("*.com"));
    }

    #[test]
    fn a_wildcard_stands_for_at_least_one_character() {
        check(&["*.example.com"], ".example.com", None);
        check(&["*.example.com"], "example.com", None);
        check(&["shop.*"], "shop.", None);
    }

    #[test]
    fn an_ipv6_address_keeps_its_colons() {
        check(
            &["[2001:db8::1]"],
            "[2001:db8::1]:80",
            Some("[2001:db8::1]"),
        );
        assert_eq!(without_port("2001:db8::1"), "2001:db8::1");
    }

    #[test]
    fn a_domain_of_two_virtual_hosts_is_refused() {
        let error = HostTable::new(PortMatch::Exact, [("a", 0), ("A", 1)]).unwrap_err();
        assert_eq!(error.domain, "a");
    }
}
