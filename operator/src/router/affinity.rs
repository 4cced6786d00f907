//! Cookies that keep clients on the version that they got. Pure.
//!
//! A value belongs to one run of one Canary: it is made of what only that run has, so that no
//! other run's cookie is taken for it and no client can make one up. A cookie of the primary also
//! belongs to a weight: when that rises, its clients draw anew, as the share could not be reached
//! otherwise.

use fairlead_crds::canary::{Canary, CanaryStatus, Number, SessionAffinity};
use fairlead_crds::parse_duration;
use fairlead_rollout::{Split, State, Weight};
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Provider, escape};
use crate::canary::validate::Error;

/// How long a cookie lives, unless the spec says otherwise; Flagger's.
const DEFAULT_MAX_AGE: i64 = 86_400;
/// How long the primary's lives when the spec names no interval.
const DEFAULT_INTERVAL: u64 = 60;
/// The digits of a value: 80 bits.
const DIGITS: usize = 20;

/// The field of the primary's cookie.
const PRIMARY_NAME: &str = "spec.analysis.sessionAffinity.primaryCookieName";
/// What a cookie may be called.
const TOKEN: &str = "must be letters, digits and any of !#$&'*+-.^_`|~";

/// What binds the clients of a Canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    canary: Template,
    primary: Option<Template>,
    /// What tells this Canary from all others.
    uid: String,
    /// The run whose clients are bound.
    run: u64,
}

/// A cookie without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    name: String,
    max_age: i64,
    /// As they follow the value, each with its separator.
    attributes: String,
}

/// What a route asks of a request, and what it answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    /// A regular expression for the whole `cookie` header of clients that have it.
    pub(super) pattern: String,
    /// The `set-cookie` header.
    pub(super) header: String,
}

impl Affinity {
    /// Reads the settings of a Canary; `None` when it has none, or nothing to bind clients to.
    pub(super) fn new(canary: &Canary, provider: Provider) -> Result<Option<Self>, Error> {
        let analysis = &canary.spec.analysis;
        let Some(asked) = &analysis.session_affinity else {
            return Ok(None);
        };
        validate(asked)?;
        let protocol = canary.spec.service.as_ref();
        let protocol = protocol.and_then(|service| service.app_protocol.as_deref());
        let is_tcp = protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("tcp"));
        let counts = analysis
            .iterations
            .is_some_and(|count| count.as_f64() > 0.0);
        if is_tcp || counts || provider == Provider::Kubernetes {
            return Ok(None);
        }
        let interval = analysis.interval.as_deref().map(parse_duration);
        let interval = interval.and_then(Result::ok);
        let interval = interval.map_or(DEFAULT_INTERVAL, |interval| interval.as_secs().max(1));
        let max_age = asked.max_age.and_then(Number::whole).filter(|age| *age > 0);
        let cookie = |name: &String, max_age| Template {
            name: name.clone(),
            max_age,
            attributes: attributes(asked),
        };
        let interval = i64::try_from(interval).unwrap_or(i64::MAX);
        Ok(Some(Self {
            canary: cookie(&asked.cookie_name, max_age.unwrap_or(DEFAULT_MAX_AGE)),
            primary: primary_name(asked).map(|name| cookie(name, interval)),
            uid: canary.uid().unwrap_or_default(),
            run: 0,
        }))
    }

    /// Binds the clients of this run from now on.
    pub fn follow(&mut self, state: &State) {
        self.run = state.run.as_ref().map_or(0, |run| run.id);
    }

    /// Of clients that got the canary in this run.
    pub(super) fn canary(&self) -> Cookie {
        self.canary.with(&self.value("canary"))
    }

    /// Of clients that got the primary at this weight; none when they have nothing else to get.
    pub(super) fn primary(&self, split: Split) -> Option<Cookie> {
        let name = self.primary.as_ref()?;
        let role = format!("primary/{}", split.canary);
        (split.sticky && split.canary < Weight::FULL).then(|| name.with(&self.value(&role)))
    }

    /// Of clients that got the canary in any run, with the order to forget it.
    pub(super) fn expired(&self) -> Cookie {
        let Template {
            name, attributes, ..
        } = &self.canary;
        Cookie {
            pattern: pattern(name, "[^;]*"),
            header: format!("{name}=; Max-Age=-1{attributes}"),
        }
    }

    /// Whether a route is about one of these cookies, whoever made it.
    pub(super) fn concerns(&self, condition: &Value) -> bool {
        let names = [Some(&self.canary), self.primary.as_ref()];
        let text = condition.as_str().unwrap_or_default();
        let mentioned =
            |name: &Template| text.contains(&name.name) || text.contains(&escape(&name.name));
        names.into_iter().flatten().any(mentioned)
    }

    fn value(&self, role: &str) -> String {
        let Self { uid, run, .. } = self;
        let digest = Sha256::digest(format!("{uid}/{run}/{role}"));
        let mut digits = hex::encode(digest);
        digits.truncate(DIGITS);
        digits
    }

    /// Writes down, for people, which cookies are given out.
    pub fn note(&self, status: &mut CanaryStatus, split: Split) {
        let pair = |cookie: Cookie| {
            let pair = cookie.header.split(';').next();
            pair.map(ToOwned::to_owned)
        };
        if split.sticky {
            status.session_affinity_cookie = pair(self.canary());
            status.primary_session_affinity_cookie = self.primary(split).and_then(pair);
            status.previous_session_affinity_cookie = None;
        } else if let Some(last) = status.session_affinity_cookie.take() {
            status.primary_session_affinity_cookie = None;
            status.previous_session_affinity_cookie = Some(last);
        }
    }
}

impl Template {
    fn with(&self, value: &str) -> Cookie {
        let Self {
            name,
            max_age,
            attributes,
        } = self;
        Cookie {
            pattern: pattern(name, value),
            header: format!("{name}={value}; Max-Age={max_age}{attributes}"),
        }
    }
}

/// The whole header, in which the cookie is one of several.
fn pattern(name: &str, value: &str) -> String {
    format!("^(.*;\\s*)?{}={value}(;.*)?$", escape(name))
}

/// What adds a `set-cookie` header to an answer.
pub(super) fn answer(cookie: &Cookie) -> Value {
    json!({ "Set-Cookie": cookie.header })
}

fn primary_name(asked: &SessionAffinity) -> Option<&String> {
    let name = asked.primary_cookie_name.as_ref();
    name.filter(|name| !name.is_empty())
}

fn attributes(asked: &SessionAffinity) -> String {
    let SessionAffinity {
        cookie_name: _,
        primary_cookie_name: _,
        max_age: _,
        domain,
        http_only,
        partitioned,
        path,
        same_site,
        secure,
    } = asked;
    let named = |name: &str, value: &Option<String>| {
        let value = value.as_ref().filter(|value| !value.is_empty());
        value.map(|value| format!("; {name}={value}"))
    };
    let flag =
        |name: &str, is_set: Option<bool>| (is_set == Some(true)).then(|| format!("; {name}"));
    let all = [
        named("Domain", domain),
        named("Path", path),
        named("SameSite", same_site),
        flag("HttpOnly", *http_only),
        flag("Partitioned", *partitioned),
        flag("Secure", *secure),
    ];
    all.into_iter().flatten().collect()
}

/// Refuses what browsers or proxies would not take.
fn validate(asked: &SessionAffinity) -> Result<(), Error> {
    let refuse = |field, fix: &str| {
        Err(Error::Field {
            field,
            fix: fix.to_owned(),
        })
    };
    if !is_token(&asked.cookie_name) {
        return refuse("spec.analysis.sessionAffinity.cookieName", TOKEN);
    }
    if let Some(primary) = primary_name(asked) {
        if !is_token(primary) {
            return refuse(PRIMARY_NAME, TOKEN);
        }
        if *primary == asked.cookie_name {
            return refuse(PRIMARY_NAME, "must differ from cookieName");
        }
    }
    let lives = asked.max_age.map(|age| age.whole().filter(|age| *age >= 0));
    if lives == Some(None) {
        return refuse(
            "spec.analysis.sessionAffinity.maxAge",
            "must be a whole number of seconds; 0 is a day",
        );
    }
    let is_plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_graphic() && !";%".contains(c))
    };
    if !asked.domain.as_deref().is_none_or(is_plain) {
        return refuse(
            "spec.analysis.sessionAffinity.domain",
            "must be a domain, without blanks, `;` and `%`",
        );
    }
    if !asked.path.as_deref().is_none_or(is_plain) {
        return refuse(
            "spec.analysis.sessionAffinity.path",
            "must be a path, without blanks, `;` and `%`",
        );
    }
    Ok(())
}

/// A cookie's name (RFC 6265), without the percent sign, which proxies read as a variable.
fn is_token(name: &str) -> bool {
    let special = "!#$&'*+-.^_`|~";
    let fits = |c: char| c.is_ascii_alphanumeric() || special.contains(c);
    !name.is_empty() && name.chars().all(fits)
}

#[cfg(test)]
mod tests;
