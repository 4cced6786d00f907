//! How a provider or a hook is reached: address, credentials, headers, authorities. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use k8s_openapi::ByteString;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::{Settings, Trust};

/// Why something cannot be asked as it is described; the texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A header cannot be sent.
    #[error("header `{0}` is not valid")]
    Header(String),
    /// Token or password cannot be sent.
    #[error("the credentials hold a line break")]
    Credentials,
}

/// How to prove who we are.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// By a bearer token.
    Token(String),
    /// By name and password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    /// Shows no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::Basic { .. } => "Basic",
        })
    }
}

/// Where a provider is and how to ask it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Its base address.
    pub address: String,
    /// How to prove who we are.
    pub credentials: Credentials,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// The certificates that it may show.
    pub trust: Trust,
}

impl std::fmt::Debug for Access {
    /// Shows no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("credentials", &self.credentials)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Adds what a Secret holds: `token`, or `username` and `password`; `ca.crt`; and `headers`,
    /// with a line `Name: value` for each. Gives the number of kinds that were there.
    pub fn add_secret(
        &mut self,
        data: &BTreeMap<String, ByteString>,
    ) -> Result<usize, &'static str> {
        let text = |key| {
            data.get(key)
                .map(|bytes: &ByteString| String::from_utf8_lossy(&bytes.0).trim().to_owned())
        };
        let mut kinds = 0;
        match (text("token"), text("username"), text("password")) {
            (Some(token), _, _) => {
                self.credentials = Credentials::Token(token);
                kinds += 1;
            }
            (None, Some(username), Some(password)) => {
                self.credentials = Credentials::Basic { username, password };
                kinds += 1;
            }
            (None, Some(_), None) => return Err("holds `username` without `password`"),
            (None, None, Some(_)) => return Err("holds `password` without `username`"),
            (None, None, None) => {}
        }
        if let Some(authority) = data.get("ca.crt") {
            // Asked to accept anything, it would be wrong to refuse more.
            if self.trust == Trust::System {
                self.trust = Trust::Authority(authority.0.clone());
            }
            kinds += 1;
        }
        if let Some(lines) = text("headers") {
            for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                let (name, value) = line
                    .split_once(':')
                    .ok_or("holds `headers` with a line that is not `Name: value`")?;
                let header = (name.trim().to_owned(), value.trim().to_owned());
                self.headers.push(header);
            }
            kinds += 1;
        }
        Ok(kinds)
    }

    /// What a client for it is like.
    pub fn settings(&self) -> Settings {
        Settings {
            trust: self.trust.clone(),
            proxy: None,
        }
    }

    /// The headers of each request.
    pub fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let wrong = || Error::Header(name.clone());
            let key: HeaderName = name.parse().map_err(|_no_name| wrong())?;
            let mut value: HeaderValue = value.parse().map_err(|_no_value| wrong())?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        let authorization = match &self.credentials {
            Credentials::None => return Ok(headers),
            Credentials::Token(token) => format!("Bearer {token}"),
            Credentials::Basic { username, password } => {
                let pair = format!("{username}:{password}");
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                format!("Basic {pair}")
            }
        };
        let mut value =
            HeaderValue::try_from(authorization).map_err(|_no_value| Error::Credentials)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(headers)
    }

    /// Takes out of a text what proves who we are, as a server might repeat it.
    pub fn redact(&self, text: &str) -> String {
        let mut secrets: Vec<String> = match &self.credentials {
            Credentials::None => Vec::new(),
            Credentials::Token(token) => vec![token.clone()],
            Credentials::Basic { username, password } => {
                let pair = format!("{username}:{password}");
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                vec![password.clone(), pair]
            }
        };
        secrets.extend(self.headers.iter().map(|(_, value)| value.clone()));
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(&secret, "***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, &str)]) -> BTreeMap<String, ByteString> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
            .collect()
    }

    fn headers(entries: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut access = Access::default();
        access.add_secret(&secret(entries)).unwrap();
        let headers = access.headers().unwrap();
        headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    fn check(entries: &[(&str, &str)], expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(headers(entries), expected);
    }

    #[test]
    fn a_secret_proves_who_we_are() {
        check(&[("token", "abc\n")], &[("authorization", "Bearer abc")]);
        check(
            &[("username", "ann"), ("password", "x")],
            &[("authorization", "Basic YW5uOng=")],
        );
        check(
            &[("headers", "X-Scope-OrgID: team\n\nX-Key:a:b\n")],
            &[("x-scope-orgid", "team"), ("x-key", "a:b")],
        );
    }

    #[test]
    fn a_secret_brings_an_authority_unless_anything_is_accepted() {
        let data = secret(&[("ca.crt", "pem")]);
        let mut access = Access::default();
        access.add_secret(&data).unwrap();
        assert_eq!(access.trust, Trust::Authority(b"pem".to_vec()));
        access.trust = Trust::Anything;
        access.add_secret(&data).unwrap();
        assert_eq!(access.trust, Trust::Anything);
    }

    #[test]
    fn half_a_secret_is_refused_and_none_is_told() {
        for entries in [
            [("username", "ann")],
            [("password", "x")],
            [("headers", "no colon")],
        ] {
            let mut access = Access::default();
            access.add_secret(&secret(&entries)).unwrap_err();
        }
        let mut access = Access::default();
        assert_eq!(access.add_secret(&secret(&[("tokens", "abc")])), Ok(0));
    }

    #[test]
    fn what_a_server_repeats_is_taken_out() {
        let mut access = Access::default();
        let data = [
            ("username", "ann"),
            ("password", "pass"),
            ("headers", "X-Key: k3y"),
        ];
        access.add_secret(&secret(&data)).unwrap();
        let text = "401: Basic YW5uOnBhc3M= (ann, pass), x-key k3y";
        assert_eq!(access.redact(text), "401: Basic *** (ann, ***), x-key ***");
    }

    #[test]
    fn printing_shows_no_secret() {
        let mut access = Access {
            address: "https://secret".to_owned(),
            ..Access::default()
        };
        access
            .add_secret(&secret(&[("token", "secret"), ("headers", "a: secret")]))
            .unwrap();
        assert!(!format!("{access:?}").contains("secret"));
    }
}
