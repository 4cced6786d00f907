//! Signs what is sent, so that a receiver can tell who sent it and when. Pure.
//!
//! HMAC-SHA256 ([RFC 2104](https://www.rfc-editor.org/rfc/rfc2104)) over the time, a full stop and
//! the body; the time is under the signature, so that an old message cannot be sent again as new.

use aws_lc_rs::hmac;
use jiff::Timestamp;

/// The header with the signature: `t=<seconds since 1970>,sha256=<hexadecimal>`.
pub const HEADER: &str = "x-signature";
/// The key of a Secret that holds the bytes to sign with.
pub const KEY: &str = "hmacKey";

/// The value of the header [`HEADER`].
pub fn sign(key: &[u8], body: &[u8], at: Timestamp) -> String {
    let at = at.as_second();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(format!("{at}.").as_bytes());
    context.update(body);
    format!("t={at},sha256={}", hex::encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '1772445600.{"a":1}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn a_signature_is_what_other_tools_make_of_time_and_body() {
        let at: Timestamp = "2026-03-02T10:00:00Z".parse().unwrap();
        assert_eq!(
            sign(b"key", br#"{"a":1}"#, at),
            "t=1772445600,sha256=aed2470186db04742cdafcbacdf7c3d8ecd305183f057ef7fd139055d2e4e814"
        );
    }
}
