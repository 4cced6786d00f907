//! Durations as manifests write them: `500ms`, `1.5s`, `1h30m`.
//!
//! Pure. The grammar is that of Go's
//! [`time.ParseDuration`](https://pkg.go.dev/time#ParseDuration), without a sign.

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text has no number where one must stand.
    #[error("`{0}` is not a duration: a number is missing; write for example `30s` or `1m30s`")]
    MissingNumber(String),
    /// A number stands without a known unit.
    #[error(
        "`{text}` is not a duration: `{unit}` is not a unit; \
         use `ms`, `s`, `m` or `h`, for example `30s`"
    )]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// What stands where a unit must stand.
        unit: String,
    },
    /// The duration is longer than about 292 years.
    #[error("`{0}` is too long for a duration")]
    TooLong(String),
}

/// Reads a duration.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0_u128;
    loop {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit_nanos = unit_nanos(unit)
            .filter(|_| !number.is_empty())
            .ok_or_else(|| explain(text, number, unit))?;
        nanos += scale(number, unit_nanos).ok_or_else(|| explain(text, "", unit))?;
        if nanos > u128::from(i64::MAX.unsigned_abs()) {
            return Err(Error::TooLong(text.to_owned()));
        }
        if next.is_empty() {
            break;
        }
        rest = next;
    }
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND);
    let subsecond = u32::try_from(nanos % NANOS_PER_SECOND);
    match (seconds, subsecond) {
        (Ok(seconds), Ok(subsecond)) => Ok(Duration::new(seconds, subsecond)),
        _ => Err(Error::TooLong(text.to_owned())),
    }
}

fn explain(text: &str, number: &str, unit: &str) -> Error {
    if number.is_empty() {
        Error::MissingNumber(text.to_owned())
    } else {
        Error::UnknownUnit {
            text: text.to_owned(),
            unit: unit.to_owned(),
        }
    }
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3600 * NANOS_PER_SECOND,
        _ => return None,
    })
}

/// Multiplies a decimal number with a unit, exactly, cutting what is below a nanosecond.
fn scale(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // More digits than these would only overflow or vanish.
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.get(..20).unwrap_or(whole).parse().ok()?
    };
    let fraction = fraction.get(..15).unwrap_or(fraction);
    let parts: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole * unit + parts * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, millis: u64) {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }

    #[test]
    fn reads_what_go_reads() {
        check("0", 0);
        check("0s", 0);
        check("5s", 5_000);
        check("100ms", 100);
        check("1.5s", 1_500);
        check(".5m", 30_000);
        check("1h30m", 5_400_000);
        check("1m30.25s", 90_250);
        check("1000us", 1);
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(parse_duration(""), Err(Error::MissingNumber(String::new())));
        assert_eq!(
            parse_duration("s"),
            Err(Error::MissingNumber("s".to_owned()))
        );
        assert_eq!(
            parse_duration("-5s"),
            Err(Error::MissingNumber("-5s".to_owned()))
        );
        assert_eq!(
            parse_duration("1..5s"),
            Err(Error::MissingNumber("1..5s".to_owned()))
        );
        for (text, unit) in [("5", ""), ("5 s", " s"), ("1d", "d"), ("5s3", "")] {
            let expected = Error::UnknownUnit {
                text: text.to_owned(),
                unit: unit.to_owned(),
            };
            assert_eq!(parse_duration(text), Err(expected));
        }
    }

    #[test]
    fn refuses_more_than_fits() {
        let long = "99999999999999999999999h";
        assert_eq!(parse_duration(long), Err(Error::TooLong(long.to_owned())));
        assert_eq!(
            parse_duration("2562048h"),
            Err(Error::TooLong("2562048h".to_owned()))
        );
    }
}
