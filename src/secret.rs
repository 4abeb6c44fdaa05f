//! Secrets that must not be printed: keys, tokens, and URLs that may contain them.
//!
//! [`Secret`] and [`SecretUrl`] hide their content when printed or serialised, so a derived `Debug`, an error or
//! `clipseek config show` cannot reveal it. Only `expose` returns the content, for the one call that needs it. URLs
//! that are not stored, such as an argument quoted in an error, are printed as [`redacted`].

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Replaces hidden parts of a URL.
const LEFT_OUT: &str = "***";

/// A key, token or password. Printed as `(hidden)`; its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self::new)
    }
}

/// A URL that may contain a password or a token. Printed as [`redacted`].
#[derive(Clone, PartialEq)]
pub struct SecretUrl(Secret);

impl SecretUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(Secret::new(url))
    }

    /// The whole URL.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The parts that [`redacted`] hides, to remove them from messages of other libraries.
    pub fn secrets(&self) -> Vec<Secret> {
        take_apart(self.expose()).1.into_iter().map(Secret::new).collect()
    }
}

impl std::fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&redacted(self.expose()))
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", redacted(self.expose()))
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&redacted(self.expose()))
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self::new)
    }
}

/// A text of another library with these secrets left out, as they are and percent-encoded.
pub fn hide(text: &str, secrets: &[Secret]) -> String {
    let mut shown = text.to_owned();
    for secret in secrets.iter().map(Secret::expose).filter(|secret| !secret.is_empty()) {
        let encoded = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string();
        shown = shown.replace(secret, LEFT_OUT).replace(&encoded, LEFT_OUT);
    }
    shown
}

/// Reads a text. Unlike serde's errors, the error for another type does not quote the value. Numbers are refused,
/// because a key of digits would lose its leading zeros.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        #[allow(dead_code, reason = "only told apart from a text")]
        Other(IgnoredAny),
    }
    match Value::deserialize(deserializer)? {
        Value::Text(text) => Ok(text),
        Value::Other(_) => Err(D::Error::custom("it must be a text in quotes")),
    }
}

/// The URL with `***` in place of what may be secret: user and password, and every value of the query, because a token
/// looks like any other value. If a URL breaks the syntax, rather too much is hidden. So is the last part of the path of an
/// RTMP address, which is a name or a key (`rtmp://host/live/KEY`), unless it is too short for a key.
pub fn redacted(url: &str) -> String {
    take_apart(url).0
}

const SHORTEST_KEY: usize = 8;

/// The redacted URL, and the hidden parts.
fn take_apart(url: &str) -> (String, Vec<&str>) {
    let is_scheme = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let (mut shown, rest) = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), url),
    };
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    if query.contains('@') {
        // The '@' may be part of a value, or the '?' part of a password; nothing tells which.
        return (shown + LEFT_OUT, vec![rest]);
    }
    let mut hidden = Vec::new();
    // A password may contain '/' or '@' although it should not, so the host begins after the last '@'.
    let place = match place.rsplit_once('@') {
        Some((user, place)) => {
            hidden.push(user);
            shown += LEFT_OUT;
            shown.push('@');
            place
        }
        None => place,
    };
    // Some cameras take their password in the path: /user=admin&password=x/.
    let parts: Vec<&str> = place.split_inclusive('/').collect();
    for (number, part) in (1..).zip(&parts) {
        // Host, application, key.
        let is_key = url.starts_with("rtmp") && number > 2 && number == parts.len() && part.len() >= SHORTEST_KEY;
        push_part(part, "/", is_key || part.contains('='), &mut shown, &mut hidden);
    }
    for part in query.split_inclusive(['?', '#', '&', ';']) {
        push_part(part, "?#&;", true, &mut shown, &mut hidden);
    }
    hidden.retain(|part| !part.is_empty());
    (shown, hidden)
}

/// Appends a part to `shown`; of a hidden part only its name and separator.
fn push_part<'a>(part: &'a str, separators: &str, hide: bool, shown: &mut String, hidden: &mut Vec<&'a str>) {
    let text = part.trim_end_matches(|c| separators.contains(c));
    let separator = &part[text.len()..];
    if !hide || text.is_empty() {
        *shown += part;
        return;
    }
    let value = match text.split_once('=') {
        Some((name, value)) if value.chars().any(|c| c != '=') => {
            *shown += name;
            shown.push('=');
            value
        }
        // Without a value it may be a bare token; base64 may end with '='.
        _ => text,
    };
    hidden.push(value);
    *shown += LEFT_OUT;
    *shown += separator;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_shows_itself_to_nobody_who_does_not_ask() {
        #[derive(Clone, Debug, PartialEq, Serialize)]
        struct Both {
            key: Secret,
            url: SecretUrl,
        }
        let both = Both { key: Secret::new("sesame"), url: SecretUrl::new("http://me:sesame@host:1/?t=sesame") };
        let texts = [format!("{both:?}"), serde_json::to_string(&both).unwrap(), both.url.to_string()];
        for text in texts {
            assert!(!text.contains("sesame") && text.contains("host:1") | text.contains("hidden"), "{text}");
        }
        assert_eq!((both.key.expose(), both.url.expose()), ("sesame", "http://me:sesame@host:1/?t=sesame"));
        assert_eq!(both.url.secrets(), [Secret::new("me:sesame"), Secret::new("sesame")]);
        let error = serde_json::from_str::<Secret>("91827").unwrap_err().to_string();
        assert!(!error.contains("91827") && error.contains("text in quotes"), "{error}");
    }

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("http://localhost:6334", "http://localhost:6334"),
            ("https://me:pass@host:6334/a/b", "https://***@host:6334/a/b"),
            ("rtsp://me@cam/stream1", "rtsp://***@cam/stream1"),
            ("http://host/x?token=abc", "http://host/x?token=***"),
            ("http://host/x?quality=1&token=abc#part=2", "http://host/x?quality=***&token=***#part=***"),
            ("http://host/x?abc", "http://host/x?***"),
            ("http://host/x?c2VzYW1l==", "http://host/x?***"),
            ("http://host/x?a=&b", "http://host/x?***&***"),
            ("http://host/x#access_token=abc", "http://host/x#access_token=***"),
            ("srt://host:9000?mode=caller&passphrase=abc", "srt://host:9000?mode=***&passphrase=***"),
            ("rtsp://cam:554/user=admin&password=x/1", "rtsp://cam:554/user=***/1"),
            ("rtmp://host/live/x8f3-k2p9-aa", "rtmp://host/live/***"),
            ("rtmps://host:443/live/door", "rtmps://host:443/live/door"),
            ("rtmp://host/application", "rtmp://host/application"),
            // Characters that should have been written as %2F, %40, %3F and so on.
            ("rtsp://me:pa/ss@cam/1", "rtsp://***@cam/1"),
            ("rtsp://me:12/34@cam/1", "rtsp://***@cam/1"),
            ("rtsp://me:p@ss/word@cam/1", "rtsp://***@cam/1"),
            ("rtsp://me:p#ss@cam/1", "rtsp://***"),
            ("rtsp://me:p?ss@cam/1", "rtsp://***"),
            ("http://host/x?token=a@b", "http://***"),
            ("me:p://ss@cam", "***@cam"),
            ("me:pass@host:6334", "***@host:6334"),
            ("", ""),
        ] {
            assert_eq!(redacted(url), shown, "{url}");
        }
    }

    #[test]
    fn messages_of_others_lose_the_secrets_in_them() {
        let secrets = [Secret::new("p@ss"), Secret::new("")];
        assert_eq!(hide("cannot open rtsp://me:p%40ss@cam (p@ss)", &secrets), "cannot open rtsp://me:***@cam (***)");
    }

    proptest! {
        /// Whatever characters surround the secret, and wherever it is except in the path.
        #[test]
        fn no_password_and_no_token_is_shown(
            before in "[a-z0-9:/@?#&=;%]{0,8}", after in "[a-z0-9:/?#&=;%]{0,8}", path in "[a-z0-9/@]{0,8}",
        ) {
            let url = format!("rtsp://{before}SECRET{after}@cam/{path}");
            prop_assert!(!redacted(&url).contains("SECRET"), "{} of {}", redacted(&url), url);
            // Text before '=' is a name.
            let after = after.replace('=', "");
            let url = format!("http://cam/{path}?{before}SECRET{after}");
            prop_assert!(!redacted(&url).contains("SECRET"), "{} of {}", redacted(&url), url);
        }
    }
}
