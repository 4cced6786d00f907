//! The redirection rules as input for `iptables-restore`; no effects.
//!
//! Chains: `PREROUTING` → `ISTIO_INBOUND` → `ISTIO_IN_REDIRECT` → inbound listener, and
//! `OUTPUT` → `ISTIO_OUTPUT` → `ISTIO_REDIRECT` → outbound listener.

use super::{Capture, Include};

/// The chains that are ours; nothing else is touched but the two jumps into them.
pub const CHAINS: [&str; 4] = [
    "ISTIO_INBOUND",
    "ISTIO_REDIRECT",
    "ISTIO_IN_REDIRECT",
    "ISTIO_OUTPUT",
];

/// Ports that the proxy itself serves and that must be reachable without a redirect: its metrics,
/// readiness, merged metrics with probes, and tunnels.
const OWN_PORTS: [u16; 4] = [15090, 15021, 15020, 15008];

const JUMPS: [&str; 2] = [
    "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
];

/// Which of the two address families a rule set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1/32",
            Self::V6 => "::1/128",
        }
    }

    /// The source address of connections from the inbound listener to the application.
    fn inbound_source(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.6/32",
            Self::V6 => "::6/128",
        }
    }

    fn matches(self, cidr: super::Cidr) -> bool {
        cidr.address.is_ipv4() == (self == Self::V4)
    }
}

/// Input for `iptables-restore --noflush` that leaves exactly our rules, whatever `existing`
/// (the output of `iptables-save -t nat`) already had of them.
pub fn restore(capture: &Capture, family: Family, existing: &str) -> String {
    let mut lines = vec!["*nat".to_owned()];
    lines.extend(CHAINS.iter().map(|chain| format!(":{chain} - [0:0]")));
    lines.extend(inbound(capture));
    lines.extend(outbound(capture, family));
    for interface in &capture.exclude_interfaces {
        lines.extend(present(
            existing,
            &format!("-A PREROUTING -i {interface} -j RETURN"),
        ));
    }
    for jump in JUMPS {
        lines.extend(present(existing, jump));
    }
    finish(lines)
}

/// Input for `iptables-restore --noflush` that removes all of our rules found in `existing`, or
/// nothing when there are none.
pub fn remove(capture: &Capture, existing: &str) -> Option<String> {
    let mut lines = vec!["*nat".to_owned()];
    let interfaces = capture
        .exclude_interfaces
        .iter()
        .map(|i| format!("-A PREROUTING -i {i} -j RETURN"));
    for rule in JUMPS.iter().map(|&jump| jump.to_owned()).chain(interfaces) {
        let times = existing.lines().filter(|line| line.trim() == rule).count();
        lines.extend(std::iter::repeat_n(rule.replacen("-A", "-D", 1), times));
    }
    let ours: Vec<_> = CHAINS
        .iter()
        .filter(|chain| has_chain(existing, chain))
        .collect();
    lines.extend(ours.iter().map(|chain| format!("-F {chain}")));
    lines.extend(ours.iter().map(|chain| format!("-X {chain}")));
    (lines.len() > 1).then(|| finish(lines))
}

fn inbound(capture: &Capture) -> Vec<String> {
    let mut rules = vec![format!(
        "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {}",
        capture.inbound_port
    )];
    match &capture.include_inbound_ports {
        Include::All => {
            for port in OWN_PORTS.iter().chain(&capture.exclude_inbound_ports) {
                rules.push(format!("-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN"));
            }
            rules.push("-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT".to_owned());
        }
        Include::Only(ports) => {
            for port in ports {
                rules.push(format!(
                    "-A ISTIO_INBOUND -p tcp --dport {port} -j ISTIO_IN_REDIRECT"
                ));
            }
        }
    }
    rules
}

fn outbound(capture: &Capture, family: Family) -> Vec<String> {
    let Capture {
        outbound_port,
        proxy_uid,
        ..
    } = capture;
    let (loopback, source) = (family.loopback(), family.inbound_source());
    let mut rules = vec![format!(
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {outbound_port}"
    )];
    let mut rule = |text: String| rules.push(format!("-A ISTIO_OUTPUT {text}"));
    for port in &capture.exclude_outbound_ports {
        rule(format!("-p tcp --dport {port} -j RETURN"));
    }
    // From the inbound listener to the application.
    rule(format!("-s {source} -o lo -j RETURN"));
    for owner in ["uid", "gid"] {
        // The application called its own service, and the balancer chose its own pod.
        rule(format!(
            "! -d {loopback} -o lo -p tcp -m owner --{owner}-owner {proxy_uid} -j ISTIO_IN_REDIRECT"
        ));
        // The application calls itself directly.
        rule(format!(
            "-o lo -m owner ! --{owner}-owner {proxy_uid} -j RETURN"
        ));
        // What the proxy sends is on its way out.
        rule(format!("-m owner --{owner}-owner {proxy_uid} -j RETURN"));
    }
    rule(format!("-d {loopback} -j RETURN"));
    for port in &capture.include_outbound_ports {
        rule(format!("-p tcp --dport {port} -j ISTIO_REDIRECT"));
    }
    for cidr in capture
        .exclude_outbound_cidrs
        .iter()
        .filter(|cidr| family.matches(**cidr))
    {
        rule(format!("-d {cidr} -j RETURN"));
    }
    match &capture.include_outbound_cidrs {
        Include::All => rule("-j ISTIO_REDIRECT".to_owned()),
        Include::Only(ranges) => {
            for cidr in ranges.iter().filter(|cidr| family.matches(**cidr)) {
                rule(format!("-d {cidr} -j ISTIO_REDIRECT"));
            }
        }
    }
    rules
}

/// The rule, unless it is there already.
fn present(existing: &str, rule: &str) -> Option<String> {
    let there = existing.lines().any(|line| line.trim() == rule);
    (!there).then(|| rule.to_owned())
}

fn has_chain(existing: &str, chain: &str) -> bool {
    existing
        .lines()
        .any(|line| line.strip_prefix(':').and_then(|l| l.split(' ').next()) == Some(chain))
}

fn finish(mut lines: Vec<String>) -> String {
    lines.push("COMMIT".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        capture: Capture,
    }

    fn capture(flags: &[&str]) -> Capture {
        Flags::parse_from(std::iter::once(&"init").chain(flags)).capture
    }

    #[test]
    fn own_ports_are_never_redirected() {
        let rules = restore(&capture(&[]), Family::V4, "");
        for port in OWN_PORTS {
            assert!(rules.contains(&format!("-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN")));
        }
    }

    #[test]
    fn exceptions_come_before_the_redirect_of_the_rest() {
        let rules = restore(
            &capture(&[
                "--exclude-outbound-ports=3306",
                "--exclude-outbound-cidrs=10.0.0.0/8,fd00::/8",
            ]),
            Family::V4,
            "",
        );
        let at = |text: &str| rules.find(text).unwrap();
        let rest = at("-A ISTIO_OUTPUT -j ISTIO_REDIRECT");
        assert!(at("--dport 3306 -j RETURN") < rest);
        assert!(at("-d 10.0.0.0/8 -j RETURN") < rest);
        assert!(at("-s 127.0.0.6/32 -o lo -j RETURN") < rest);
        assert!(!rules.contains("fd00::"));
    }

    #[test]
    fn a_second_run_adds_no_second_jump() {
        let capture = capture(&[]);
        let first = restore(&capture, Family::V4, "");
        let second = restore(&capture, Family::V4, &first);
        assert!(first.contains("-A PREROUTING"));
        assert!(!second.contains("-A PREROUTING") && !second.contains("-A OUTPUT "));
    }

    #[test]
    fn removal_undoes_each_jump_and_leaves_other_chains() {
        let capture = capture(&[]);
        let existing = format!(":KUBE - [0:0]\n{}", restore(&capture, Family::V4, ""));
        let removal = remove(&capture, &existing).unwrap();
        assert!(removal.contains("-D PREROUTING -p tcp -j ISTIO_INBOUND"));
        assert!(removal.contains("-X ISTIO_OUTPUT"));
        assert!(!removal.contains("KUBE"));
        assert_eq!(remove(&capture, ":KUBE - [0:0]\n"), None);
    }
}
