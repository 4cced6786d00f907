//! The command line.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::canary::{Replay, Subject};
use crate::exit;

/// See, explain and steer rollouts.
#[derive(Debug, Parser)]
#[command(name = "fairlead", version, after_help = exit::HELP, propagate_version = true)]
pub(crate) struct Args {
    /// Which cluster, and which part of it.
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: Output,
    /// What about.
    #[command(subcommand)]
    pub(crate) topic: Topic,
}

/// Which cluster, and which part of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connection {
    /// The kubeconfig file; by default `$KUBECONFIG`, then `~/.kube/config`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; by default its current one
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The namespace; by default that of the context
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
}

/// How to print.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Output {
    /// The format
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_enum,
        default_value = "table"
    )]
    pub(crate) format: Format,
    /// Print without colours; so does any value of `$NO_COLOR`
    #[arg(
        long, global = true, env = "NO_COLOR", hide_env_values = true,
        num_args = 0..=1, require_equals = true, default_missing_value = "yes",
        value_parser = is_set, value_name = "YES",
    )]
    pub(crate) no_color: Option<bool>,
}

/// <https://no-color.org>: anything but nothing counts.
#[expect(clippy::unnecessary_wraps, reason = "clap's signature")]
fn is_set(text: &str) -> Result<bool, Infallible> {
    Ok(!text.is_empty())
}

/// The format of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
}

/// What about.
#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// Rollouts
    #[command(subcommand, visible_alias = "canaries")]
    Canary(About),
    /// Check what a move to Fairlead would mean; changes nothing
    #[command(subcommand)]
    Migrate(Source),
}

/// What to move from.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Source {
    /// Look at Flagger and its Canaries, everywhere or in --namespace; exits with 0 when all is
    /// ready, 1 when something needs attention
    Flagger,
}

/// What about rollouts.
#[derive(Debug, Subcommand)]
pub(crate) enum About {
    /// One that is in a cluster, or is to be.
    #[command(flatten)]
    Real(Command),
    /// Replay the policy of a Canary over recorded metrics; exits with 0 when it would have been
    /// promoted, 1 when rolled back, 3 when the recording ends first
    Simulate(Replay),
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the Canaries, or show one with its workloads and last checks
    Get {
        /// Its name
        name: Option<String>,
        /// Those of all namespaces
        #[arg(short = 'A', long, conflicts_with = "name")]
        all_namespaces: bool,
    },
    /// Print a line whenever a Canary changes, until interrupted
    Watch {
        /// Its name; all of the namespace without
        name: Option<String>,
    },
    /// Say why a Canary is where it is, and what would move it on
    Explain {
        /// Its name
        name: String,
    },
    /// Show what the last runs decided, and on what
    History {
        /// Its name
        name: String,
    },
    /// Say what a Canary leads to, before it does: objects, steps, checks, hooks; changes nothing
    Plan(Subject),
    /// Wait until a rollout ends; exits with 0 when promoted, 1 when it failed
    Wait {
        /// The Canary's name
        name: String,
        /// The revision to wait for, as in `status.rollout.run.revision`; by default the target's
        /// as it is when nothing is in progress
        #[arg(long)]
        revision: Option<String>,
        /// Wait until what was promoted has baked, too (`spec.analysis.bake`)
        #[arg(long)]
        baked: bool,
        /// How long
        #[arg(long, default_value = "15m", value_parser = duration)]
        timeout: Duration,
    },
    /// Hold a rollout at its step
    Pause(Steer),
    /// Go on after a pause
    Resume(Steer),
    /// End the analysis and promote, as soon as readiness and gates allow
    Promote {
        /// The rollout.
        #[command(flatten)]
        steer: Steer,
        /// Do not ask the gates either
        #[arg(long)]
        full: bool,
    },
    /// Give a rollout up: all traffic goes to the promoted version
    Abort(Steer),
    /// Try the version that failed again
    Retry(Steer),
    /// Give the primary back what it ran before; the target is left as it is, and not tried again
    RollbackTo {
        /// The rollout.
        #[command(flatten)]
        steer: Steer,
        /// One of `status.rollout.keptRevisions`; by default what was promoted last before
        revision: Option<String>,
    },
    /// Keep what Flagger left as it is, and wait for the next version
    Adopt(Steer),
    /// Give the new version a share of traffic now; the analysis goes on from there
    SetWeight {
        /// The rollout.
        #[command(flatten)]
        steer: Steer,
        /// Percent
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        weight: u8,
    },
}

/// The rollout to steer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Steer {
    /// The Canary's name
    pub(crate) name: String,
    /// How long to wait for the operator's answer
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let read: Result<jiff::SignedDuration, _> = text.parse();
    read.ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a duration such as 30s, 10m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    fn parse(line: &str) -> Args {
        Args::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn options_may_follow_the_command() {
        let args = parse("fairlead canary set-weight podinfo 30 -n shop -o json --no-color");
        assert_eq!(args.connection.namespace.as_deref(), Some("shop"));
        assert_eq!(args.output.format, Format::Json);
        assert_eq!(args.output.no_color, Some(true));
        let Topic::Canary(About::Real(Command::SetWeight { weight, .. })) = args.topic else {
            unreachable!()
        };
        assert_eq!(weight, 30);
    }

    #[test]
    fn wrong_usage_is_refused_by_the_parser() {
        for line in [
            "fairlead canary set-weight podinfo 101",
            "fairlead canary wait podinfo --timeout soon",
            "fairlead canary pause",
            "fairlead canary get podinfo -A",
        ] {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
