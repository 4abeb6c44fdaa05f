//! The encoders of a bundle as ONNX Runtime sessions.
//!
//! A graph's inputs and outputs are compared with the manifest when it is opened, so that a wrong graph is refused with
//! a precise message before anything is indexed.

use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType, TensorRef};

use super::binding::{Bound, Memory};
use super::bundle::Bundle;
use super::element::{cast, converts, floats, row};
use super::manifest::GraphEntry;
use super::runtime::{Device, EmbedSettings, Fixed, fixes_rows, open_fixed_session, open_session};
use super::tensor::Normaliser;
use super::{BundleError, EmbedError, Embedding, Feature, FrameEncoder, Head, VideoEncoder};
use crate::decode::Frame;
use crate::linspace;
use crate::window::Window;

/// An input or output that the manifest demands.
pub(super) struct Port<'a> {
    pub(super) name: &'a str,
    pub(super) element: TensorElementType,
    pub(super) dims: &'a [Dim],
}

#[derive(Clone, Copy)]
pub(super) enum Dim {
    /// The graph must leave this dimension open.
    Free(&'static str),
    /// Open, or this size.
    Is(usize),
    /// Open, or any size.
    Any(&'static str),
}

/// An opened graph whose inputs and output match the manifest.
pub(super) struct Graph {
    role: &'static str,
    session: Session,
    device: Device,
    output: String,
    dim: usize,
    /// Whether it takes only one row at a time.
    single: bool,
    /// The buffers that it runs through on a GPU.
    bound: Option<Bound>,
}

impl Graph {
    /// Opens a graph that takes any number of rows. `dim`: values per output row.
    pub(super) fn open(
        bundle: &Bundle,
        role: &'static str,
        entry: &GraphEntry,
        inputs: &[Port<'_>],
        dim: usize,
        settings: &EmbedSettings,
    ) -> Result<Self, EmbedError> {
        let opened = open_session(&bundle.dir().join(&entry.file), settings)?;
        Self::of(opened, bundle, role, entry, (inputs, dim), settings, None)
    }

    /// Opens one of the graphs that do most of the work. It takes at most `settings.batch_frames` rows, and only the
    /// number of rows is open in its shapes, so that TensorRT can build an engine of it and its kernels can be
    /// recorded.
    pub(super) fn open_batched(
        bundle: &Bundle,
        role: &'static str,
        entry: &GraphEntry,
        inputs: &[Port<'_>],
        dim: usize,
        settings: &EmbedSettings,
    ) -> Result<Self, EmbedError> {
        let fixed = Fixed { role, input: &entry.input, rows: settings.batch_frames, bundle: bundle.hash() };
        let opened = open_fixed_session(&bundle.dir().join(&entry.file), fixed, settings)?;
        let rows = fixes_rows(opened.1, settings).then_some(settings.batch_frames);
        Self::of(opened, bundle, role, entry, (inputs, dim), settings, rows)
    }

    /// `rows`: the only number of rows that the session takes; `None`: any.
    fn of(
        (session, device): (Session, Device),
        bundle: &Bundle,
        role: &'static str,
        entry: &GraphEntry,
        (inputs, dim): (&[Port<'_>], usize),
        settings: &EmbedSettings,
        rows: Option<usize>,
    ) -> Result<Self, EmbedError> {
        let output = Port {
            name: &entry.output,
            element: TensorElementType::Float32,
            dims: &[Dim::Free("batch"), Dim::Is(dim)],
        };
        let single = takes_single_rows(&session);
        let rows = if single { rows.map(|_| 1) } else { rows };
        let given = if single { Some(1) } else { rows };
        check_ports(bundle, role, &entry.file, &session, inputs, &[output], Leeway { rows: given, narrow: true })?;
        if single && rows.is_none() {
            tracing::warn!(
                model = bundle.name(),
                "the {role} graph was exported for one row at a time, so nothing is batched: with float32 on a CPU that \
                 takes up to 2.4 times as long as batches of 8, on a GPU more. An export with an open batch avoids it"
            );
        }
        // The buffers hold 32-bit floats.
        let is_narrow = session
            .outputs()
            .iter()
            .any(|o| o.name() == entry.output && o.dtype().tensor_type() == Some(TensorElementType::Float16));
        if is_narrow && rows.is_some() {
            let problem = format!(
                "{role} graph: it gives 16-bit floats, which neither TensorRT nor recorded CUDA graphs are used with: \
                 choose device cuda with `model.cuda_graphs = false`, or export it with 32-bit results"
            );
            return Err(bundle.error(problem).into());
        }
        let bound = Memory::of(device, settings, rows.is_some())
            .filter(|_| !is_narrow)
            .map(|memory| Bound::new(&session, memory, &entry.output, dim, rows))
            .transpose()
            .map_err(|e| EmbedError::Runtime(format!("{role} graph: {e}")))?;
        Ok(Self { role, session, device, output: entry.output.clone(), dim, single, bound })
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// The size of an input's dimension, if the graph fixes it.
    fn fixed(&self, input: &str, dim: usize) -> Option<usize> {
        let outlet = self.session.inputs().iter().find(|i| i.name() == input)?;
        outlet.dtype().tensor_shape()?.get(dim).and_then(|d| usize::try_from(*d).ok())
    }

    /// Runs the graph; returns the output rows, whose number must be `rows`.
    pub(super) fn run(
        &mut self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        rows: usize,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let failed = |e: ort::Error| EmbedError::Runtime(format!("{} graph: {e}", self.role));
        let element = |name: &str| self.session.inputs().iter().find(|i| i.name() == name)?.dtype().tensor_type();
        let mut taken = Vec::with_capacity(inputs.len());
        for (name, value) in inputs {
            taken.push((
                name,
                match element(name) {
                    Some(element) => cast(value, element).map_err(failed)?,
                    None => value,
                },
            ));
        }
        if !self.single || rows <= 1 {
            return self.run_once(taken, rows);
        }
        let mut results = Vec::with_capacity(rows);
        for number in 0..rows {
            let one = taken.iter().map(|(name, value)| Ok((*name, row(value, number)?)));
            let one = one.collect::<ort::Result<Vec<_>>>();
            let one = one.map_err(|e| EmbedError::Runtime(format!("{} graph: {e}", self.role)))?;
            results.append(&mut self.run_once(one, 1)?);
        }
        Ok(results)
    }

    fn run_once(
        &mut self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        rows: usize,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let failed = |e: ort::Error| EmbedError::Runtime(format!("{} graph: {e}", self.role));
        if let Some(bound) = &mut self.bound {
            return bound.run(&mut self.session, &inputs, rows).map_err(failed);
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let output = outputs.get(&self.output).expect("checked when opened");
        let (shape, values) = floats(output).map_err(failed)?;
        let expected = [rows as i64, self.dim as i64];
        if shape != expected {
            let problem = format!("{} graph: output is {shape:?}, expected {expected:?}", self.role);
            return Err(EmbedError::Runtime(problem));
        }
        Ok(values.chunks_exact(self.dim).map(<[f32]>::to_vec).collect())
    }
}

/// Whether a graph was exported for one row at a time.
fn takes_single_rows(session: &Session) -> bool {
    let first = |outlet: &Outlet| outlet.dtype().tensor_shape().and_then(|shape| shape.first().copied());
    session.inputs().iter().all(|input| first(input) == Some(1))
}

/// Deviations from the manifest that a graph may have.
#[derive(Clone, Copy, Default)]
pub(super) struct Leeway {
    /// The first dimension may have this size instead of being open.
    pub(super) rows: Option<usize>,
    /// Ids may have 32 bits and floats 16: they are converted.
    pub(super) narrow: bool,
}

/// Checks that a graph has the inputs and outputs of the manifest, and no other inputs.
pub(super) fn check_ports(
    bundle: &Bundle,
    role: &str,
    file: &str,
    session: &Session,
    inputs: &[Port<'_>],
    outputs: &[Port<'_>],
    leeway: Leeway,
) -> Result<(), BundleError> {
    let mut problems = compare("input", session.inputs(), inputs, leeway);
    let stray = session.inputs().iter().filter(|i| inputs.iter().all(|p| p.name != i.name()));
    problems.extend(stray.map(|i| format!("input {:?} is not in the manifest", i.name())));
    problems.extend(compare("output", session.outputs(), outputs, leeway));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(bundle.error(format!("{role} graph ({file}): {}", problems.join("; "))))
    }
}

fn compare(kind: &str, found: &[Outlet], expected: &[Port<'_>], leeway: Leeway) -> Vec<String> {
    let is_rows = |place: usize, size: i64| place == 0 && leeway.rows.is_some_and(|rows| size == rows as i64);
    let mut problems = Vec::new();
    for port in expected {
        let Some(outlet) = found.iter().find(|o| o.name() == port.name) else {
            let names: Vec<&str> = found.iter().map(Outlet::name).collect();
            problems.push(format!("no {kind} {:?}, there is: {}", port.name, names.join(", ")));
            continue;
        };
        let element = outlet.dtype().tensor_type();
        let shape = outlet.dtype().tensor_shape().map_or(&[][..], |s| s);
        // An empty shape means that the graph does not state it; a wrong one fails when it runs.
        let fits = shape.is_empty()
            || (shape.len() == port.dims.len()
                && shape.iter().zip(port.dims).enumerate().all(|(i, (s, d))| d.admits(*s) || is_rows(i, *s)));
        let is_element =
            element.is_some_and(|element| element == port.element || leeway.narrow && converts(port.element, element));
        if !is_element || !fits {
            let expected = port.dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
            let (name, ty) = (port.name, port.element);
            problems.push(format!("{kind} {name}: expected {ty} [{expected}], found {}", describe(outlet)));
        }
    }
    problems
}

fn describe(outlet: &Outlet) -> String {
    match (outlet.dtype().tensor_type(), outlet.dtype().tensor_shape()) {
        (Some(element), Some(shape)) => {
            let dims: Vec<String> =
                shape.iter().map(|d| if *d < 0 { "any".to_owned() } else { d.to_string() }).collect();
            format!("{element} [{}]", dims.join(", "))
        }
        _ => outlet.dtype().to_string(),
    }
}

impl Dim {
    fn admits(self, size: i64) -> bool {
        match self {
            Self::Free(_) => size < 0,
            Self::Is(expected) => size < 0 || size == expected as i64,
            Self::Any(_) => true,
        }
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Free(name) => write!(f, "any {name}"),
            Self::Is(size) => write!(f, "{size}"),
            Self::Any(name) => f.write_str(name),
        }
    }
}

fn missing(bundle: &Bundle, graph: &str) -> BundleError {
    bundle.error(format!("has no [graphs.{graph}]"))
}

/// Encodes frames: `[N, 3, H, W]` to `[N, feature_dim]`.
pub struct OnnxFrameEncoder {
    graph: Graph,
    /// Most frames at once.
    batch: usize,
    input: String,
    normaliser: Normaliser,
    /// Reused for every batch: it is the largest allocation here.
    buffer: Vec<f32>,
}

impl OnnxFrameEncoder {
    pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
        let manifest = bundle.manifest();
        let entry = manifest.graphs.frame.as_ref().ok_or_else(|| missing(bundle, "frame"))?;
        let dims = image_dims(bundle);
        let input = Port {
            name: &entry.input,
            element: TensorElementType::Float32,
            dims: &[&[Dim::Free("batch")], &dims[..]].concat(),
        };
        let graph = Graph::open_batched(bundle, "frame", entry, &[input], manifest.feature_dim(), settings)?;
        Ok(Self {
            graph,
            batch: settings.batch_frames,
            input: entry.input.clone(),
            normaliser: Normaliser::new(&manifest.pixels),
            buffer: Vec::new(),
        })
    }

    pub fn device(&self) -> Device {
        self.graph.device()
    }

    /// Runs a batch of the largest size once, so that ONNX Runtime allocates all of its memory at the start. If its
    /// arena grew with each larger batch, it would end up larger, and by a different amount in each run.
    pub fn warm_up(&mut self, batch: usize) -> Result<(), EmbedError> {
        let [colours, height, width] = self.normaliser.shape();
        let values = vec![0.0f32; batch * (colours * height * width) as usize];
        let input = tensor([batch as i64, colours, height, width], &values)?;
        self.graph.run(vec![(&self.input, input)], batch).map(drop)
    }
}

impl FrameEncoder for OnnxFrameEncoder {
    fn encode(&mut self, frames: &[Frame]) -> Result<Vec<Feature>, EmbedError> {
        let mut features = Vec::with_capacity(frames.len());
        for frames in frames.chunks(self.batch.max(1)) {
            self.buffer.clear();
            for frame in frames {
                self.normaliser.append(frame, &mut self.buffer)?;
            }
            let [colours, height, width] = self.normaliser.shape();
            let input = tensor([frames.len() as i64, colours, height, width], &self.buffer)?;
            let rows = self.graph.run(vec![(&self.input, input)], frames.len())?;
            features.extend(frames.iter().zip(rows).map(|(frame, row)| Feature { pts: frame.pts, values: row.into() }));
        }
        Ok(features)
    }
}

/// Pools windows: `[B, T, feature_dim]` with mask `[B, T]` to `[B, dim]`. Shorter windows are padded with zeros and
/// mask 0.
pub struct OnnxHead {
    graph: Graph,
    input: String,
    mask: String,
    /// Frames per window, if the graph takes only this many.
    fixed_frames: Option<usize>,
    feature_dim: usize,
}

impl OnnxHead {
    pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
        let manifest = bundle.manifest();
        let entry = manifest.graphs.head.as_ref().ok_or_else(|| missing(bundle, "head"))?;
        let mask = entry.mask.as_ref().expect("a head has a mask: checked with the manifest");
        let (batch, frames, dim) = (Dim::Free("batch"), Dim::Any("frames"), Dim::Is(manifest.feature_dim()));
        let inputs = [
            Port { name: &entry.input, element: TensorElementType::Float32, dims: &[batch, frames, dim] },
            Port { name: mask, element: TensorElementType::Float32, dims: &[batch, frames] },
        ];
        let graph = Graph::open(bundle, "head", entry, &inputs, bundle.dim(), settings)?;
        let fixed_frames = graph.fixed(&entry.input, 1);
        Ok(Self {
            graph,
            input: entry.input.clone(),
            mask: mask.clone(),
            fixed_frames,
            feature_dim: manifest.feature_dim(),
        })
    }
}

impl Head for OnnxHead {
    fn pool(&mut self, windows: &[Window<Feature>]) -> Result<Vec<Embedding>, EmbedError> {
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let features = windows.iter().map(|window| window.items.iter().map(|feature| &*feature.values));
        let filled = FilledWindows::new(features, self.feature_dim, self.fixed_frames)?;
        let inputs = vec![(self.input.as_str(), filled.values()?), (&self.mask, filled.mask()?)];
        let rows = self.graph.run(inputs, windows.len())?;
        rows.into_iter().map(Embedding::new).collect()
    }
}

/// The features of windows as one array `[N, T, feature_dim]` with mask `[N, T]`; shorter windows are padded with
/// zeros.
pub(super) struct FilledWindows {
    values: Vec<f32>,
    mask: Vec<f32>,
    shape: [usize; 3],
}

impl FilledWindows {
    /// T is `frames` if given, else the length of the longest window.
    pub(super) fn new<'a, W>(windows: W, feature_dim: usize, frames: Option<usize>) -> Result<Self, EmbedError>
    where
        W: ExactSizeIterator<Item: ExactSizeIterator<Item = &'a [f32]>> + Clone,
    {
        let longest = windows.clone().map(|window| window.len()).max().unwrap_or(0);
        let frames = frames.unwrap_or(longest);
        if longest > frames {
            return Err(EmbedError::Input(format!("a window has {longest} frames, this model takes at most {frames}")));
        }
        let shape = [windows.len(), frames, feature_dim];
        let mut filled =
            Self { values: vec![0.0; shape.iter().product()], mask: vec![0.0; windows.len() * frames], shape };
        for (w, window) in windows.enumerate() {
            if window.len() == 0 {
                return Err(EmbedError::Input("a window has no frames".to_owned()));
            }
            for (row, feature) in (w * frames..).zip(window) {
                if feature.len() != feature_dim {
                    let found = feature.len();
                    return Err(EmbedError::Input(format!(
                        "a feature has {found} values, this model's have {feature_dim}"
                    )));
                }
                filled.values[row * feature_dim..(row + 1) * feature_dim].copy_from_slice(feature);
                filled.mask[row] = 1.0;
            }
        }
        Ok(filled)
    }

    pub(super) fn values(&self) -> Result<SessionInputValue<'_>, EmbedError> {
        tensor(self.shape.map(|n| n as i64), &self.values)
    }

    /// T: frames per window.
    pub(super) fn frames(&self) -> usize {
        self.shape[1]
    }

    /// The mask rows of these windows, concatenated.
    pub(super) fn mask_rows(&self, windows: impl Iterator<Item = usize>) -> Vec<f32> {
        let frames = self.frames();
        windows.flat_map(|window| &self.mask[window * frames..(window + 1) * frames]).copied().collect()
    }

    pub(super) fn mask(&self) -> Result<SessionInputValue<'_>, EmbedError> {
        let [windows, frames, _] = self.shape.map(|n| n as i64);
        tensor([windows, frames], &self.mask)
    }
}

/// Encodes windows: `[B, T, 3, H, W]` to `[B, dim]`, with exactly the manifest's number of frames per window.
pub struct OnnxVideoEncoder {
    graph: Graph,
    /// Most windows at once.
    batch: usize,
    input: String,
    frames: usize,
    normaliser: Normaliser,
    buffer: Vec<f32>,
}

impl OnnxVideoEncoder {
    pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
        let manifest = bundle.manifest();
        let entry = manifest.graphs.video.as_ref().ok_or_else(|| missing(bundle, "video"))?;
        let frames = manifest.video.frames;
        let dims = [&[Dim::Free("batch"), Dim::Is(frames)], &image_dims(bundle)[..]].concat();
        let input = Port { name: &entry.input, element: TensorElementType::Float32, dims: &dims };
        let graph = Graph::open_batched(bundle, "video", entry, &[input], bundle.dim(), settings)?;
        let normaliser = Normaliser::new(&manifest.pixels);
        Ok(Self {
            graph,
            batch: settings.batch_frames,
            input: entry.input.clone(),
            frames,
            normaliser,
            buffer: Vec::new(),
        })
    }

    pub fn device(&self) -> Device {
        self.graph.device()
    }

    /// See [`OnnxFrameEncoder::warm_up`].
    pub fn warm_up(&mut self, batch: usize) -> Result<(), EmbedError> {
        let [colours, height, width] = self.normaliser.shape();
        let shape = [batch as i64, self.frames as i64, colours, height, width];
        let values = vec![0.0f32; shape.iter().product::<i64>() as usize];
        let input = tensor(shape, &values)?;
        self.graph.run(vec![(&self.input, input)], batch).map(drop)
    }
}

impl VideoEncoder for OnnxVideoEncoder {
    fn encode(&mut self, windows: &[Window<Frame>]) -> Result<Vec<Embedding>, EmbedError> {
        let mut embeddings = Vec::with_capacity(windows.len());
        for windows in windows.chunks(self.batch.max(1)) {
            self.buffer.clear();
            for window in windows {
                if window.items.is_empty() {
                    return Err(EmbedError::Input("a window has no frames".to_owned()));
                }
                for pick in linspace::indices(window.items.len(), self.frames) {
                    self.normaliser.append(&window.items[pick], &mut self.buffer)?;
                }
            }
            let [colours, height, width] = self.normaliser.shape();
            let shape = [windows.len() as i64, self.frames as i64, colours, height, width];
            let input = tensor(shape, &self.buffer)?;
            for row in self.graph.run(vec![(&self.input, input)], windows.len())? {
                embeddings.push(Embedding::new(row)?);
            }
        }
        Ok(embeddings)
    }
}

/// Colours, height, width.
fn image_dims(bundle: &Bundle) -> [Dim; 3] {
    let pixels = &bundle.manifest().pixels;
    [Dim::Is(3), Dim::Is(pixels.height as usize), Dim::Is(pixels.width as usize)]
}

/// A view of `values` as a graph's input.
pub(super) fn tensor<'a, const N: usize, T>(
    shape: [i64; N],
    values: &'a [T],
) -> Result<SessionInputValue<'a>, EmbedError>
where
    T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let tensor = TensorRef::from_array_view((shape, values)).map_err(|e| EmbedError::Runtime(e.to_string()))?;
    Ok(tensor.into())
}
