//! Captions windows with a decoder that reads the frame features.
//!
//! There are two graphs. The memory graph computes the keys and values of a window's encoder attention once. The step
//! graph extends hypotheses by one token, with the cached keys and values of the tokens before. The first axis of every
//! array is the hypothesis, so that [`beam`] can select rows.

mod beam;

use ort::session::{Session, SessionInputValue};
use ort::value::TensorElementType::{Float32, Int64};
use tokenizers::Tokenizer;

use self::beam::{Row, Rules, search};
use super::bundle::Bundle;
use super::manifest::CaptionsEntry;
use super::onnx::{Dim, FilledWindows, Leeway, Port, check_ports, tensor};
use super::runtime::{Device, EmbedSettings, open_session};
use super::{Captioner, EmbedError, Feature};
use crate::window::Window;

pub struct OnnxCaptioner {
    entry: CaptionsEntry,
    tokenizer: Tokenizer,
    memory: Session,
    step: Session,
    device: Device,
    beams: usize,
    feature_dim: usize,
    /// Layers, 2, heads, head_dim: dimensions of the graphs' keys and values.
    heads: [usize; 4],
}

impl OnnxCaptioner {
    /// `beams`: hypotheses per window; `None`: as the bundle says.
    pub fn open(bundle: &Bundle, settings: &EmbedSettings, beams: Option<usize>) -> Result<Self, EmbedError> {
        let manifest = bundle.manifest();
        let Some(entry) = manifest.captions.clone() else {
            return Err(bundle.error("has no [captions]: it cannot write any").into());
        };
        let file = bundle.dir().join(&entry.tokenizer.file);
        let tokenizer =
            Tokenizer::from_file(&file).map_err(|e| EmbedError::Tokenizer(format!("{}: {e}", file.display())))?;
        let feature_dim = manifest.feature_dim();
        let (memory, _) = open_session(&bundle.dir().join(&entry.memory.file), settings)?;
        let (step, device) = open_session(&bundle.dir().join(&entry.step.file), settings)?;

        let (batch, frames) = (Dim::Free("batch"), Dim::Free("frames"));
        let fixed = [Dim::Any("layers"), Dim::Is(2), Dim::Any("heads")];
        let keys = |length| [&[batch], &fixed[..], &[Dim::Free(length), Dim::Any("head size")]].concat();
        let (of_frames, of_past) = (keys("frames"), keys("words"));
        let mask = [batch, frames];
        check_ports(
            bundle,
            "caption memory",
            &entry.memory.file,
            &memory,
            &[float(&entry.memory.frames, &[batch, frames, Dim::Is(feature_dim)]), float(&entry.memory.mask, &mask)],
            &[float(&entry.memory.output, &of_frames)],
            Leeway::default(),
        )?;
        check_ports(
            bundle,
            "caption step",
            &entry.step.file,
            &step,
            &[
                Port { name: &entry.step.ids, element: Int64, dims: &[batch, Dim::Is(1)] },
                float(&entry.step.past, &of_past),
                float(&entry.step.memory, &of_frames),
                float(&entry.step.mask, &mask),
            ],
            &[float(&entry.step.output, &[batch, Dim::Any("vocabulary")]), float(&entry.step.present, &of_past)],
            Leeway::default(),
        )?;
        let input = step.inputs().iter().find(|i| i.name() == entry.step.past).expect("just checked");
        let shape = input.dtype().tensor_shape().map_or(&[][..], |shape| shape);
        let size = |axis: usize| shape.get(axis).and_then(|size| usize::try_from(*size).ok());
        let (Some(layers), Some(heads), Some(head_dim)) = (size(1), size(3), size(5)) else {
            let problem = "caption step graph: the numbers of layers and heads and the head size must be fixed";
            return Err(bundle.error(problem).into());
        };
        let beams = beams.unwrap_or(entry.beams);
        let heads = [layers, 2, heads, head_dim];
        Ok(Self { entry, tokenizer, memory, step, device, beams, feature_dim, heads })
    }

    pub fn device(&self) -> Device {
        self.device
    }

    pub fn max_words(&self) -> usize {
        self.entry.max_words
    }

    /// For each window, the token ids without the start token and up to the first end or padding token, and the sum of
    /// the log-probabilities of these ids and the end token.
    pub fn tokens(&mut self, windows: &[Window<Feature>]) -> Result<Vec<(Vec<u32>, f32)>, EmbedError> {
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let features = windows.iter().map(|window| window.items.iter().map(|feature| &*feature.values));
        let filled = FilledWindows::new(features, self.feature_dim, None)?;
        let memory = {
            let entry = &self.entry.memory;
            let inputs = vec![(entry.frames.as_str(), filled.values()?), (&entry.mask, filled.mask()?)];
            let outputs = run("caption memory", &mut self.memory, inputs)?;
            rows(&outputs, &entry.output)?
        };
        let frames = filled.frames();
        let CaptionsEntry { start_id, end_id, max_words, .. } = self.entry;
        let rules = Rules { start: start_id.into(), end: end_id.into(), max_words, beams: self.beams };
        let mut past: Rows = Rows { values: Vec::new(), each: 0 };
        let mut words = 0;
        let captions = search(windows.len(), rules, |hypotheses: &[Row]| {
            let memory = memory.gather(hypotheses.iter().map(|row| row.window));
            let mask = filled.mask_rows(hypotheses.iter().map(|row| row.window));
            // There is no cache before the first token.
            let before = if words == 0 { Vec::new() } else { past.gather(hypotheses.iter().map(|row| row.parent)) };
            let ids: Vec<i64> = hypotheses.iter().map(|row| row.last).collect();
            let n = hypotheses.len() as i64;
            let keys = |length: usize| {
                let [layers, two, heads, head_dim] = self.heads.map(|size| size as i64);
                [n, layers, two, heads, length as i64, head_dim]
            };
            let entry = &self.entry.step;
            let inputs = vec![
                (entry.ids.as_str(), tensor([n, 1], &ids)?),
                (&entry.past, tensor(keys(words), &before)?),
                (&entry.memory, tensor(keys(frames), &memory)?),
                (&entry.mask, tensor([n, frames as i64], &mask)?),
            ];
            let outputs = run("caption step", &mut self.step, inputs)?;
            let log_probs = rows(&outputs, &entry.output)?;
            past = rows(&outputs, &entry.present)?;
            words += 1;
            Ok::<_, EmbedError>(log_probs.values.chunks_exact(log_probs.each).map(<[f32]>::to_vec).collect())
        })?;
        let stops = [i64::from(self.entry.end_id), i64::from(self.entry.pad_id)];
        let cut = |tokens: Vec<i64>| tokens.into_iter().take_while(|id| !stops.contains(id)).map(|id| id as u32);
        Ok(captions.into_iter().map(|caption| (cut(caption.tokens).collect(), caption.score)).collect())
    }
}

fn float<'a>(name: &'a str, dims: &'a [Dim]) -> Port<'a> {
    Port { name, element: Float32, dims }
}

impl Captioner for OnnxCaptioner {
    fn caption(&mut self, windows: &[Window<Feature>]) -> Result<Vec<String>, EmbedError> {
        let captions = self.tokens(windows)?;
        let text = |(ids, _): (Vec<u32>, f32)| {
            let text = self.tokenizer.decode(&ids, true).map_err(|e| EmbedError::Tokenizer(e.to_string()))?;
            Ok(text.trim().to_owned())
        };
        captions.into_iter().map(text).collect()
    }
}

/// Rows of `each` values.
struct Rows {
    values: Vec<f32>,
    each: usize,
}

impl Rows {
    fn gather(&self, rows: impl Iterator<Item = usize>) -> Vec<f32> {
        rows.flat_map(|row| &self.values[row * self.each..(row + 1) * self.each]).copied().collect()
    }
}

fn rows(outputs: &ort::session::SessionOutputs<'_>, name: &str) -> Result<Rows, EmbedError> {
    let output = outputs.get(name).expect("checked when opened");
    let (shape, values) = output.try_extract_tensor::<f32>().map_err(|e| EmbedError::Runtime(e.to_string()))?;
    let each = shape.iter().skip(1).product::<i64>() as usize;
    Ok(Rows { values: values.to_vec(), each })
}

fn run<'s>(
    role: &str,
    session: &'s mut Session,
    inputs: Vec<(&str, SessionInputValue<'_>)>,
) -> Result<ort::session::SessionOutputs<'s>, EmbedError> {
    session.run(inputs).map_err(|e| EmbedError::Runtime(format!("{role} graph: {e}")))
}
