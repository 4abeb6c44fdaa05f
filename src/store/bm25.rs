//! Turns captions into sparse vectors whose dot product is BM25. Pure, and the same for every store.
//!
//! BM25 as in Robertson and Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond* (2009), section 3.4:
//!
//! ```text
//! score(query, caption) = Σ over words of the query:  idf(w) · tf(w) · (k1 + 1) / (tf(w) + k1 · (1 − b + b · length / average length))
//! idf(w)                = ln(1 + (N − n(w) + 0.5) / (n(w) + 0.5))
//! ```
//!
//! with tf(w) the count of the word in the caption, N the number of captions, and n(w) the number of captions with the
//! word. A caption is stored as the second factor of each of its words, a query as 1 for each of its words. The idf
//! changes with every caption that is added, so the engine applies it at search time (its `Idf` modifier uses this
//! formula, counted over the searched shard). The average length cannot be applied at search time, so it is a constant.

use std::collections::{BTreeMap, BTreeSet};

use qdrant_rust_stemmers::{Algorithm, Stemmer};
use sha2::{Digest, Sha256};
use unicode_segmentation::UnicodeSegmentation;

/// Term-frequency saturation: how soon repeats of a word stop adding to the score. The usual value; Robertson and
/// Zaragoza recommend 1.2 to 2.
const K1: f32 = 1.2;
/// Length normalisation, from 0 (none) to 1 (full). The usual value.
const B: f32 = 0.75;
/// Assumed number of words in a one-sentence caption without stop words. It only moves the length at which captions
/// start to be penalised.
const AVERAGE_LENGTH: f32 = 6.0;

/// Words that say nothing about a picture: the English list of Apache Lucene (`EnglishAnalyzer`).
const STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
];

/// Dimension of each word → its weight.
pub(super) type Sparse = BTreeMap<u32, f32>;

/// The words of a text in order, in the form in which they are compared: split at Unicode word boundaries (UAX #29;
/// each Chinese character is a word), lower-cased, without stop words, and stemmed with Snowball's English stemmer
/// ("dogs" becomes "dog"). Captions and queries in every language are treated this way.
pub(super) fn words(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    text.unicode_words()
        .map(str::to_lowercase)
        .filter(|word| !STOP_WORDS.contains(&word.as_str()))
        .map(|word| stemmer.stem(&word).into_owned())
        .collect()
}

/// The words of a text, each once.
pub(super) fn distinct_words(text: &str) -> BTreeSet<String> {
    words(text).into_iter().collect()
}

/// The sparse vector of a caption; empty if it has no words.
pub(super) fn caption(text: &str) -> Sparse {
    let words = words(text);
    let length = words.len() as f32 / AVERAGE_LENGTH;
    let mut counts = Sparse::new();
    for word in &words {
        *counts.entry(dimension(word)).or_default() += 1.0;
    }
    counts.into_iter().map(|(dimension, n)| (dimension, n * (K1 + 1.0) / (n + K1 * (1.0 - B + B * length)))).collect()
}

/// The sparse vector of a query; empty if it has no words.
pub(super) fn query(text: &str) -> Sparse {
    words(text).iter().map(|word| (dimension(word), 1.0)).collect()
}

/// Inverse document frequency of a word that `with` of `all` captions contain.
pub(super) fn idf(all: usize, with: usize) -> f32 {
    let (all, with) = (all as f32, with as f32);
    ((all - with + 0.5) / (with + 0.5)).ln_1p()
}

/// A hash of the word. Among 90 000 words about one pair collides and is taken for the same word.
fn dimension(word: &str) -> u32 {
    let digest = Sha256::digest(word.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_whatever_their_form() {
        assert_eq!(words("Two DOGS are running, a dog's frisbee!"), ["two", "dog", "run", "dog", "frisbe"]);
        assert_eq!(words("in die KÜCHE"), words("die küche"));
        assert_eq!(words("猫が 寝る").len(), 4);
        assert_eq!(words("…, the — 🐈 !"), Vec::<String>::new());
    }

    #[test]
    fn weights_are_those_of_the_formula() {
        // Three words, of average length a half: 1 − b + b · 0.5 = 0.625.
        let weights = caption("dog dog frisbee");
        assert!((weights[&dimension("dog")] - 2.0 * 2.2 / (2.0 + 1.2 * 0.625)).abs() < 1e-6);
        assert!((weights[&dimension("frisbe")] - 2.2 / (1.0 + 1.2 * 0.625)).abs() < 1e-6);
        assert_eq!(query("dog dog frisbee").values().copied().collect::<Vec<_>>(), [1.0, 1.0]);
    }

    #[test]
    fn rare_words_say_more_and_no_word_speaks_against() {
        assert!(idf(1000, 1) > idf(1000, 10) && idf(1000, 1000) > 0.0);
        assert!((idf(10, 3) - (1.0f32 + 7.5 / 3.5).ln()).abs() < 1e-6);
    }

    #[test]
    fn a_text_without_words_has_no_dimensions() {
        assert!(caption("").is_empty() && query(" the ").is_empty());
    }
}
