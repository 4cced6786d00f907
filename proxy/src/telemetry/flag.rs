//! Envoy's response flags: short words in the access log and the metrics that say why an answer
//! is what it is.

use std::fmt;

/// One reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// No endpoint that could take the request.
    NoHealthyUpstream,
    /// The upstream did not answer in time.
    UpstreamRequestTimeout,
    /// The connection to the upstream could not be opened.
    UpstreamConnectionFailure,
    /// The upstream closed the connection before it answered.
    UpstreamConnectionTermination,
    /// The upstream reset the stream.
    UpstreamRemoteReset,
    /// The upstream's answer was malformed.
    UpstreamProtocol,
    /// A circuit breaker was open.
    UpstreamOverflow,
    /// All retries were used, and the last answer was still one to retry.
    UpstreamRetryLimitExceeded,
    /// No route matched.
    NoRouteFound,
    /// The route names a cluster that does not exist.
    NoClusterFound,
    /// A fault rule delayed the request.
    DelayInjected,
    /// A fault rule answered.
    FaultInjected,
    /// The downstream closed the connection before it had the answer.
    DownstreamConnectionTermination,
    /// The downstream's request was malformed.
    DownstreamProtocol,
}

impl Flag {
    fn short(self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamRequestTimeout => "UT",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamRemoteReset => "UR",
            Self::UpstreamProtocol => "UPE",
            Self::UpstreamOverflow => "UO",
            Self::UpstreamRetryLimitExceeded => "URX",
            Self::NoRouteFound => "NR",
            Self::NoClusterFound => "NC",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::DownstreamConnectionTermination => "DC",
            Self::DownstreamProtocol => "DPE",
        }
    }
}

/// Reasons in the order in which they occurred, printed as Envoy does: `URX,UF`, or `-`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags([Option<Flag>; 4]);

impl Flags {
    /// Adds a reason; one that is there already, or a fifth one, changes nothing.
    pub fn set(&mut self, flag: Flag) {
        if let Some(slot) = self
            .0
            .iter_mut()
            .find(|slot| slot.is_none_or(|set| set == flag))
        {
            *slot = Some(flag);
        }
    }

    /// With one more reason.
    pub fn with(mut self, flag: Flag) -> Self {
        self.set(flag);
        self
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut flags = self.0.iter().flatten();
        let Some(first) = flags.next() else {
            return f.write_str("-");
        };
        f.write_str(first.short())?;
        flags.try_for_each(|flag| write!(f, ",{}", flag.short()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_the_order_they_were_set_and_once() {
        let flags = Flags::default()
            .with(Flag::UpstreamRetryLimitExceeded)
            .with(Flag::UpstreamConnectionFailure)
            .with(Flag::UpstreamRetryLimitExceeded);
        assert_eq!(flags.to_string(), "URX,UF");
        assert_eq!(Flags::default().to_string(), "-");
    }
}
