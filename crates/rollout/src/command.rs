//! What a person asks of a rollout: `verb[=value]@id`, as text and as data. Pure data.
//!
//! The id makes a command one of its kind: the same text is carried out once, however often git
//! or a restart shows it again.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::weight::Weight;

/// Longer texts are cut; an annotation may hold much more than a status should repeat.
const MOST_CHARACTERS: usize = 128;

/// Who gave a command, and how far that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// The user whom the API server knew when it let the command in.
    Verified(String),
    /// The name that whoever gave it chose to write under.
    Claimed(String),
}

impl Author {
    /// The name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::Verified(name) | Self::Claimed(name) => name,
        }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified(name) => f.write_str(name),
            Self::Claimed(name) => write!(f, "{name} (unverified)"),
        }
    }
}

/// A command as it was found, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    token: String,
    /// Who asked, when that is known.
    pub by: Option<Author>,
}

impl Request {
    /// A request; of an overlong text only the beginning counts.
    pub fn new(text: &str, by: Option<Author>) -> Self {
        Self {
            token: text.trim().chars().take(MOST_CHARACTERS).collect(),
            by,
        }
    }

    /// The text that names the command for ever.
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// A command that was handled: carried out, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Its text.
    pub token: String,
    /// Who asked, when that is known.
    pub by: Option<Author>,
    /// When it was handled.
    pub at: Timestamp,
    /// Why it was not carried out.
    pub refused: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Stay at this step.
    Pause,
    /// Go on after a pause.
    Resume,
    /// End the analysis and promote; gates that others hold are still asked.
    Promote,
    /// Promote, whatever gates say.
    PromoteFull,
    /// Give the run up.
    Abort,
    /// Try the refused revision again.
    Retry,
    /// Give the canary this weight and go on from there.
    SetWeight(Weight),
    /// Keep what another controller left as it is, and wait for the next revision.
    Adopt,
    /// Return to a revision that was promoted earlier; to the last one when none is named.
    RollbackTo(Option<String>),
}

impl Verb {
    /// The word that names it, and the right to it: the chart lists them in `fairlead.commands`,
    /// and its policy refuses any other.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::PromoteFull => "promote-full",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::SetWeight(_) => "set-weight",
            Self::Adopt => "adopt",
            Self::RollbackTo(_) => "rollback-to",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::SetWeight(weight) => write!(f, "={weight}"),
            Self::RollbackTo(Some(revision)) => write!(f, "={revision}"),
            Self::Pause
            | Self::Resume
            | Self::Promote
            | Self::PromoteFull
            | Self::Abort
            | Self::Retry
            | Self::Adopt
            | Self::RollbackTo(None) => Ok(()),
        }
    }
}

/// A command that can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is asked for.
    pub verb: Verb,
    /// What tells it from all others.
    pub id: String,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.verb, self.id)
    }
}

/// Why a command cannot be understood, and what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableCommand {
    /// There is no id.
    #[error(
        "`{0}` has no id; write `verb@id` or `verb=value@id`, with an id that was not used before"
    )]
    NoId(String),
    /// The word is none of ours.
    #[error(
        "`{0}` is no command; there are pause, resume, promote, promote-full, abort, retry, \
         adopt, set-weight=N and rollback-to[=REVISION]"
    )]
    UnknownVerb(String),
    /// The verb takes no value.
    #[error("`{0}` takes no value")]
    NeedlessValue(String),
    /// The weight is none.
    #[error("`set-weight` needs a whole number from 0 to 100, not `{0}`")]
    Weight(String),
    /// The revision is missing.
    #[error(
        "`rollback-to=` needs a revision, as in `rollback-to=7d9d8d86f5@id`; `rollback-to@id` goes \
         back to the one before"
    )]
    NoRevision,
}

impl FromStr for Command {
    type Err = UnreadableCommand;

    fn from_str(text: &str) -> Result<Self, UnreadableCommand> {
        let (asked, id) = text
            .split_once('@')
            .filter(|(_, id)| !id.is_empty())
            .ok_or_else(|| UnreadableCommand::NoId(text.to_owned()))?;
        let (word, value) = match asked.split_once('=') {
            Some((word, value)) => (word, Some(value)),
            None => (asked, None),
        };
        let verb = match (word, value) {
            ("set-weight", value) => Verb::SetWeight(weight(value.unwrap_or_default())?),
            ("rollback-to", Some("")) => return Err(UnreadableCommand::NoRevision),
            ("rollback-to", revision) => Verb::RollbackTo(revision.map(ToOwned::to_owned)),
            ("pause", None) => Verb::Pause,
            ("resume", None) => Verb::Resume,
            ("promote", None) => Verb::Promote,
            ("promote-full", None) => Verb::PromoteFull,
            ("abort", None) => Verb::Abort,
            ("retry", None) => Verb::Retry,
            ("adopt", None) => Verb::Adopt,
            (
                "pause" | "resume" | "promote" | "promote-full" | "abort" | "retry" | "adopt",
                Some(_),
            ) => {
                return Err(UnreadableCommand::NeedlessValue(word.to_owned()));
            }
            _ => return Err(UnreadableCommand::UnknownVerb(word.to_owned())),
        };
        Ok(Self {
            verb,
            id: id.to_owned(),
        })
    }
}

fn weight(text: &str) -> Result<Weight, UnreadableCommand> {
    let percent = text.parse().ok().and_then(Weight::new);
    percent.ok_or_else(|| UnreadableCommand::Weight(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_reads_back_as_it_was_written() {
        let verbs = [
            Verb::Pause,
            Verb::Resume,
            Verb::Promote,
            Verb::PromoteFull,
            Verb::Abort,
            Verb::Retry,
            Verb::Adopt,
            Verb::SetWeight(Weight::clamped(30)),
            Verb::RollbackTo(None),
            Verb::RollbackTo(Some("7d9d8d86f5".to_owned())),
        ];
        for verb in verbs {
            let command = Command {
                verb,
                id: "a@1".to_owned(),
            };
            assert_eq!(command.to_string().parse(), Ok(command));
        }
    }

    #[test]
    fn what_cannot_be_understood_says_what_it_should_be() {
        let refused = |text: &str| text.parse::<Command>().map_err(|error| error.to_string());
        for (text, fix) in [
            ("pause", "has no id"),
            ("pause@", "has no id"),
            ("stop@1", "there are pause, resume"),
            ("abort=now@1", "takes no value"),
            ("set-weight@1", "0 to 100"),
            ("set-weight=101@1", "0 to 100"),
            ("set-weight=-1@1", "0 to 100"),
            ("rollback-to=@1", "needs a revision"),
        ] {
            let error = refused(text).expect_err("it makes no sense");
            assert!(error.contains(fix), "{text}: {error}");
        }
    }

    #[test]
    fn an_overlong_request_is_cut_to_what_a_status_can_hold() {
        let request = Request::new(&"é".repeat(10_000), None);
        assert_eq!(request.token().chars().count(), MOST_CHARACTERS);
    }
}
