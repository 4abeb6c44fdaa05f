//! Runs sessions: the settings, the choice of a device, and the ONNX Runtime library.
//!
//! `library` finds and loads the shared library, `session` opens a graph on the chosen device, `gpu` knows what a GPU
//! needs and what of it is missing, `placement` tells which operators run on which provider, `engines` where TensorRT
//! caches its engines, `info` collects all that for display. A GPU that was asked for and is missing is an error that
//! names what is missing; `auto` logs its choice.
//!
//! CUDA, with and without recorded graphs, was run on an H100. Never run: TensorRT and its engines, and memory limits.

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

/// The device that the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// CUDA if it is available, else the processor. Never TensorRT, which builds an engine for minutes before it
    /// starts.
    #[default]
    Auto,
    Cpu,
    /// The GPU with CUDA, or an error.
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

/// The device that a session runs on, with the number of the GPU.
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

/// Which model to use and how to open its sessions. Users can set the fields without `skip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedSettings {
    /// Name of a bundle, or its folder. Unset: the bundle that the data folder was indexed with, else the shipped one.
    /// Used only to choose a bundle; opening a bundle ignores it.
    pub name: Option<String>,
    pub device: DeviceChoice,
    /// Number of the GPU, in CUDA's order.
    pub device_index: u32,
    /// Most GPU memory of each session's arena, in MiB; unset: no limit.
    pub gpu_memory_mib: Option<u64>,
    /// Most scratch memory of a TensorRT engine, in MiB; unset: no limit.
    pub tensorrt_workspace_mib: Option<u64>,
    /// Launch the image encoder's kernels as one recorded CUDA graph; batches are padded to one size.
    pub cuda_graphs: bool,
    /// CPU threads of one session; unset: one per core.
    pub threads: Option<usize>,
    /// Most frames (or windows, or texts) in one run of a graph, across all media being indexed.
    pub batch_frames: usize,
    /// Folder where TensorRT caches its engines; unset: it builds them at every start.
    #[serde(skip)]
    pub engines: Option<PathBuf>,
    /// Use the same buffers on the processor as on a GPU, in ordinary memory. For tests.
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
            cuda_graphs: false,
            threads: None,
            batch_frames: 8,
            engines: None,
            rehearse: false,
        }
    }
}
