//! Describes ONNX Runtime and the GPUs of this machine, for display.

use std::path::PathBuf;

use ort::ep::{CUDA, ExecutionProvider, TensorRT};
use ort::session::Session;

use super::Device;
use super::gpu::{driver, explain, libraries_beside, prepare};
use super::library::{Library, library};
use crate::embed::EmbedError;

/// The ONNX Runtime that was loaded.
#[derive(Clone, Debug)]
pub struct RuntimeInfo {
    pub path: PathBuf,
    /// ONNX Runtime's build information: version, commit, build.
    pub build: String,
    pub gpu: GpuInfo,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GpuInfo {
    /// Whether sessions can be opened on CUDA; the error says why not.
    pub cuda: Result<(), String>,
    pub tensorrt: Result<(), String>,
    /// CUDA's and TensorRT's libraries beside ONNX Runtime.
    pub libraries: Vec<PathBuf>,
    pub driver: Option<String>,
    /// Models of the GPUs that the driver knows.
    pub gpus: Vec<String>,
}

/// Loads ONNX Runtime and the GPU libraries that are present.
pub fn runtime_info() -> Result<RuntimeInfo, EmbedError> {
    let library = library()?;
    let (driver, gpus) = driver();
    let gpu = GpuInfo {
        cuda: probe(&library, Device::Cuda(0)),
        tensorrt: probe(&library, Device::Tensorrt(0)),
        libraries: libraries_beside(&library.path),
        driver,
        gpus,
    };
    Ok(RuntimeInfo { path: library.path, build: ort::info().to_owned(), gpu })
}

/// Checks that sessions can be opened on this device. Loads the provider and its libraries, and looks for a GPU.
fn probe(library: &Library, device: Device) -> Result<(), String> {
    prepare(&library.path, device)?;
    let failed = |e: ort::Error| explain(&e.to_string());
    let mut builder = Session::builder(&library.environment).map_err(failed)?;
    match device {
        Device::Tensorrt(_) => TensorRT::default().register(&mut builder).map_err(failed),
        Device::Cuda(_) => CUDA::default().register(&mut builder).map_err(failed),
        Device::Cpu => Ok(()),
    }
}
