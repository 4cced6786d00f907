//! Ranges of semantic versions as Helm and Flux write them: `>=1.0.0 <2.0.0`, `~1.2`, `1.x || 3`.
//!
//! Pre-releases are in a range only if the range itself names one, for example `>=1.0.0-0`.

use std::cmp::Ordering;

/// A version, compared as SemVer 2.0 says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(semver::Version);

impl Version {
    /// Reads a tag: three numbers, perhaps behind a `v`.
    pub(super) fn parse(tag: &str) -> Option<Self> {
        let text = tag.strip_prefix('v').unwrap_or(tag);
        semver::Version::parse(text).ok().map(Self)
    }
}

/// Alternatives, each of which is a set of conditions.
#[derive(Clone, Debug)]
pub(super) struct VersionRange(Vec<Vec<Bound>>);

/// Why a text is not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version")]
pub(super) struct Malformed(String);

/// One condition.
#[derive(Clone, Debug)]
struct Bound {
    test: Test,
    version: semver::Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    AtLeast,
    Above,
    AtMost,
    Below,
    Not,
}

impl VersionRange {
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        text.split("||")
            .map(alternative)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn contains(&self, version: &Version) -> bool {
        self.0.iter().any(|bounds| {
            let takes_pre_releases = bounds.iter().any(|bound| !bound.version.pre.is_empty());
            let is_release = version.0.pre.is_empty();
            (is_release || takes_pre_releases)
                && bounds.iter().all(|bound| bound.is_met(&version.0))
        })
    }
}

impl Bound {
    fn is_met(&self, version: &semver::Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.test {
            Test::AtLeast => order != Ordering::Less,
            Test::Above => order == Ordering::Greater,
            Test::AtMost => order != Ordering::Greater,
            Test::Below => order == Ordering::Less,
            Test::Not => order != Ordering::Equal,
        }
    }
}

fn alternative(text: &str) -> Result<Vec<Bound>, Malformed> {
    if let Some((low, high)) = text.split_once(" - ") {
        let mut bounds = conditions(">=", low.trim())?;
        bounds.extend(conditions("<=", high.trim())?);
        return Ok(bounds);
    }
    let mut bounds = Vec::new();
    let mut operator = String::new();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let start = word
            .find(|c: char| !"<>=!~^".contains(c))
            .unwrap_or(word.len());
        operator.push_str(&word[..start]);
        if start < word.len() {
            bounds.extend(conditions(&std::mem::take(&mut operator), &word[start..])?);
        }
    }
    if operator.is_empty() {
        Ok(bounds)
    } else {
        Err(Malformed(operator))
    }
}

/// A version of which the last numbers may be missing or `x`.
struct Partial {
    numbers: Vec<u64>,
    lowest: semver::Version,
}

impl Partial {
    fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed(text.to_owned());
        let plain = text.strip_prefix('v').unwrap_or(text);
        if let Ok(version) = semver::Version::parse(plain) {
            let numbers = vec![version.major, version.minor, version.patch];
            return Ok(Self {
                numbers,
                lowest: version,
            });
        }
        let mut numbers = Vec::new();
        for part in plain.split('.') {
            if matches!(part, "x" | "X" | "*") {
                break;
            }
            numbers.push(part.parse().map_err(|_not_a_number| malformed())?);
        }
        if numbers.len() > 3 {
            return Err(malformed());
        }
        let number = |position: usize| numbers.get(position).copied().unwrap_or(0);
        let lowest = semver::Version::new(number(0), number(1), number(2));
        Ok(Self { numbers, lowest })
    }

    /// The first version above all that begin with the first `kept` numbers.
    fn after(&self, kept: usize) -> semver::Version {
        let number = |position: usize| match (position + 1).cmp(&kept) {
            Ordering::Less => self.numbers.get(position).copied().unwrap_or(0),
            Ordering::Equal => self
                .numbers
                .get(position)
                .copied()
                .unwrap_or(0)
                .saturating_add(1),
            Ordering::Greater => 0,
        };
        semver::Version::new(number(0), number(1), number(2))
    }
}

fn conditions(operator: &str, text: &str) -> Result<Vec<Bound>, Malformed> {
    let version = Partial::parse(text)?;
    let given = version.numbers.len();
    if given == 0 {
        return Ok(Vec::new());
    }
    let is_full = given == 3;
    let at_least = Bound {
        test: Test::AtLeast,
        version: version.lowest.clone(),
    };
    let below = |kept| Bound {
        test: Test::Below,
        version: version.after(kept),
    };
    let one = |test| {
        vec![Bound {
            test,
            version: version.lowest.clone(),
        }]
    };
    Ok(match operator {
        "" | "=" | "==" if is_full => vec![
            at_least,
            Bound {
                test: Test::AtMost,
                version: version.lowest.clone(),
            },
        ],
        "" | "=" | "==" => vec![at_least, below(given)],
        ">=" | "=>" => vec![at_least],
        ">" if is_full => one(Test::Above),
        ">" => vec![Bound {
            test: Test::AtLeast,
            version: version.after(given),
        }],
        "<" => one(Test::Below),
        "<=" | "=<" if is_full => one(Test::AtMost),
        "<=" | "=<" => vec![below(given)],
        "!=" => one(Test::Not),
        "~" | "~>" => vec![at_least, below(given.min(2))],
        "^" => {
            // The first number that is not zero must stay.
            let significant = version
                .numbers
                .iter()
                .position(|number| *number > 0)
                .map_or(given, |at| at + 1);
            vec![at_least, below(significant)]
        }
        other => return Err(Malformed(format!("{other}{text}"))),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(range: &str, inside: &[&str], outside: &[&str]) {
        let parsed = VersionRange::parse(range).unwrap();
        for version in inside {
            assert!(
                parsed.contains(&Version::parse(version).unwrap()),
                "{version} in {range}"
            );
        }
        for version in outside {
            assert!(
                !parsed.contains(&Version::parse(version).unwrap()),
                "{version} not in {range}"
            );
        }
    }

    #[test]
    fn ranges_mean_what_helm_and_flux_mean() {
        check(
            ">=1.0.0 <2.0.0",
            &["1.0.0", "v1.9.9"],
            &["2.0.0", "0.9.0", "1.1.0-rc.1"],
        );
        check(">= 1.0.0, != 1.1.0", &["1.0.0"], &["1.1.0"]);
        check("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2"]);
        check("~1", &["1.9.0"], &["2.0.0"]);
        check("^1.2", &["1.9.0"], &["2.0.0", "1.1.0"]);
        check("^0.2.3", &["0.2.4"], &["0.3.0"]);
        check("1.2.x || 3", &["1.2.7", "3.4.5"], &["1.3.0", "4.0.0"]);
        check("1.0 - 2.0", &["1.0.0", "2.0.9"], &["2.1.0"]);
        check(">1.2", &["1.3.0"], &["1.2.9"]);
        check("*", &["0.0.1"], &["1.0.0-rc.1"]);
        check(">=1.0.0-0", &["1.1.0-rc.1", "1.0.0"], &["0.9.0"]);
        check("1.2.3", &["1.2.3"], &["1.2.4"]);
    }

    #[test]
    fn what_is_not_a_range_is_refused() {
        for text in ["abc", ">=", "1.2.3.4", "<>1.0.0"] {
            assert!(
                matches!(VersionRange::parse(text), Err(Malformed(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_range_of_one_version_holds_just_that(a in 0..4_u64, b in 0..4_u64, c in 0..4_u64, d in 0..4_u64) {
            let range = VersionRange::parse(&format!("{a}.{b}.{c}")).unwrap();
            let version = Version::parse(&format!("{a}.{b}.{d}")).unwrap();
            prop_assert_eq!(range.contains(&version), c == d);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9x.*<>=~^| v-]{0,20}") {
            let _ = VersionRange::parse(&text).map(|range| range.contains(&Version::parse("1.2.3").unwrap()));
        }
    }
}
