//! Where sessions run: the settings, the choice of a device, and the ONNX Runtime library behind it.
//!
//! [`library`] finds and loads the shared library, [`session`] opens a graph on the device chosen, [`gpu`] says what a
//! GPU needs and what of it is missing, [`placement`] which operators landed where, [`engines`] where TensorRT keeps what
//! it builds. Asked for a GPU and not there is an error that names what is missing; `auto` says in the log what it chose.
//!
//! What was never run on a GPU, for want of one: everything behind a registered provider, which is the arena limits,
//! pinned buffers, CUDA graphs, engines and the timing of all of them. What was: loading the library and all of CUDA's
//! on machines without a GPU, every error up to the driver's, and the buffers in ordinary memory.

#[cfg(feature = "onnx")]
mod engines;
#[cfg(feature = "onnx")]
mod gpu;
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
pub use self::gpu::GpuInfo;
#[cfg(feature = "onnx")]
pub use self::library::{RuntimeInfo, runtime_info};
#[cfg(feature = "onnx")]
pub(super) use self::session::{Fixed, fixes_rows, open_fixed_session, open_session};

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedSettings {
    pub device: DeviceChoice,
    /// Processor threads of one session; 0: one per core.
    pub threads: usize,
    /// Most frames (or windows, or texts) that go through a graph at once.
    pub batch: usize,
    /// Without meaning on the processor.
    pub gpu: GpuSettings,
}

impl Default for EmbedSettings {
    fn default() -> Self {
        Self { device: DeviceChoice::Auto, threads: 0, batch: 8, gpu: GpuSettings::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuSettings {
    /// In CUDA's order.
    pub index: u32,
    /// Most memory of each session's arena; none: what the GPU has.
    pub memory_mib: Option<u64>,
    /// Most scratch memory of a TensorRT engine; none: what the GPU has.
    pub workspace_mib: Option<u64>,
    /// Inputs and outputs go through pinned buffers that stay.
    pub io_binding: bool,
    /// The image encoder's kernels are launched as one recorded graph; batches are filled up to one size.
    pub cuda_graphs: bool,
    /// Where TensorRT keeps its engines; none: it builds them anew at every start.
    pub engines: Option<PathBuf>,
    /// Goes a GPU's way on the processor: the same buffers, in ordinary memory. For tests.
    pub rehearse: bool,
}

impl Default for GpuSettings {
    fn default() -> Self {
        Self {
            index: 0,
            memory_mib: None,
            workspace_mib: None,
            io_binding: true,
            cuda_graphs: false,
            engines: None,
            rehearse: false,
        }
    }
}
