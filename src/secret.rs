//! What must not be shown: keys and tokens, and addresses that may carry some.
//!
//! A [`Secret`] and a [`SecretUrl`] hide themselves in everything that prints or serialises them, so a derived `Debug`,
//! an error or `clipseek config show` cannot give them away. Only `expose` gives what they hold, for the one call that
//! needs it. Addresses that are not kept, such as an argument quoted in an error, are printed as [`redacted`].

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Stands where something was left out of an address.
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

/// An address that may hold a password or a token. Printed as [`redacted`].
#[derive(Clone, PartialEq)]
pub struct SecretUrl(Secret);

impl SecretUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(Secret::new(url))
    }

    /// The whole address.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The parts that [`redacted`] leaves out, to take them out of messages that others have written.
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

/// A text. The error about anything else does not quote it, as errors of serde do; and a number is not taken for one,
/// since a key of digits would lose its leading zeros.
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

/// The address with `***` in place of what may be secret: user and password, and every value of its query, since
/// nothing tells a token from another value. Addresses that break the rules of the syntax are read so that rather too
/// much is left out. A secret that is a plain part of the path (`rtmp://host/live/KEY`) cannot be told from a name and
/// stays.
pub fn redacted(url: &str) -> String {
    take_apart(url).0
}

/// What is shown, and the parts that are not.
fn take_apart(url: &str) -> (String, Vec<&str>) {
    let is_scheme = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let (mut shown, rest) = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), url),
    };
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    if query.contains('@') {
        // Either the '@' is part of a value, or the '?' of a password: nothing tells which.
        return (shown + LEFT_OUT, vec![rest]);
    }
    let mut hidden = Vec::new();
    // A password may hold '/' or '@' although it should not, so only what follows the last '@' is the place.
    let place = match place.rsplit_once('@') {
        Some((user, place)) => {
            hidden.push(user);
            shown += LEFT_OUT;
            shown.push('@');
            place
        }
        None => place,
    };
    // Some cameras take their password as a part of the path: /user=admin&password=x/.
    for part in place.split_inclusive('/') {
        push_part(part, "/", part.contains('='), &mut shown, &mut hidden);
    }
    for part in query.split_inclusive(['?', '#', '&', ';']) {
        push_part(part, "?#&;", true, &mut shown, &mut hidden);
    }
    hidden.retain(|part| !part.is_empty());
    (shown, hidden)
}

/// Shows a part, of one to be hidden only its name and the separator behind it.
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
        // Without a value it may be a bare token, which base64 ends with '='.
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
            // What should have been written with %2F, %40, %3F and the like.
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

    proptest! {
        /// However it is spelled, and wherever it stands but in the path.
        #[test]
        fn no_password_and_no_token_is_shown(
            before in "[a-z0-9:/@?#&=;%]{0,8}", after in "[a-z0-9:/?#&=;%]{0,8}", path in "[a-z0-9/@]{0,8}",
        ) {
            let url = format!("rtsp://{before}SECRET{after}@cam/{path}");
            prop_assert!(!redacted(&url).contains("SECRET"), "{} of {}", redacted(&url), url);
            // In front of '=' stands a name.
            let after = after.replace('=', "");
            let url = format!("http://cam/{path}?{before}SECRET{after}");
            prop_assert!(!redacted(&url).contains("SECRET"), "{} of {}", redacted(&url), url);
        }
    }
}
