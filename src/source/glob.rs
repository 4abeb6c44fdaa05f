//! Patterns over paths, and comparing names independent of their Unicode normalization.
//!
//! Unicode encodes many letters in two ways: composed (`é`, as usually typed on Linux and Windows) and decomposed (`e`
//! and an accent, as macOS stores file names). Both look the same, so patterns and paths are compared in the composed
//! form (NFC).

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// A pattern over whole paths: `*` and `?` do not match `/`, `**` does. A pattern that does not begin with `/` may
/// match from any folder on: `*.mp4` matches file names, `garage/*` the files in any folder of that name.
#[derive(Clone, Debug)]
pub struct PathGlob {
    pattern: String,
    matcher: GlobMatcher,
}

impl PathGlob {
    pub fn new(pattern: &str) -> Result<Self, globset::Error> {
        let anchored = if pattern.starts_with('/') { pattern.to_owned() } else { format!("**/{pattern}") };
        let pattern: String = anchored.nfc().collect();
        let matcher = GlobBuilder::new(&pattern).literal_separator(true).build()?.compile_matcher();
        Ok(Self { pattern, matcher })
    }

    pub fn matches(&self, path: &Path) -> bool {
        self.matcher.is_match(composed(path))
    }

    /// Texts that every matching path contains, in the composed form.
    pub fn literals(&self) -> Vec<String> {
        let (mut literals, mut literal) = (Vec::new(), String::new());
        let mut characters = self.pattern.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => literal.extend(characters.next()),
                // Separators are left out, because `**/` may match no folder at all.
                '*' | '?' | '/' | '[' | '{' => {
                    literals.push(std::mem::take(&mut literal));
                    skip_alternatives(character, &mut characters);
                }
                plain => literal.push(plain),
            }
        }
        literals.push(literal);
        literals.retain(|literal| !literal.is_empty());
        literals
    }
}

/// Skips the rest of a character class or list of alternatives.
fn skip_alternatives(opened: char, characters: &mut std::str::Chars<'_>) {
    if opened == '[' {
        // A closing bracket in first place belongs to the class.
        if matches!(characters.next(), Some('!' | '^')) {
            characters.next();
        }
        characters.find(|character| *character == ']');
    }
    let mut depth = usize::from(opened == '{');
    while depth > 0 {
        match characters.next() {
            Some('{') => depth += 1,
            Some('}') => depth -= 1,
            Some('\\') => drop(characters.next()),
            Some(_) => {}
            None => break,
        }
    }
}

/// A path in the composed form; unchanged if it is not UTF-8.
pub fn composed(path: &Path) -> Cow<'_, Path> {
    match path.to_str() {
        Some(text) if !is_nfc(text) => Cow::Owned(PathBuf::from(text.nfc().collect::<String>())),
        _ => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathGlob::new(pattern).unwrap().matches(Path::new(path))
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_the_name() {
        assert!(matches("*.mp4", "/v/garage/a.mp4"));
        assert!(!matches("*.mp4", "/v/a.mp4/b.mkv"));
        assert!(matches("garage/*", "/v/garage/a.mp4"));
        assert!(!matches("garage/*", "/v/garage/day/a.mp4"));
        assert!(matches("/v/**/a.mp4", "/v/a.mp4"));
        assert!(!matches("/garage/**", "/v/garage/a.mp4"));
    }

    #[test]
    fn composed_and_decomposed_letters_are_the_same() {
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        assert!(matches(&format!("{composed}*"), &format!("/v/{decomposed}.mp4")));
        assert!(matches(&format!("{decomposed}*"), &format!("/v/{composed}.mp4")));
        assert!(!matches("cafe*", &format!("/v/{decomposed}.mp4")), "another letter");
    }

    #[test]
    fn literals_are_in_every_path_that_matches() {
        let literals = |pattern: &str| PathGlob::new(pattern).unwrap().literals();
        assert_eq!(literals("*.mp4"), [".mp4"]);
        assert_eq!(literals("/home/*/garage-{a,b{c,d}}-[0-9]x[!]]y/?z"), ["home", "garage-", "-", "x", "y", "z"]);
        assert_eq!(literals(r"a\*b"), ["a*b"]);
        assert!(literals("**/*").is_empty());
    }
}
