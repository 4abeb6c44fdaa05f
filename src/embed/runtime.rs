//! Where sessions run: the settings, the choice of a device, and the ONNX Runtime library behind it.
//!
//! `library` finds and loads the shared library, `session` opens a graph on the device chosen, `gpu` says what a GPU needs
//! and what of it is missing, `placement` which operators landed where, `engines` where TensorRT keeps what it builds,
//! `info` what people are shown of all that. A GPU that was asked for and is not there is an error that names what is
//! missing; `auto` says in the log what it chose.
//!
//! What was never run on a GPU, for want of one: everything behind a registered provider, which is the arena limits,
//! pinned buffers, CUDA graphs, engines and the timing of all of them. What was: loading the library and all of CUDA's
//! on machines without a GPU, every error up to the driver's, and the buffers in ordinary memory.

#[cfg(feature = "onnx")]
mod engines;
#[cfg(feature = "onnx")]
mod gpu;
#[cfg(feature = "onnx")]
mod info;
#[cfg(feature = "onnx")]
mod library;
#[cfg(feature = "onnx")]
mod onnx_file;
#[cfg(feature = "onnx")]
mod placement;
#[cfg(feature = "onnx")]
mod session;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(feature = "onnx")]
pub use self::info::{GpuInfo, RuntimeInfo, runtime_info};
#[cfg(feature = "onnx")]
pub(super) use self::session::{Fixed, fixes_rows, open_fixed_session, open_session};

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// CUDA where it is there, else the processor. Never TensorRT, which builds for minutes before it starts.
    #[default]
    Auto,
    Cpu,
    /// The GPU, or an error.
    Cuda,
    /// The GPU with the image encoder as a TensorRT engine and the other graphs on CUDA, or an error.
    Tensorrt,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
        })
    }
}

/// What a session runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Cuda(u32),
    Tensorrt(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Tensorrt(index) => write!(f, "tensorrt:{index}"),
        }
    }
}

/// Which model, and how its sessions are opened. The fields without `skip` are what a person can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedSettings {
    /// Name of a bundle, or its folder. Unset: the bundle the data folder was indexed with, else the shipped one. Only
    /// for who chooses a bundle: a bundle that is opened is what it is.
    pub name: Option<String>,
    pub device: DeviceChoice,
    /// Which GPU, in CUDA's order.
    pub device_index: u32,
    /// Most GPU memory of each session's arena, in mebibytes; unset: what the GPU has.
    pub gpu_memory_mib: Option<u64>,
    /// Most GPU memory that a TensorRT engine may use for scratch, in mebibytes; unset: what the GPU has.
    pub tensorrt_workspace_mib: Option<u64>,
    /// Inputs and outputs go through pinned memory that is kept.
    pub io_binding: bool,
    /// The image encoder's kernels are launched as one recorded graph; batches are filled up to one size.
    pub cuda_graphs: bool,
    /// Processor threads of one session; unset: one per core.
    pub threads: Option<usize>,
    /// Most frames (or windows, or texts) that go through a graph at once, over all media being indexed.
    pub batch_frames: usize,
    /// Where TensorRT keeps its engines; unset: it builds them anew at every start.
    #[serde(skip)]
    pub engines: Option<PathBuf>,
    /// Goes a GPU's way on the processor: the same buffers, in ordinary memory. For tests.
    #[serde(skip)]
    pub rehearse: bool,
}

impl Default for EmbedSettings {
    fn default() -> Self {
        Self {
            name: None,
            device: DeviceChoice::Auto,
            device_index: 0,
            gpu_memory_mib: None,
            tensorrt_workspace_mib: None,
            io_binding: true,
            cuda_graphs: false,
            threads: None,
            batch_frames: 8,
            engines: None,
            rehearse: false,
        }
    }
}
