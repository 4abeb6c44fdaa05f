//! Patterns that paths are chosen by, and names that are the same to a reader however they are encoded.
//!
//! Unicode writes many letters in two ways: composed (`é`, as Linux and Windows keep what is typed) and decomposed (`e`
//! and an accent, as macOS keeps file names). Both look the same, so what is typed in one way finds what is named in the
//! other: both sides are compared in the composed form (NFC).

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// A pattern over whole paths: `*` and `?` stop at `/`, `**` does not. One that does not begin with `/` may begin at any
/// folder, so `*.mp4` is about the file's name and `garage/*` about what lies in any folder of that name.
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

    /// Texts that are parts of every path that matches, in the composed form.
    pub fn literals(&self) -> Vec<String> {
        let (mut literals, mut literal) = (Vec::new(), String::new());
        let mut characters = self.pattern.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => literal.extend(characters.next()),
                // Separators are left out, since `**/` stands for no folder as well.
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

/// Goes behind the end of a class or a list of alternatives that has just begun.
fn skip_alternatives(opened: char, characters: &mut std::str::Chars<'_>) {
    if opened == '[' {
        // A closing bracket that comes first belongs to the class.
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

/// A path in the composed form; one that is no UTF-8 stays as it is.
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
