//! Encodes texts: tokenizer, templates, and the text graph.

use tokenizers::{Tokenizer, TruncationParams};

use super::EmbedError;
use super::bundle::Bundle;
use super::manifest::{Padding, Text};

/// The bundle's tokenizer with its context length and padding rule.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    text: Text,
}

/// Token ids and mask of a batch, row by row; each row has `length` values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    pub ids: Vec<i64>,
    pub mask: Vec<i64>,
    pub length: usize,
}

impl TextTokenizer {
    pub fn open(bundle: &Bundle) -> Result<Self, EmbedError> {
        let manifest = bundle.manifest();
        Self::load(&bundle.dir().join(&manifest.tokenizer.file), &manifest.text)
    }

    pub fn load(path: &std::path::Path, text: &Text) -> Result<Self, EmbedError> {
        let failed = |e: tokenizers::Error| EmbedError::Tokenizer(format!("{}: {e}", path.display()));
        let mut tokenizer = Tokenizer::from_file(path).map_err(failed)?;
        let added = tokenizer.encode("", true).map_err(failed)?.len();
        let max_length = text.context_length;
        if max_length <= added {
            let problem = format!("context_length {max_length} leaves no room beside {added} special tokens");
            return Err(EmbedError::Tokenizer(problem));
        }
        // The manifest's rules replace those in the file. Truncation keeps the end token.
        tokenizer.with_truncation(Some(TruncationParams { max_length, ..Default::default() })).map_err(failed)?;
        tokenizer.with_padding(None);
        // `<|endoftext|>` in a query means these characters, not the end of the text.
        tokenizer.set_encode_special_tokens(true);
        Ok(Self { tokenizer, text: text.clone() })
    }

    /// Token ids of the texts without templates, padded by the bundle's rule.
    pub fn tokens(&self, texts: &[String]) -> Result<Tokens, EmbedError> {
        let mut rows = Vec::with_capacity(texts.len());
        for text in texts {
            let encoding = self.tokenizer.encode_fast(text.as_str(), true);
            rows.push(encoding.map_err(|e| EmbedError::Tokenizer(e.to_string()))?);
        }
        let length = match self.text.padding {
            Padding::MaxLength => self.text.context_length,
            Padding::Longest => rows.iter().map(|row| row.len()).max().unwrap_or(0),
        };
        let mut tokens = Tokens { ids: Vec::new(), mask: Vec::new(), length };
        for row in &rows {
            let padding = length - row.len();
            tokens.ids.extend(row.get_ids().iter().map(|id| i64::from(*id)));
            tokens.ids.extend(std::iter::repeat_n(i64::from(self.text.pad_id), padding));
            tokens.mask.extend(std::iter::repeat_n(1, row.len()));
            tokens.mask.extend(std::iter::repeat_n(0, padding));
        }
        Ok(tokens)
    }

    /// Token ids of one query in the first template, not padded.
    pub fn ids(&self, query: &str) -> Result<Vec<i64>, EmbedError> {
        let encoding = self.tokenizer.encode_fast(self.prompts(query)?.swap_remove(0), true);
        let encoding = encoding.map_err(|e| EmbedError::Tokenizer(e.to_string()))?;
        Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
    }

    #[cfg(feature = "onnx")]
    fn largest_id(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// The query in each of the bundle's templates. An empty query is an error.
    pub fn prompts(&self, query: &str) -> Result<Vec<String>, EmbedError> {
        let query = query.trim();
        if query.is_empty() {
            return Err(EmbedError::Input("the query is empty: say what to look for".to_owned()));
        }
        Ok(self.text.templates.iter().map(|template| template.replacen("{}", query, 1)).collect())
    }

    /// Whether the query is cut off in any of the templates.
    pub fn is_truncated(&self, query: &str) -> Result<bool, EmbedError> {
        for prompt in self.prompts(query)? {
            let encoding =
                self.tokenizer.encode_fast(prompt, true).map_err(|e| EmbedError::Tokenizer(e.to_string()))?;
            if !encoding.get_overflowing().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(feature = "onnx")]
pub use self::encoder::OnnxTextEncoder;

#[cfg(feature = "onnx")]
mod encoder {
    use std::sync::Arc;

    use ort::value::TensorElementType;

    use super::TextTokenizer;
    use crate::embed::bundle::Bundle;
    use crate::embed::head::mean_of_units;
    use crate::embed::manifest::Padding;
    use crate::embed::onnx::{Dim, Graph, Port, tensor};
    use crate::embed::runtime::{Device, EmbedSettings};
    use crate::embed::{EmbedError, Embedding, TextEncoder};

    /// Encodes token ids `[B, L]`, with a mask if the graph takes one, to `[B, dim]`.
    pub struct OnnxTextEncoder {
        tokenizer: Arc<TextTokenizer>,
        graph: Graph,
        input: String,
        mask: Option<String>,
    }

    impl OnnxTextEncoder {
        pub fn open(
            bundle: &Bundle,
            tokenizer: Arc<TextTokenizer>,
            settings: &EmbedSettings,
        ) -> Result<Self, EmbedError> {
            let manifest = bundle.manifest();
            let entry = &manifest.graphs.text;
            let length = match manifest.text.padding {
                Padding::Longest => Dim::Free("length"),
                Padding::MaxLength => Dim::Is(manifest.text.context_length),
            };
            let dims = [Dim::Free("batch"), length];
            let port = |name| Port { name, element: TensorElementType::Int64, dims: &dims };
            let inputs: Vec<Port<'_>> =
                [Some(&entry.input), entry.mask.as_ref()].into_iter().flatten().map(|n| port(n)).collect();
            let graph = Graph::open(bundle, "text", entry, &inputs, bundle.dim(), settings)?;
            Ok(Self { tokenizer, graph, input: entry.input.clone(), mask: entry.mask.clone() })
        }

        pub fn device(&self) -> Device {
            self.graph.device()
        }

        /// Checks that the graph takes every id of the tokenizer, so that a tokenizer of another model is detected when
        /// a bundle is checked and not during a search.
        pub fn check_vocabulary(&mut self, bundle: &Bundle) -> Result<(), EmbedError> {
            let largest = self.tokenizer.largest_id();
            let length = match self.tokenizer.text.padding {
                Padding::Longest => 1,
                Padding::MaxLength => self.tokenizer.text.context_length,
            };
            let shape = [1, length as i64];
            let ones = vec![1i64; length];
            let mut takes = |id: u32| {
                let ids = vec![i64::from(id); length];
                let mut inputs = vec![(self.input.as_str(), tensor(shape, &ids)?)];
                if let Some(mask) = &self.mask {
                    inputs.push((mask, tensor(shape, &ones)?));
                }
                self.graph.run(inputs, 1).map(drop)
            };
            // A graph that fails with every id has another problem, which its own error tells.
            takes(0)?;
            takes(largest).map_err(|error| {
                let problem = format!(
                    "the tokenizer gives ids up to {largest}, which the text graph does not take: it is of another \
                     model ({error})"
                );
                bundle.error(problem).into()
            })
        }
    }

    impl TextEncoder for OnnxTextEncoder {
        /// Each text is put into every template; the vectors of these are normalised, averaged and normalised again.
        fn encode(&mut self, texts: &[String]) -> Result<Vec<Embedding>, EmbedError> {
            let mut prompts = Vec::new();
            for text in texts {
                prompts.extend(self.tokenizer.prompts(text)?);
            }
            if prompts.is_empty() {
                return Ok(Vec::new());
            }
            let tokens = self.tokenizer.tokens(&prompts)?;
            let shape = [prompts.len() as i64, tokens.length as i64];
            let mut inputs = vec![(self.input.as_str(), tensor(shape, &tokens.ids)?)];
            if let Some(mask) = &self.mask {
                inputs.push((mask, tensor(shape, &tokens.mask)?));
            }
            let rows = self.graph.run(inputs, prompts.len())?;
            rows.chunks(prompts.len() / texts.len()).map(|rows| mean_of_units(rows.iter().map(Vec::as_slice))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token per word, with a start and an end token.
    const TOKENIZER: &str = r#"{
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "a": 4, "red": 5, "ball": 6}, "unk_token": "<unk>"}
    }"#;

    fn tokenizer(context_length: usize, padding: Padding, templates: &[&str]) -> Result<TextTokenizer, EmbedError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, TOKENIZER).unwrap();
        let templates = templates.iter().map(|t| (*t).to_owned()).collect();
        TextTokenizer::load(&path, &Text { context_length, padding, pad_id: 9, templates })
    }

    fn tokens(tokenizer: &TextTokenizer, texts: &[&str]) -> Tokens {
        tokenizer.tokens(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn pads_to_the_longest_or_to_the_context() {
        let longest = tokens(&tokenizer(6, Padding::Longest, &["{}"]).unwrap(), &["A red ball", "ball"]);
        assert_eq!(longest.ids, [1, 4, 5, 6, 2, 1, 6, 2, 9, 9]);
        assert_eq!(longest.mask, [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
        let full = tokens(&tokenizer(6, Padding::MaxLength, &["{}"]).unwrap(), &["ball"]);
        assert_eq!((full.ids, full.length), (vec![1, 6, 2, 9, 9, 9], 6));
    }

    #[test]
    fn cuts_to_the_context_keeps_the_end_token_and_says_so() {
        let tokenizer = tokenizer(4, Padding::Longest, &["{}", "a {}"]).unwrap();
        assert_eq!(tokens(&tokenizer, &["red ball a a a"]).ids, [1, 5, 6, 2]);
        assert!(tokenizer.is_truncated("a red ball").unwrap());
        assert!(tokenizer.is_truncated("red ball").unwrap(), "cut in the second template");
        assert!(!tokenizer.is_truncated(" ball ").unwrap());
    }

    #[test]
    fn refuses_queries_without_words_and_contexts_without_room() {
        let error = tokenizer(4, Padding::Longest, &["a {}"]).unwrap().prompts(" \t\n").unwrap_err();
        assert!(matches!(&error, EmbedError::Input(_)) && error.to_string().contains("empty"), "{error}");
        let error = tokenizer(2, Padding::Longest, &["{}"]).err().unwrap();
        assert_eq!(error.to_string(), "tokenizer: context_length 2 leaves no room beside 2 special tokens");
    }

    #[test]
    fn fills_every_template() {
        let tokenizer = tokenizer(9, Padding::Longest, &["{}", "a photo of {}."]).unwrap();
        assert_eq!(tokenizer.prompts(" red {} ball ").unwrap(), ["red {} ball", "a photo of red {} ball."]);
    }
}
