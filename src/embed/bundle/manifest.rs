//! The content of `bundle.toml`: its tables, their consistency checks, and the hash of its settings.
//!
//! Pure: reads no file. [`super`] compares the manifest with the files of the folder.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

pub use super::tables::*;
use crate::decode::PixelSpec;
use crate::embed::digest::sha256_of_values;

/// The only supported manifest format.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    pub summary: String,
    pub licence: String,
    /// Origin of the weights, for people.
    pub source: String,
    /// Values per vector.
    pub dim: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeEntry>,
    pub video: Video,
    pub pixels: Pixels,
    pub text: Text,
    pub similarity: Similarity,
    pub graphs: Graphs,
    pub tokenizer: FileEntry,
    /// Present for a model that can score a text together with the frames of a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankEntry>,
    /// Present for a model that writes captions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captions: Option<CaptionsEntry>,
}

impl Manifest {
    /// Reads the text and checks that it is consistent; the error names every inconsistency.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Check the format first: a later format may have unknown keys, and the error should be about the format.
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string().trim_end().to_owned())?;
        if let Some(format) = table.get("format")
            && format.as_integer() != Some(i64::from(FORMAT))
        {
            return Err(format!("format is {format}, this clipseek reads format {FORMAT}"));
        }
        let manifest: Self = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        let problems = manifest.problems();
        if problems.is_empty() { Ok(manifest) } else { Err(problems.join("; ")) }
    }

    /// Every file of the bundle beside its manifest: role, name, SHA-256.
    pub fn files(&self) -> Vec<(&'static str, &str, &str)> {
        let mut files: Vec<(&'static str, &str, &str)> =
            self.graph_entries().iter().map(|(role, g)| (*role, g.file.as_str(), g.sha256.as_str())).collect();
        let weights = self.graph_entries().into_iter().filter_map(|(_, graph)| graph.weights.as_ref());
        files.extend(weights.map(|weights| ("weights", weights.file.as_str(), weights.sha256.as_str())));
        files.push(("tokenizer", &self.tokenizer.file, &self.tokenizer.sha256));
        if let Some(rerank) = &self.rerank {
            files.push(("rerank graph", &rerank.file, &rerank.sha256));
        }
        if let Some(CaptionsEntry { tokenizer, memory, step, .. }) = &self.captions {
            files.push(("caption memory graph", &memory.file, &memory.sha256));
            files.push(("caption step graph", &step.file, &step.sha256));
            files.push(("caption tokenizer", &tokenizer.file, &tokenizer.sha256));
        }
        if let Some(scope) = &self.scope {
            files.push(("scope", &scope.stats, &scope.sha256));
        }
        files
    }

    /// Values per frame feature.
    pub fn feature_dim(&self) -> usize {
        self.video.feature_dim.unwrap_or(self.dim)
    }

    /// Values per frame feature; `None` for a graph that takes whole windows, which has no frame features.
    pub fn frame_feature_dim(&self) -> Option<usize> {
        (self.video.topology == Topology::FramesHead).then(|| self.feature_dim())
    }

    pub fn pixel_spec(&self) -> PixelSpec {
        let Pixels { width, height, resize, interpolation, antialias, .. } = self.pixels;
        PixelSpec { width, height, resize, interpolation, antialias }
    }

    /// SHA-256 of everything that changes a vector: settings and the hashes of files. It does not depend on name,
    /// descriptions, file names, scope, comments or layout.
    pub fn hash(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a manifest is plain data");
        for key in ["name", "summary", "licence", "source", "scope"] {
            value.as_object_mut().expect("a struct is an object").remove(key);
        }
        for (_, file) in value.pointer_mut("/graphs").and_then(|g| g.as_object_mut()).into_iter().flatten() {
            file.as_object_mut().expect("a struct is an object").remove("file");
        }
        for entry in ["/tokenizer", "/rerank", "/captions/tokenizer", "/captions/memory", "/captions/step"] {
            if let Some(file) = value.pointer_mut(entry).and_then(|entry| entry.as_object_mut()) {
                file.remove("file");
            }
        }
        sha256_of_values(&value)
    }

    fn graph_entries(&self) -> Vec<(&'static str, &GraphEntry)> {
        let Graphs { frame, head, video, text } = &self.graphs;
        let optional = [("frame graph", frame), ("head graph", head), ("video graph", video)];
        let mut entries: Vec<_> = optional.into_iter().filter_map(|(role, g)| Some((role, g.as_ref()?))).collect();
        entries.push(("text graph", text));
        entries
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        demand(is_name(&self.name), format!("name {:?}: {NAME_RULE}", self.name));
        demand((1..=65_536).contains(&self.dim), format!("dim is {}, it must be from 1 to 65536", self.dim));

        let Video { frames, max_frames, feature_dim, interval_s, interval_tolerance, stride_frames, .. } = self.video;
        demand((1..=1024).contains(&frames), format!("video.frames is {frames}, it must be from 1 to 1024"));
        demand(
            max_frames.is_none_or(|most| most >= frames),
            format!("video.max_frames is {}, less than video.frames ({frames})", max_frames.unwrap_or_default()),
        );
        demand(
            (0.001..=86_400.0).contains(&interval_s),
            format!("video.interval_s is {interval_s}, it must be from 0.001 to 86400 (a day)"),
        );
        demand(
            (0.0..=1.0).contains(&interval_tolerance),
            format!("video.interval_tolerance is {interval_tolerance}, it must be from 0 to 1"),
        );
        demand(
            (1..=frames.max(1)).contains(&stride_frames),
            format!("video.stride_frames is {stride_frames}, it must be from 1 to video.frames ({frames})"),
        );

        let Pixels { width, height, mean, std, .. } = &self.pixels;
        demand(
            (1..=4096).contains(width) && (1..=4096).contains(height),
            format!("pixels are {width}×{height}, each side must be from 1 to 4096"),
        );
        demand(mean.iter().all(|m| m.is_finite()), format!("pixels.mean is {mean:?}"));
        demand(std.iter().all(|s| s.is_finite() && *s > 0.0), format!("pixels.std is {std:?}, each must be above 0"));

        let Text { context_length, templates, .. } = &self.text;
        demand(
            (1..=65_536).contains(context_length),
            format!("text.context_length is {context_length}, it must be from 1 to 65536"),
        );
        demand(!templates.is_empty(), "text.templates is empty: give at least \"{}\"".to_owned());
        for template in templates {
            demand(
                template.matches("{}").count() == 1,
                format!("text.templates: {template:?} must hold {{}} once, where the query goes"),
            );
        }
        let scale = self.similarity.logit_scale;
        demand(scale.is_finite() && scale > 0.0, format!("similarity.logit_scale is {scale}, it must be above 0"));

        let Graphs { frame, head, video, .. } = &self.graphs;
        match self.video.topology {
            Topology::FramesHead => {
                demand(frame.is_some(), "topology frames+head needs [graphs.frame]".to_owned());
                demand(video.is_none(), "topology frames+head has no [graphs.video]".to_owned());
            }
            Topology::Video => {
                demand(video.is_some(), "topology video needs [graphs.video]".to_owned());
                demand(
                    frame.is_none() && head.is_none(),
                    "topology video has no [graphs.frame] or [graphs.head]".to_owned(),
                );
                demand(
                    self.scope.is_none(),
                    "[scope] needs topology frames+head: it looks at frame features".to_owned(),
                );
            }
        }
        for (key, image) in [("frame", frame), ("video", video)] {
            demand(image.as_ref().is_none_or(|g| g.mask.is_none()), format!("graphs.{key} takes no mask"));
        }
        demand(
            feature_dim.is_none() || head.is_some(),
            "video.feature_dim needs [graphs.head]: only a head makes vectors of another length".to_owned(),
        );
        demand(
            feature_dim.is_none_or(|dim| (1..=65_536).contains(&dim)),
            format!("video.feature_dim is {}, it must be from 1 to 65536", feature_dim.unwrap_or_default()),
        );
        demand(head.as_ref().is_none_or(|g| g.mask.is_some()), "graphs.head needs mask".to_owned());
        for (key, there) in [("rerank", self.rerank.is_some()), ("captions", self.captions.is_some())] {
            demand(
                !there || self.video.topology == Topology::FramesHead,
                format!("[{key}] needs topology frames+head: it looks at frame features"),
            );
        }
        if let Some(CaptionsEntry { max_words, beams, .. }) = self.captions {
            demand(
                (1..=1024).contains(&max_words),
                format!("captions.max_words is {max_words}, it must be from 1 to 1024"),
            );
            demand((1..=64).contains(&beams), format!("captions.beams is {beams}, it must be from 1 to 64"));
        }

        for (role, file, sha256) in self.files() {
            demand(is_plain_path(file), format!("{role}: file {file:?} must lie inside the bundle's folder"));
            demand(
                sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
                format!("{role}: sha256 {sha256:?} is not 64 lower-case hexadecimal digits"),
            );
        }
        problems
    }
}

pub(in crate::embed) const NAME_RULE: &str =
    "lower-case letters, digits, - and _ only, at most 64, a letter or digit first";

/// Whether it is a valid bundle name. Names are used for folders and collections.
pub(in crate::embed) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

fn is_plain_path(file: &str) -> bool {
    !file.is_empty() && Path::new(file).components().all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decode::Interpolation;

    fn text() -> String {
        let hash = "0".repeat(64);
        format!(
            r#"format = 1
name = "tiny"
summary = "for tests"
licence = "MIT"
source = "here"
dim = 4
[video]
topology = "frames+head"
frames = 8
interval_s = 0.25
interval_tolerance = 0.2
stride_frames = 4
[pixels]
width = 8
height = 8
resize = "shortest-edge"
interpolation = "bicubic-a075"
antialias = true
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[text]
context_length = 16
padding = "max-length"
pad_id = 0
templates = ["{{}}"]
[similarity]
kind = "cosine"
logit_scale = 100
[graphs.frame]
file = "frame.onnx"
sha256 = "{hash}"
input = "pixel_values"
output = "image_embeds"
[graphs.text]
file = "text.onnx"
sha256 = "{hash}"
input = "input_ids"
output = "text_embeds"
[tokenizer]
file = "tokenizer.json"
sha256 = "{hash}"
"#
        )
    }

    #[test]
    fn reads_what_it_writes() {
        let manifest = Manifest::parse(&text()).unwrap();
        assert_eq!(manifest.video.interval(), Duration::from_millis(250));
        assert_eq!(manifest.pixels.interpolation, Interpolation::BicubicA075);
        let written = toml::to_string(&manifest).unwrap();
        assert_eq!(Manifest::parse(&written).unwrap(), manifest);
        assert_eq!(Manifest::parse(&written).unwrap().hash(), manifest.hash());
    }

    #[test]
    fn unknown_key_is_named_with_its_line() {
        let error = Manifest::parse(&text().replace("frames = 8", "frames = 8\nframez = 9")).unwrap_err();
        assert!(error.contains("line 10") && error.contains("unknown field `framez`"), "{error}");
        let error = Manifest::parse(&text().replace("dim = 4\n", "")).unwrap_err();
        assert!(error.contains("missing field `dim`"), "{error}");
    }

    #[test]
    fn later_format_is_said_before_its_keys() {
        let error = Manifest::parse(&text().replace("format = 1", "format = 2\nnew_key = 1")).unwrap_err();
        assert_eq!(error, "format is 2, this clipseek reads format 1");
    }

    #[test]
    fn all_inconsistencies_at_once() {
        let wrong = text()
            .replace("stride_frames = 4", "stride_frames = 9\nmax_frames = 7")
            .replace("std = [0.5, 0.5, 0.5]", "std = [0.5, 0.0, 0.5]")
            .replace("[\"{}\"]", "[\"a photo\"]")
            .replace("\"frame.onnx\"", "\"../frame.onnx\"")
            .replace("name = \"tiny\"", "name = \"Tiny one\"");
        let error = Manifest::parse(&wrong).unwrap_err();
        for part in ["stride_frames is 9", "max_frames is 7", "pixels.std", "a photo", "../frame.onnx", "Tiny one"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn intervals_that_would_be_rounded_to_nothing_are_refused() {
        for interval in ["0.0009", "1e-12", "0.0", "-1.0", "nan", "inf", "86401.0"] {
            let error = Manifest::parse(&text().replace("0.25", interval)).unwrap_err();
            assert!(error.contains("it must be from 0.001 to 86400"), "{error}");
        }
        Manifest::parse(&text().replace("0.25", "0.001")).unwrap();
    }

    #[test]
    fn topology_and_graphs_must_agree() {
        let error = Manifest::parse(&text().replace("frames+head", "video")).unwrap_err();
        assert_eq!(error, "topology video needs [graphs.video]; topology video has no [graphs.frame] or [graphs.head]");
    }

    #[test]
    fn features_of_another_length_need_a_head() {
        let other = text().replace("frames = 8", "frames = 8\nfeature_dim = 2");
        assert!(Manifest::parse(&other).unwrap_err().starts_with("video.feature_dim needs [graphs.head]"));
        let hash = "0".repeat(64);
        let head =
            format!("[graphs.head]\nfile = \"h\"\nsha256 = \"{hash}\"\ninput = \"x\"\nmask = \"m\"\noutput = \"y\"\n");
        let manifest = Manifest::parse(&other.replace("[graphs.text]", &format!("{head}[graphs.text]"))).unwrap();
        assert_eq!((manifest.feature_dim(), manifest.dim), (2, 4));
        assert_eq!(Manifest::parse(&text()).unwrap().feature_dim(), 4);
    }

    #[test]
    fn hash_follows_meaning_only() {
        let hash = Manifest::parse(&text()).unwrap().hash();
        let same = text()
            .replace("name = \"tiny\"", "name = \"other\" # comment")
            .replace("for tests", "words")
            .replace("\"frame.onnx\"", "\"f.onnx\"")
            .replace("logit_scale = 100", "logit_scale = 100.0");
        assert_eq!(Manifest::parse(&same).unwrap().hash(), hash);
        for (from, to) in
            [("0.25", "0.5"), ("\"bicubic-a075\"", "\"bicubic\""), ("[\"{}\"]", "[\"a {}\"]"), ("000000\"", "000001\"")]
        {
            assert_ne!(Manifest::parse(&text().replace(from, to)).unwrap().hash(), hash, "{from} to {to}");
        }
    }
}
