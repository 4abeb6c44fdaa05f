//! Makes a bundle from a folder with an ONNX export of a CLIP-like model. Two layouts are known:
//!
//! - Hugging Face's: `vision_model.onnx` and `text_model.onnx` (at the top or under `onnx/`, in half precision or
//!   quantised with a suffix, see [`Variant`]), `tokenizer.json`, `preprocessor_config.json`; optionally `config.json`,
//!   `tokenizer_config.json` and a README with the licence.
//! - Immich's: `visual/model.onnx`, `textual/model.onnx`, `visual/preprocess_cfg.json`, `textual/tokenizer.json`;
//!   optionally open_clip's `config.json`.
//!
//! Graphs may take 32-bit ids, 16-bit floats and one row at a time, and may keep their weights in a file beside them
//! (`….onnx_data`, `….onnx.data`). Names and sizes are read from the graphs and tested by running them. Such a model
//! knows pictures but not time, so its windows get the settings of [`FRAMES`] and the constants below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType};
use serde_json::{Value, json};

use super::bundle::{Bundle, MANIFEST_FILE};
use super::digest::sha256_of;

use super::element::{cast, converts, floats};
use super::manifest::{
    FORMAT, FileEntry, GraphEntry, Graphs, Manifest, NAME_RULE, Padding, Similarity, SimilarityKind, Text, Topology,
    Video, is_name,
};
use super::onnx::{OnnxFrameEncoder, tensor};
use super::preprocessing::Preprocessing;
use super::runtime::{DeviceChoice, EmbedSettings, open_session};
use super::text::{OnnxTextEncoder, TextTokenizer};
use super::{BundleError, EmbedError};

const FRAMES: usize = 8;
const INTERVAL_S: f64 = 1.0;
const INTERVAL_TOLERANCE: f64 = 0.5;
const STRIDE_FRAMES: usize = 4;
/// CLIP's context length, for exports that do not give one.
const CONTEXT_LENGTH: usize = 77;
/// The upper limit of the logit scale in the training of CLIP-like models; exports carry at most its initial value.
const LOGIT_SCALE: f64 = 100.0;

/// The precision of the graphs: an export may hold several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    #[default]
    Float32,
    Float16,
    Int8,
}

impl Variant {
    /// What stands between `vision_model` and `.onnx` in the file name; the most usual one first.
    pub fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Float32 => &[""],
            Self::Float16 => &["_fp16"],
            Self::Int8 => &["_int8", "_quantized"],
        }
    }
}

/// What the file of a graph's weights adds to the graph's name.
pub const WEIGHTS_ENDINGS: [&str; 2] = ["_data", ".data"];

/// File names of the two graphs, without suffix and extension.
const GRAPHS: [&str; 2] = ["vision_model", "text_model"];

/// Where the files of an export lie.
pub struct Layout {
    is_immich: bool,
    /// Paths at which the graph of pictures and that of texts may lie, the usual ones first.
    pub graphs: [Vec<String>; 2],
    pub tokenizer: String,
    pub preprocessor: String,
    tokenizer_config: String,
}

impl Layout {
    /// Of an export that has these files.
    pub fn of(paths: &[&str], variant: Variant) -> Self {
        let is_there = |folder: &str| paths.iter().any(|path| path.starts_with(&format!("{folder}/")));
        Self::new([VISUAL, TEXTUAL].into_iter().all(is_there), variant)
    }

    fn new(is_immich: bool, variant: Variant) -> Self {
        let places = |folders: &[&str], graph: &str| {
            let names = |folder: &&str| {
                let names = variant.suffixes().iter().map(|suffix| format!("{folder}{graph}{suffix}.onnx"));
                names.collect::<Vec<_>>()
            };
            folders.iter().flat_map(names).collect()
        };
        if is_immich {
            return Self {
                is_immich,
                graphs: [VISUAL, TEXTUAL].map(|folder| places(&[&format!("{folder}/")], "model")),
                tokenizer: format!("{TEXTUAL}/{TOKENIZER}"),
                preprocessor: PREPROCESS_CFG.to_owned(),
                tokenizer_config: format!("{TEXTUAL}/{TOKENIZER_CONFIG}"),
            };
        }
        Self {
            is_immich,
            graphs: GRAPHS.map(|graph| places(&["", "onnx/"], graph)),
            tokenizer: TOKENIZER.to_owned(),
            preprocessor: PREPROCESSOR.to_owned(),
            tokenizer_config: TOKENIZER_CONFIG.to_owned(),
        }
    }

    /// Files that an export may lack.
    pub fn helpful(&self) -> [&str; 3] {
        [CONFIG, &self.tokenizer_config, "README.md"]
    }
}

/// Copies the export in `dir` to `dest/name` and adds the manifest. Nothing is left behind when it fails.
pub fn import(dir: &Path, name: &str, dest: &Path, variant: Variant) -> Result<Bundle, EmbedError> {
    let fail = |problem: String| BundleError { bundle: name.to_owned(), problem };
    if !is_name(name) {
        return Err(fail(format!("not a name for a model: {NAME_RULE}")).into());
    }
    let target = dest.join(name);
    if target.exists() {
        let problem = format!("{} is already there: remove it or import under another name", target.display());
        return Err(fail(problem).into());
    }
    let export = Export::find(dir, variant).map_err(fail)?;
    let created = |e: std::io::Error| fail(format!("cannot write to {}: {e}", dest.display()));
    std::fs::create_dir_all(dest).map_err(created)?;
    let staging = Staging(dest.join(format!(".{name}.importing-{}", std::process::id())));
    std::fs::create_dir(&staging.0).map_err(created)?;
    export.copy_to(&staging.0).map_err(created)?;

    let manifest = export.manifest(name, &staging.0).map_err(|e| match e {
        EmbedError::Bundle(e) => fail(e.problem).into(),
        other => other,
    })?;
    let text = toml::to_string(&manifest).map_err(|e| fail(e.to_string()))?;
    // Reading it back applies the rules that hold for every manifest.
    Manifest::parse(&text).map_err(fail)?;
    std::fs::write(staging.0.join(MANIFEST_FILE), text).map_err(created)?;
    // Opened as it will be in use, so that an unusable graph is refused now.
    let bundle = Bundle::load(&staging.0)?;
    OnnxFrameEncoder::open(&bundle, &probe_settings())?;
    let tokenizer = Arc::new(TextTokenizer::open(&bundle)?);
    OnnxTextEncoder::open(&bundle, tokenizer, &probe_settings())?.check_vocabulary(&bundle)?;
    std::fs::rename(&staging.0, &target).map_err(created)?;
    Ok(Bundle::load(&target)?)
}

/// A folder that is removed on drop; after a successful rename it no longer exists.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

/// Immich's folders, and its preprocessing file.
const VISUAL: &str = "visual";
const TEXTUAL: &str = "textual";
const PREPROCESS_CFG: &str = "visual/preprocess_cfg.json";

/// A graph of an export.
struct Source {
    path: PathBuf,
    /// Its path in the bundle. A weights file keeps its name, because the graph refers to it; two graphs with equal
    /// names therefore need folders of their own.
    place: String,
}

impl Source {
    /// Paths of the weights file in the export and in the bundle, if the graph has one.
    fn weights(&self) -> Option<(PathBuf, String)> {
        let weights = weights_of(&self.path)?;
        let name = file_name(&weights);
        let folder = self.place.rsplit_once('/').map(|(folder, _)| folder);
        Some((weights, folder.map_or_else(|| name.clone(), |folder| format!("{folder}/{name}"))))
    }
}

/// The files of an export.
struct Export {
    dir: PathBuf,
    vision: Source,
    text: Source,
    tokenizer: PathBuf,
    /// Whether texts are always padded to the full length.
    pads: bool,
    preprocessing: Preprocessing,
    config: Value,
    tokenizer_config: Value,
    licence: String,
}

impl Export {
    fn find(dir: &Path, variant: Variant) -> Result<Self, String> {
        let is_immich = [VISUAL, TEXTUAL].iter().all(|folder| dir.join(folder).is_dir());
        let layout = Layout::new(is_immich, variant);
        let mut problems = Vec::new();
        let mut find = |names: &[String]| {
            let found = names.iter().map(|name| dir.join(name)).find(|path| path.is_file());
            if found.is_none() {
                problems.push(format!("no {}", names.join(" or ")));
            }
            found.unwrap_or_default()
        };
        let place = |graph: usize| match is_immich {
            true => format!("{}/model.onnx", [VISUAL, TEXTUAL][graph]),
            false => format!("{}.onnx", GRAPHS[graph]),
        };
        let [vision, text] = [0, 1].map(|graph| Source { path: find(&layout.graphs[graph]), place: place(graph) });
        let tokenizer = find(std::slice::from_ref(&layout.tokenizer));
        let preprocessor = find(std::slice::from_ref(&layout.preprocessor));
        if !problems.is_empty() {
            return Err(format!("{} in {}", problems.join(", "), dir.display()));
        }
        let read = if layout.is_immich { Preprocessing::read_open_clip } else { Preprocessing::read };
        let preprocessing = read(&read_json(&preprocessor)?).map_err(|e| format!("{}: {e}", layout.preprocessor))?;
        let optional = |name: &str| match dir.join(name) {
            path if path.is_file() => read_json(&path),
            _ => Ok(Value::Null),
        };
        Ok(Self {
            dir: dir.to_owned(),
            vision,
            text,
            tokenizer,
            pads: layout.is_immich,
            preprocessing,
            config: optional(CONFIG)?,
            tokenizer_config: optional(&layout.tokenizer_config)?,
            licence: licence(dir),
        })
    }

    fn copy_to(&self, dir: &Path) -> std::io::Result<()> {
        copy(&self.tokenizer, &dir.join(TOKENIZER))?;
        if self.config["text_cfg"]["tokenizer_kwargs"]["clean"] == "canonicalize" {
            canonicalize(&dir.join(TOKENIZER))?;
        }
        for graph in [&self.vision, &self.text] {
            let to = dir.join(&graph.place);
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder)?;
            }
            copy(&graph.path, &to)?;
            if let Some((weights, place)) = graph.weights() {
                copy(&weights, &dir.join(place))?;
            }
        }
        Ok(())
    }

    fn manifest(&self, name: &str, dir: &Path) -> Result<Manifest, EmbedError> {
        let pixels = self.preprocessing.pixels();
        let image = [3, i64::from(pixels.height), i64::from(pixels.width)];
        let (mut vision, image_dim) = probe_vision(dir, &self.vision.place, image)?;
        let tokenizer = read_json(&dir.join(TOKENIZER)).map_err(problem)?;
        let mut text = self.text_settings(&tokenizer);
        let (mut text_graph, text_dim, length) = probe_text(dir, &self.text.place, &text)?;
        for (entry, graph) in [(&mut vision, &self.vision), (&mut text_graph, &self.text)] {
            if let Some((_, file)) = graph.weights() {
                entry.weights = Some(FileEntry { sha256: hash(dir, &file)?, file });
            }
        }
        if let Some(length) = length {
            // The graph takes only texts of this length.
            (text.context_length, text.padding) = (length, Padding::MaxLength);
        }
        if image_dim != text_dim {
            let (vision, text) = (&self.vision.place, &self.text.place);
            return Err(problem(format!("{vision} gives {image_dim} numbers and {text} {text_dim}: not one model")));
        }
        for key in ["projection_dim", "embed_dim"] {
            if let Some(dim) = self.config[key].as_u64()
                && dim != image_dim as u64
            {
                return Err(problem(format!("config.json says {key} {dim}, the graphs give {image_dim}")));
            }
        }
        let folder = file_name(&self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone()));
        Ok(Manifest {
            format: FORMAT,
            name: name.to_owned(),
            summary: format!("image-text model of {folder}, mean over the frames"),
            licence: self.licence.clone(),
            source: format!("imported from a folder {folder}"),
            dim: image_dim,
            scope: None,
            video: Video {
                topology: Topology::FramesHead,
                frames: FRAMES,
                max_frames: None,
                feature_dim: None,
                interval_s: INTERVAL_S,
                interval_tolerance: INTERVAL_TOLERANCE,
                stride_frames: STRIDE_FRAMES,
            },
            pixels,
            text,
            similarity: Similarity {
                kind: SimilarityKind::Cosine,
                logit_scale: self.config["logit_scale"].as_f64().unwrap_or(LOGIT_SCALE),
            },
            graphs: Graphs { frame: Some(vision), head: None, video: None, text: text_graph },
            tokenizer: FileEntry { file: TOKENIZER.to_owned(), sha256: hash(dir, TOKENIZER)? },
            rerank: None,
            captions: None,
        })
    }

    fn text_settings(&self, tokenizer: &Value) -> Text {
        let padding = &tokenizer["padding"];
        let fixed = padding["strategy"]["Fixed"].as_u64();
        let lengths = [
            fixed,
            self.config["text_config"]["max_position_embeddings"].as_u64(),
            self.config["text_cfg"]["context_length"].as_u64(),
            // Tokenizers without a limit give a huge number.
            self.tokenizer_config["model_max_length"].as_u64().filter(|length| *length <= 4096),
            tokenizer["truncation"]["max_length"].as_u64(),
        ];
        let context_length = lengths.into_iter().flatten().next().map_or(CONTEXT_LENGTH, |length| length as usize);
        // SigLIP was trained on padded texts without a mask; only its model type tells.
        let siglip = self.config["model_type"].as_str().is_some_and(|model| model.starts_with("siglip"));
        let pad_token = &self.tokenizer_config["pad_token"];
        let pad_token = pad_token.as_str().or_else(|| pad_token["content"].as_str());
        let pad_id = padding["pad_id"].as_u64().or_else(|| token_id(tokenizer, pad_token?)).unwrap_or(0);
        Text {
            context_length,
            padding: if fixed.is_some() || siglip || self.pads { Padding::MaxLength } else { Padding::Longest },
            pad_id: pad_id as u32,
            templates: vec!["{}".to_owned()],
        }
    }
}

/// Makes a tokenizer clean texts like open_clip does for SigLIP-like models, which were trained on cleaned texts: lower
/// case, no punctuation, single spaces.
fn canonicalize(tokenizer: &Path) -> std::io::Result<()> {
    let mut value: Value = serde_json::from_slice(&std::fs::read(tokenizer)?)?;
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let mut steps = vec![
        replace(json!({"String": "_"}), " "),
        replace(json!({"Regex": r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^`{|}~]"##}), ""),
        json!({"type": "Lowercase"}),
        replace(json!({"Regex": r"\s+"}), " "),
        json!({"type": "Strip", "strip_left": true, "strip_right": true}),
    ];
    steps.extend(Some(value["normalizer"].take()).filter(|own| !own.is_null()));
    value["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
    std::fs::write(tokenizer, serde_json::to_vec(&value)?)
}

/// The weights file beside a graph, if there is one.
fn weights_of(graph: &Path) -> Option<PathBuf> {
    WEIGHTS_ENDINGS.into_iter().find_map(|ending| {
        let mut weights = graph.as_os_str().to_owned();
        weights.push(ending);
        Some(PathBuf::from(weights)).filter(|weights| weights.is_file())
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Copies the content without permissions: a read-only source must not make a read-only copy.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::io::copy(&mut std::fs::File::open(from)?, &mut std::fs::File::create(to)?).map(drop)
}

fn token_id(tokenizer: &Value, token: &str) -> Option<u64> {
    let added = tokenizer["added_tokens"].as_array()?;
    let found = added.iter().find(|t| t["content"] == token).and_then(|t| t["id"].as_u64());
    found.or_else(|| tokenizer["model"]["vocab"][token].as_u64())
}

/// The licence in the README's front matter.
fn licence(dir: &Path) -> String {
    let readme = std::fs::read_to_string(dir.join("README.md")).unwrap_or_default();
    let front = readme.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")).map_or("", |(front, _)| front);
    let named = |key: &str| {
        let value = front.lines().find_map(|line| line.strip_prefix(key))?.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    named("license_name:").or_else(|| named("license:")).unwrap_or_else(|| "unknown".to_owned())
}

fn read_json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn problem(problem: String) -> EmbedError {
    BundleError { bundle: String::new(), problem }.into()
}

fn hash(dir: &Path, file: &str) -> Result<String, EmbedError> {
    sha256_of(&dir.join(file)).map(|(hash, _)| hash).map_err(|e| problem(format!("{file}: {e}")))
}

/// Runs one picture through the graph; returns its entry and the number of output values.
fn probe_vision(dir: &Path, file: &str, image: [i64; 3]) -> Result<(GraphEntry, usize), EmbedError> {
    let (mut session, _) = open_session(&dir.join(file), &probe_settings())?;
    let takes = |o: &&Outlet| element(o).is_some_and(|e| converts(TensorElementType::Float32, e)) && rank(o) == 4;
    let [input] = session.inputs() else {
        return Err(problem(format!("{file} has inputs {}, expected one picture", names(session.inputs()))));
    };
    if !takes(&input) {
        let found = input.dtype();
        let expected = "float32 or float16 of 4 dimensions";
        return Err(problem(format!("{file}: input {} is {found}, expected {expected}", input.name())));
    }
    let input = input.name().to_owned();
    let output = output_name(&session, file, "image_embeds")?;
    let [colours, height, width] = image;
    let values = vec![0.0f32; (colours * height * width) as usize];
    let picture = tensor([1, colours, height, width], &values)?;
    let dim = run(&mut session, file, vec![(input.as_str(), picture)], &output)?;
    Ok((GraphEntry { file: file.to_owned(), sha256: hash(dir, file)?, input, mask: None, output, weights: None }, dim))
}

/// Runs one word through the graph; returns its entry, the number of output values, and the text length if the graph
/// takes only one.
fn probe_text(dir: &Path, file: &str, text: &Text) -> Result<(GraphEntry, usize, Option<usize>), EmbedError> {
    let (mut session, _) = open_session(&dir.join(file), &probe_settings())?;
    let mut input = None;
    let mut mask = None;
    for port in session.inputs() {
        if !element(port).is_some_and(|e| converts(TensorElementType::Int64, e)) || rank(port) != 2 {
            let found = port.dtype();
            let expected = "int64 or int32 of 2 dimensions";
            return Err(problem(format!("{file}: input {} is {found}, expected {expected}", port.name())));
        }
        if port.name().contains("mask") { mask = Some(port.name().to_owned()) } else { input = Some(port) }
    }
    let expected = if mask.is_some() { 2 } else { 1 };
    let Some(ids) = input.filter(|_| session.inputs().len() == expected) else {
        let found = names(session.inputs());
        return Err(problem(format!("{file} has inputs {found}, expected token ids and at most a mask")));
    };
    let (input, length) = (ids.name().to_owned(), ids.dtype().tensor_shape().map_or(-1, |s| s[1]));
    let length = usize::try_from(length).ok();
    let mut text = text.clone();
    if let Some(length) = length {
        (text.context_length, text.padding) = (length, Padding::MaxLength);
    }
    let tokens = TextTokenizer::load(&dir.join(TOKENIZER), &text)?.tokens(&["a".to_owned()])?;
    let output = output_name(&session, file, "text_embeds")?;
    let shape = [1, tokens.length as i64];
    let mut inputs = vec![(input.as_str(), tensor(shape, &tokens.ids)?)];
    if let Some(mask) = &mask {
        inputs.push((mask, tensor(shape, &tokens.mask)?));
    }
    let dim = run(&mut session, file, inputs, &output)?;
    Ok((
        GraphEntry { file: file.to_owned(), sha256: hash(dir, file)?, input, mask, output, weights: None },
        dim,
        length,
    ))
}

/// The output with the usual name, or the only one with a vector per row.
fn output_name(session: &Session, file: &str, usual: &str) -> Result<String, EmbedError> {
    let outputs = session.outputs();
    let vectors: Vec<&Outlet> = outputs.iter().filter(|o| rank(o) == 2).collect();
    match (outputs.iter().find(|o| o.name() == usual), &vectors[..]) {
        (Some(output), _) => Ok(output.name().to_owned()),
        (None, [output]) => Ok(output.name().to_owned()),
        _ => {
            let found = names(outputs);
            Err(problem(format!("{file} has outputs {found}, expected {usual} or one of 2 dimensions")))
        }
    }
}

/// Runs the graph; returns the number of values per output row.
fn run(
    session: &mut Session,
    file: &str,
    inputs: Vec<(&str, ort::session::SessionInputValue<'_>)>,
    output: &str,
) -> Result<usize, EmbedError> {
    let failed = |e: ort::Error| problem(format!("{file} does not run: {e}"));
    let mut taken = Vec::with_capacity(inputs.len());
    for (name, value) in inputs {
        let port = session.inputs().iter().find(|port| port.name() == name).expect("named by the graph");
        taken.push((name, cast(value, element(port).unwrap_or(TensorElementType::Float32)).map_err(failed)?));
    }
    let outputs = session.run(taken).map_err(failed)?;
    let output = outputs.get(output).expect("named by the graph");
    match floats(output).map_err(failed)?.0[..] {
        [1, dim] => Ok(dim as usize),
        ref shape => Err(problem(format!("{file} gives {shape:?}, expected one row"))),
    }
}

/// On the processor, which is everywhere and fast enough for one run.
fn probe_settings() -> EmbedSettings {
    EmbedSettings { device: DeviceChoice::Cpu, ..EmbedSettings::default() }
}

fn element(outlet: &Outlet) -> Option<TensorElementType> {
    outlet.dtype().tensor_type()
}

fn rank(outlet: &Outlet) -> usize {
    outlet.dtype().tensor_shape().map_or(0, |shape| shape.len())
}

fn names(outlets: &[Outlet]) -> String {
    outlets.iter().map(Outlet::name).collect::<Vec<_>>().join(", ")
}
