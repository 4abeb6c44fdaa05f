//! Opens a graph on the chosen device.

use std::path::Path;
use std::sync::Once;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProvider, TensorRT};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use tracing::{info, warn};

use super::engines::{EngineKey, has_engine, identity};
use super::gpu;
use super::library::{Library, failed, library};
use super::onnx_file::OnnxFile;
use super::placement::{Placement, RECORD};
use super::{Device, DeviceChoice, EmbedSettings};
use crate::embed::EmbedError;

/// A graph that is always run with the same number of rows (fewer are padded), as TensorRT engines and recorded CUDA
/// graphs need.
#[derive(Clone, Copy)]
pub(in crate::embed) struct Fixed<'a> {
    pub(in crate::embed) role: &'a str,
    pub(in crate::embed) input: &'a str,
    pub(in crate::embed) rows: usize,
    /// The bundle's hash.
    pub(in crate::embed) bundle: &'a str,
}

/// Opens a session and returns its device. With `tensorrt` that is CUDA: an engine needs fixed shapes.
pub(in crate::embed) fn open_session(graph: &Path, settings: &EmbedSettings) -> Result<(Session, Device), EmbedError> {
    open(graph, None, settings)
}

/// Opens a session whose number of rows is fixed if the device needs it, see [`fixes_rows`].
pub(in crate::embed) fn open_fixed_session(
    graph: &Path,
    fixed: Fixed<'_>,
    settings: &EmbedSettings,
) -> Result<(Session, Device), EmbedError> {
    open(graph, Some(fixed), settings)
}

fn open(graph: &Path, fixed: Option<Fixed<'_>>, settings: &EmbedSettings) -> Result<(Session, Device), EmbedError> {
    let library = library()?;
    let asked = settings.device;
    if asked == DeviceChoice::Cpu {
        let session = build(&library, graph, settings, Device::Cpu, fixed)?;
        if settings.rehearse {
            let placement = Placement::of(&session).map_err(failed)?;
            info!(graph = %graph.display(), operators = %placement, "opened");
        }
        return Ok((session, Device::Cpu));
    }
    let device = match asked {
        DeviceChoice::Tensorrt if fixed.is_some() => Device::Tensorrt(settings.device_index),
        _ => Device::Cuda(settings.device_index),
    };
    // With `auto`, check for the driver first, to avoid loading gigabytes of libraries in vain. If a GPU was asked for,
    // load the libraries first, because one of them may be what is missing.
    let driver = if asked == DeviceChoice::Auto { gpu::load_driver() } else { Ok(()) };
    let opened = driver
        .and_then(|()| gpu::prepare(&library.path, device))
        .and_then(|()| open_on_gpu(&library, graph, settings, device, fixed));
    match opened {
        Ok(session) => Ok((session, device)),
        Err(problem) if asked == DeviceChoice::Auto => {
            tell_fallback(&problem);
            Ok((build(&library, graph, settings, Device::Cpu, None)?, Device::Cpu))
        }
        Err(problem) => Err(EmbedError::Device { asked: asked.to_string(), problem }),
    }
}

/// Logs the fallback to the processor. A machine without a GPU is usual; one with ONNX Runtime for GPUs that cannot use
/// its GPU is not, so it gets a warning, once.
fn tell_fallback(problem: &str) {
    static TOLD: Once = Once::new();
    if CUDA::is_available().unwrap_or(false) {
        TOLD.call_once(|| warn!("device auto: running on the processor: {problem}"));
    } else {
        info!(%problem, "device auto: running on the processor");
    }
}

fn open_on_gpu(
    library: &Library,
    graph: &Path,
    settings: &EmbedSettings,
    device: Device,
    fixed: Option<Fixed<'_>>,
) -> Result<Session, String> {
    let session = build(library, graph, settings, device, fixed).map_err(|e| gpu::explain(&e.to_string()))?;
    let placement = Placement::of(&session).map_err(|e| e.to_string())?;
    info!(graph = %graph.display(), %device, operators = %placement, "opened");
    let left = placement.left_to_cpu();
    if !left.is_empty() {
        let problem = format!(
            "{}: the GPU's provider does not take {}, which would run on the processor: take the bundle in float16 or \
             float32, or device \"cpu\"",
            graph.display(),
            left.join(", ")
        );
        // With `auto`, a graph that runs mostly on the GPU is accepted. If a GPU was asked for, all of it must run
        // there.
        if settings.device != DeviceChoice::Auto {
            return Err(problem);
        }
        warn!("{problem}");
    }
    Ok(session)
}

fn build(
    library: &Library,
    graph: &Path,
    settings: &EmbedSettings,
    device: Device,
    fixed: Option<Fixed<'_>>,
) -> Result<Session, EmbedError> {
    let wrong = |e: String| EmbedError::Runtime(format!("{}: {e}", graph.display()));
    let mut builder = builder(library, settings).map_err(failed)?;
    if device != Device::Cpu || settings.rehearse {
        builder = builder.with_config_entry(RECORD, "1").map_err(|e| wrong(e.to_string()))?;
    }
    if let Some(fixed) = fixed.filter(|_| fixes_rows(device, settings)) {
        let facts = OnnxFile::read(graph).map_err(|e| wrong(e.to_string()))?;
        // If the dimension has no name, the provider compiles for the shape of the first run, which is the same.
        if let Some(name) = facts.first_dimension(fixed.input) {
            builder = builder.with_dimension_override(name, fixed.rows as i64).map_err(|e| wrong(e.to_string()))?;
        }
        if matches!(device, Device::Tensorrt(_)) {
            // Register the provider once without options: this loads its libraries, whose versions are part of the
            // engine's key.
            TensorRT::default().register(&mut self::builder(library, settings).map_err(failed)?).map_err(failed)?;
            let provider = tensorrt(settings, fixed, facts.float16)?;
            provider.register(&mut builder).map_err(failed)?;
        }
    }
    if device != Device::Cpu {
        // With TensorRT, CUDA runs the operators that TensorRT does not support.
        cuda(settings, device).register(&mut builder).map_err(failed)?;
    }
    builder.commit_from_file(graph).map_err(|e| wrong(e.to_string()))
}

/// Whether graphs that can be run with a fixed number of rows are.
pub(in crate::embed) fn fixes_rows(device: Device, settings: &EmbedSettings) -> bool {
    match device {
        Device::Cpu => settings.rehearse && settings.cuda_graphs,
        Device::Cuda(_) => settings.cuda_graphs,
        Device::Tensorrt(_) => true,
    }
}

fn cuda(settings: &EmbedSettings, device: Device) -> CUDA {
    let mut provider = CUDA::default()
        .with_device_id(settings.device_index.cast_signed())
        // Batches vary in size; an exhaustive search would be repeated for each size.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        // A float32 graph is meant to be exact: TensorFloat-32 keeps ten bits of each factor.
        .with_tf32(false)
        // An arena that doubles takes up to twice the needed memory, and fails early at the memory limit.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
    if let Some(bytes) = settings.gpu_memory_mib.map(bytes) {
        provider = provider.with_memory_limit(bytes);
    }
    // Not with TensorRT: a recording needs the whole graph on CUDA.
    provider.with_cuda_graph(settings.cuda_graphs && matches!(device, Device::Cuda(_)))
}

fn tensorrt(settings: &EmbedSettings, fixed: Fixed<'_>, float16: bool) -> Result<TensorRT, EmbedError> {
    let mut provider = TensorRT::default()
        .with_device_id(settings.device_index.cast_signed())
        // Half precision only for graphs stored in it: a float32 graph is computed in float32.
        .with_fp16(float16)
        .with_cuda_graph(settings.cuda_graphs);
    if let Some(bytes) = settings.tensorrt_workspace_mib.map(bytes) {
        provider = provider.with_max_workspace_size(bytes);
    }
    let Some(engines) = &settings.engines else { return Ok(provider) };
    let key = EngineKey {
        bundle: fixed.bundle,
        role: fixed.role,
        batch: fixed.rows,
        float16,
        onnx_runtime: ort::info(),
        libraries: gpu::engine_libraries().iter().map(|path| identity(path)).collect(),
        gpus: gpu::driver().1,
        index: settings.device_index,
    };
    let dir = key.open(engines).map_err(|e| {
        EmbedError::Runtime(format!("cannot write TensorRT's engines below {}: {e}", engines.display()))
    })?;
    if !has_engine(&dir) {
        // A warning, because nothing else is shown while the engine is built.
        warn!(
            "TensorRT builds an engine for the {} graph: this takes minutes, once (in {})",
            fixed.role,
            dir.display()
        );
    }
    let path = dir.display().to_string();
    Ok(provider
        .with_engine_cache(true)
        .with_engine_cache_path(&path)
        .with_timing_cache(true)
        .with_timing_cache_path(path))
}

fn bytes(mib: u64) -> usize {
    usize::try_from(mib << 20).unwrap_or(usize::MAX)
}

fn builder(library: &Library, settings: &EmbedSettings) -> ort::Result<SessionBuilder> {
    let threads = settings.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let builder = Session::builder(&library.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // Waiting threads must not take processor time from the decoders.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    Ok(builder)
}
