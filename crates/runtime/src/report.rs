//! Prints an error with all of its causes.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// An error and its chain of causes, joined by `: `, ready for a log line or a condition.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(&'a (dyn Error + 'a));

/// Wraps an error so that printing it also prints its causes.
///
/// Our errors leave the cause out of their own message, so that each cause is printed once.
pub fn report<'a>(error: &'a (dyn Error + 'a)) -> Report<'a> {
    Report(error)
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Libraries that do repeat their cause would print it twice.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("failed to read `{0}`")]
        Read(&'static str, #[source] io::Error),
        #[error("failed to read: {0}")]
        Repeats(#[source] io::Error),
    }

    #[test]
    fn prints_every_cause_once() {
        let error = Outer::Read("a.yaml", io::Error::other("disk gone"));
        assert_eq!(
            report(&error).to_string(),
            "failed to read `a.yaml`: disk gone"
        );
    }

    #[test]
    fn does_not_repeat_a_cause_that_the_message_already_ends_with() {
        let error = Outer::Repeats(io::Error::other("disk gone"));
        assert_eq!(report(&error).to_string(), "failed to read: disk gone");
    }
}
