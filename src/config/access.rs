//! `[[token]]`: who may ask the daemon over the network, and for what.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSettings {
    /// For people and logs.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the token, hexadecimal: whoever reads the settings cannot use it.
    pub sha256: String,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Search and look.
    #[default]
    Read,
    /// All that changes something, too.
    Admin,
}

impl TokenSettings {
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        if self.sha256.len() != 64 || !self.sha256.is_ascii() {
            return None;
        }
        for (place, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&self.sha256[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(digest)
    }
}

pub(super) fn check(tokens: &[TokenSettings], problems: &mut Vec<String>) {
    for (number, token) in tokens.iter().enumerate() {
        let key = format!("token {:?}", token.name);
        if token.name.is_empty() || token.name.chars().count() > 64 {
            problems.push(format!("{key}: name may have up to 64 characters, and at least one"));
        }
        if tokens[..number].iter().any(|other| other.name == token.name) {
            problems.push(format!("{key}: there are two of this name"));
        }
        if token.digest().is_none() {
            problems
                .push(format!("{key}: sha256 must have 64 hexadecimal digits: `clipseek token new` prints the table"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_and_others_refused() {
        let token = |sha256: &str| TokenSettings { sha256: sha256.to_owned(), ..TokenSettings::default() };
        assert_eq!(token(&"0f".repeat(32)).digest(), Some([15; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"é".repeat(32), &"+f".repeat(32)[..63]] {
            assert_eq!(token(wrong).digest(), None, "{wrong}");
        }
        let mut problems = Vec::new();
        check(&[token("x"), token("y")], &mut problems);
        assert!(problems.iter().any(|problem| problem.contains("two of this name")), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("clipseek token new")), "{problems:?}");
    }
}
