//! What a GPU session needs from the machine: the driver and the libraries of CUDA and TensorRT. Loads those that lie
//! beside ONNX Runtime, and explains failures with a remedy.
//!
//! ONNX Runtime loads its providers from its own folder, but they find CUDA through the system's loader, which does not
//! look there. The loader finds a library by name if it is already loaded, so loading them first by path makes
//! `LD_LIBRARY_PATH` unnecessary.

use std::path::{Path, PathBuf};

use ort::ep::{CUDA, ExecutionProvider, TensorRT};
use ort::util::preload_dylib;
use tracing::debug;

use super::Device;

/// File names without the version, which depends on the CUDA that ONNX Runtime was built for. Each library is listed
/// after those that it needs.
const CUDA_LIBRARIES: &[&str] = &[
    "libcudart.so",
    "libcublasLt.so",
    "libcublas.so",
    "libcurand.so",
    "libnvJitLink.so",
    "libnvrtc.so",
    "libcufft.so",
    "libcudnn.so",
];
const TENSORRT_LIBRARIES: &[&str] = &["libnvinfer.so", "libnvinfer_plugin.so", "libnvonnxparser.so"];

/// The folder where NVIDIA's driver publishes its version and GPUs.
const DRIVER_FILES: &str = "/proc/driver/nvidia";

pub(super) fn load_driver() -> Result<(), String> {
    preload_dylib("libcuda.so.1").map_err(|e| explain(&e.to_string()))
}

/// Checks what can be checked without a session, and loads the libraries beside ONNX Runtime.
pub(super) fn prepare(library: &Path, device: Device) -> Result<(), String> {
    let (name, there, make) = match device {
        Device::Cpu => return Ok(()),
        Device::Cuda(_) => ("CUDA", CUDA::is_available(), "cuda"),
        Device::Tensorrt(_) => ("TensorRT", TensorRT::is_available(), "tensorrt"),
    };
    if !there.map_err(|e| e.to_string())? {
        return Err(format!(
            "{} is built without {name}: `make build GPU={make}` puts one with it beside the executable",
            library.display()
        ));
    }
    let mut paths = beside(library, CUDA_LIBRARIES);
    if matches!(device, Device::Tensorrt(_)) {
        paths.extend(beside(library, TENSORRT_LIBRARIES));
    }
    for path in paths {
        debug!(path = %path.display(), "loading");
        preload_dylib(&path).map_err(|e| explain(&e.to_string()))?;
    }
    Ok(())
}

/// CUDA's and TensorRT's libraries in the folder of `library`.
pub(super) fn libraries_beside(library: &Path) -> Vec<PathBuf> {
    beside(library, &[CUDA_LIBRARIES, TENSORRT_LIBRARIES].concat())
}

/// The files of these libraries in the folder of `library`, in the order of `names`.
fn beside(library: &Path, names: &[&str]) -> Vec<PathBuf> {
    let Some(dir) = library.parent().filter(|dir| !dir.as_os_str().is_empty()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    files.sort();
    let of = |name: &&str| files.iter().find(|file| file.strip_prefix(*name).is_some_and(|rest| rest.starts_with('.')));
    names.iter().filter_map(of).map(|file| dir.join(file)).collect()
}

/// The loaded libraries that an engine depends on. Call after the provider is registered.
pub(super) fn engine_libraries() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let others =
        ["libonnxruntime.so", "libonnxruntime_providers_tensorrt.so", "libcudart.so", "libcublasLt.so", "libcudnn.so"];
    loaded(&maps, &[TENSORRT_LIBRARIES, &others].concat())
}

/// Paths in the text of `/proc/self/maps` whose file names begin with one of `names`.
fn loaded(maps: &str, names: &[&str]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .filter(|path| path.file_name().is_some_and(|f| names.iter().any(|n| f.to_string_lossy().starts_with(n))))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Shortens an error of the loader, ONNX Runtime or CUDA (drops source locations) and adds a remedy.
pub(super) fn explain(problem: &str) -> String {
    let problem = problem.rfind("FAIL : ").map_or(problem, |at| &problem[at + "FAIL : ".len()..]);
    let problem = problem.rfind("CUDA failure").map_or(problem, |at| &problem[at..]);
    let problem = problem.split(" ; GPU=").next().unwrap_or(problem).trim();
    match remedy(problem) {
        Some(remedy) => format!("{problem}: {remedy}"),
        None => problem.to_owned(),
    }
}

fn remedy(problem: &str) -> Option<String> {
    if let Some(library) = missing_library(problem) {
        return Some(match library {
            "libcuda.so.1" => "the NVIDIA driver is not there: install it (580 or newer for CUDA 13); in a container, \
                               start it with the NVIDIA container toolkit (`--gpus all`)"
                .to_owned(),
            library if TENSORRT_LIBRARIES.iter().any(|name| library.starts_with(name)) => format!(
                "TensorRT's {library} is not there: `make build GPU=tensorrt`, or put NVIDIA's TensorRT of this major \
                 version where the system's loader looks"
            ),
            library if library.starts_with("libonnxruntime_providers") => {
                format!("{library} belongs beside ONNX Runtime: `make build GPU=cuda` puts it there")
            }
            library => format!("CUDA's {library} is not there: `make build GPU=cuda` puts it beside the executable"),
        });
    }
    let remedies = [
        (
            "no CUDA-capable device",
            "no GPU is visible: `nvidia-smi` must list it, CUDA_VISIBLE_DEVICES must not hide it",
        ),
        ("driver version is insufficient", "update the NVIDIA driver (580 or newer for CUDA 13)"),
        ("invalid device ordinal", "there is no GPU with this number: see `model.device_index`"),
        ("Invalid device ID", "there is no GPU with this number: see `model.device_index`"),
        ("out of memory", "a smaller `model.batch_frames` needs less"),
        (
            "Failed to allocate memory",
            "a smaller `model.batch_frames` needs less, `model.gpu_memory_mib` may be too low",
        ),
        ("graph capture", "`model.cuda_graphs` cannot be used with this graph"),
        ("CUDA Graph", "`model.cuda_graphs` cannot be used with this graph"),
    ];
    remedies.iter().find(|(sign, _)| problem.contains(sign)).map(|(_, remedy)| (*remedy).to_owned())
}

/// The library that glibc's loader reports as missing.
fn missing_library(problem: &str) -> Option<&str> {
    let before = &problem[..problem.find(": cannot open shared object file")?];
    let start = before.rfind(|c: char| c.is_whitespace() || "/\"'`".contains(c)).map_or(0, |at| at + 1);
    Some(&before[start..]).filter(|name| name.starts_with("lib"))
}

/// Version of the driver, and models of its GPUs.
pub(super) fn driver() -> (Option<String>, Vec<String>) {
    driver_in(Path::new(DRIVER_FILES))
}

/// Reads them from the driver's files below `dir`.
fn driver_in(dir: &Path) -> (Option<String>, Vec<String>) {
    let version = std::fs::read_to_string(dir.join("version")).ok();
    let version = version.as_deref().and_then(|text| {
        let is_version = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
        text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
    });
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(dir.join("gpus")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    folders.sort();
    let model = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("information")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Model:")).map(|model| model.trim().to_owned())
    };
    (version, folders.into_iter().filter_map(model).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_its_remedy() {
        let error = "Failed to load library /x/lib/libonnxruntime_providers_cuda.so with error: \
                     libcublasLt.so.13: cannot open shared object file: No such file or directory";
        assert_eq!(missing_library(error), Some("libcublasLt.so.13"));
        assert!(
            explain(error).ends_with(
                "CUDA's libcublasLt.so.13 is not there: `make build GPU=cuda` puts it beside the executable"
            )
        );
        let of =
            |library: &str| explain(&format!("{library}: cannot open shared object file: No such file or directory"));
        assert!(of("libcuda.so.1").contains("the NVIDIA driver is not there"));
        assert!(of("libnvinfer.so.10").contains("GPU=tensorrt"));
        assert!(of("libnvonnxparser.so.10").contains("GPU=tensorrt"));
        assert!(of("/x/lib/libonnxruntime_providers_cuda.so").contains("belongs beside ONNX Runtime"));
        assert!(explain("CUDA failure 100: no CUDA-capable device is detected").contains("nvidia-smi"));
        assert_eq!(explain("something else"), "something else");
        let noisy = "ONNX Runtime: /src/x.cc:63 [ONNXRuntimeError] : 1 : FAIL : Failed to parse provider option \
                     \"device_id\": CUDA failure 101: invalid device ordinal ; GPU=-1 ; hostname=h ; file=/src/x.cc";
        let explained = explain(noisy);
        assert!(explained.starts_with("CUDA failure 101: invalid device ordinal: there is no GPU"), "{explained}");
    }

    #[test]
    fn libraries_beside_are_found_in_the_order_of_need_whatever_their_version() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcublas_other.so.1", "libnvinfer.so.10"]
        {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names = |paths: Vec<PathBuf>| -> Vec<String> {
            paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        let library = dir.path().join("libonnxruntime.so.1");
        assert_eq!(
            names(beside(&library, CUDA_LIBRARIES)),
            ["libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"]
        );
        assert_eq!(names(beside(&library, TENSORRT_LIBRARIES)), ["libnvinfer.so.10"]);
        assert!(beside(Path::new("libonnxruntime.so"), CUDA_LIBRARIES).is_empty());
    }

    #[test]
    fn loaded_libraries_are_read_from_the_map_of_the_process() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/libnvinfer.so.10.16.1\n\
                    7f01-7f02 r--p 00001000 08:01 1 /usr/lib/libnvinfer.so.10.16.1\n\
                    7f02-7f03 r-xp 00000000 08:01 2 /usr/lib/libc.so.6\n7f03-7f04 rw-p 00000000 00:00 0\n";
        assert_eq!(loaded(maps, TENSORRT_LIBRARIES), [PathBuf::from("/usr/lib/libnvinfer.so.10.16.1")]);
    }

    #[test]
    fn driver_and_gpus_are_read_where_the_driver_shows_them() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(driver_in(dir.path()), (None, vec![]));
        let version =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\nGCC version: x\n";
        std::fs::write(dir.path().join("version"), version).unwrap();
        let gpu = dir.path().join("gpus/0000:01:00.0");
        std::fs::create_dir_all(&gpu).unwrap();
        std::fs::write(gpu.join("information"), "Model: \t\t NVIDIA L4\nIRQ:   \t\t 50\n").unwrap();
        assert_eq!(driver_in(dir.path()), (Some("580.95.05".to_owned()), vec!["NVIDIA L4".to_owned()]));
    }
}
