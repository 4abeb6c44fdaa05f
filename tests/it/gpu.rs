//! Asked for a GPU: it is used, or the error says what is missing. Without a GPU this goes as far as the driver, where
//! the libraries of `make build GPU=cuda` are installed, and as far as ONNX Runtime where they are not.

use std::path::{Path, PathBuf};
use std::process::Command;

use clipseek::embed::EmbedError;
use clipseek::embed::bundle::Bundle;
use clipseek::embed::model::VideoModel;
use clipseek::embed::runtime::{DeviceChoice, EmbedSettings, runtime_info};

use crate::embed::settings;
use crate::support::{EXE, Ran, World};

/// The folder with ONNX Runtime for GPUs, where it is installed.
fn gpu_libraries() -> Option<PathBuf> {
    let dir = Path::new(EXE).parent().unwrap().join("lib");
    if !dir.join("libonnxruntime_providers_cuda.so").exists() {
        println!("skipped: the libraries of `make build GPU=cuda` are not there");
        return None;
    }
    Some(dir)
}

/// `model verify` of the shipped bundle with these variables of the environment.
fn verify(device: &str, variables: &[(&str, &Path)]) -> Ran {
    let world = World::new();
    let mut command = world.command(&["model", "verify", "shapes"]);
    command.env("CLIPSEEK__MODEL__DEVICE", device).env_remove("LD_LIBRARY_PATH").env_remove("ORT_DYLIB_PATH");
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A shared library of this C source in `dir`; needs a compiler.
fn build(dir: &Path, name: &str, source: &str) -> bool {
    let file = dir.join(format!("{name}.c"));
    std::fs::write(&file, source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", &format!("-Wl,-soname,{name}"), "-o"]).arg(dir.join(name)).arg(&file);
    let built = compiler.status().is_ok_and(|status| status.success());
    if !built {
        println!("skipped: no C compiler");
    }
    built
}

/// A driver that finds no GPU.
fn driver_without_gpu(dir: &Path) -> bool {
    let source = "int cuInit(unsigned flags) { return 100; }\n\
                  int cuDriverGetVersion(int *version) { *version = 13000; return 0; }\n\
                  int cuTensorMapEncodeTiled(void) { return 100; }\n";
    build(dir, "libcuda.so.1", source)
}

/// TensorRT that can do nothing, so that its provider can be loaded where the real one is not installed.
fn tensorrt_without_use(dir: &Path) -> bool {
    let runtime = "static long zero(void) { return 0; }\n\
                   static void *methods[256], **registry = methods;\n\
                   __attribute__((constructor)) static void fill(void) {\n\
                     for (int i = 0; i < 256; i++) methods[i] = (void *)zero;\n\
                   }\n\
                   void *getPluginRegistry(void) { return &registry; }\n\
                   int getInferLibVersion(void) { return 101601; }\n\
                   void *createInferBuilder_INTERNAL(void) { return 0; }\n\
                   void *createInferRefitter_INTERNAL(void) { return 0; }\n\
                   void *createInferRuntime_INTERNAL(void) { return 0; }\n";
    let parser = "void *createNvOnnxParser_INTERNAL(void) { return 0; }\n\
                  void *createNvOnnxParserRefitter_INTERNAL(void) { return 0; }\n";
    build(dir, "libnvinfer.so.10", runtime) && build(dir, "libnvonnxparser.so.10", parser)
}

#[test]
fn a_gpu_is_used_or_refused_but_never_replaced() {
    let bundle = Bundle::load(&crate::embed::fixtures().join("tiny-mean")).unwrap();
    for (choice, name) in [(DeviceChoice::Cuda, "cuda"), (DeviceChoice::Tensorrt, "tensorrt")] {
        match VideoModel::open(&bundle, &EmbedSettings { device: choice, ..settings() }) {
            Ok(model) => assert_eq!(model.device(), format!("{name}:0")),
            Err(EmbedError::Device { asked, problem }) => {
                assert_eq!(asked, name);
                let remedies = ["make build GPU=", "NVIDIA driver", "nvidia-smi"];
                assert!(remedies.iter().any(|remedy| problem.contains(remedy)), "{problem}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    let auto = VideoModel::open(&bundle, &EmbedSettings { device: DeviceChoice::Auto, ..settings() }).unwrap();
    assert!(["cpu", "cuda:0"].contains(&auto.device()));
    let info = runtime_info().unwrap().gpu;
    assert_eq!(auto.device() == "cuda:0", info.cuda.is_ok(), "{info:?}");
}

/// The libraries are found without `LD_LIBRARY_PATH`: only the driver, which no package of ours brings, is missing.
#[test]
fn all_but_the_driver_is_installed() {
    if gpu_libraries().is_none() || runtime_info().unwrap().gpu.driver.is_some() {
        return;
    }
    let ran = verify("cuda", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("device cuda: ") && ran.out.contains("the NVIDIA driver is not there"), "{ran:?}");
}

#[test]
fn a_driver_without_a_gpu_says_so() {
    let dir = tempfile::tempdir().unwrap();
    if gpu_libraries().is_none() || !driver_without_gpu(dir.path()) {
        return;
    }
    let ran = verify("cuda", &[("LD_LIBRARY_PATH", dir.path())]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("no CUDA-capable device is detected: no GPU is visible"), "{ran:?}");
    let auto = verify("auto", &[("LD_LIBRARY_PATH", dir.path())]);
    assert_eq!(auto.code, 0, "{auto:?}");
    assert!(auto.out.contains("runs on cpu"), "{auto:?}");
    assert_eq!(auto.err.matches("device auto: running on the processor: CUDA failure").count(), 1, "{auto:?}");
}

/// With a driver that only claims to have GPUs, the providers read every option and fail where a GPU has to answer.
#[test]
fn the_providers_take_all_options() {
    let dir = tempfile::tempdir().unwrap();
    let claim = "int cudaGetDeviceCount(int *count) { *count = 2; return 0; }\n";
    if gpu_libraries().is_none()
        || !driver_without_gpu(dir.path())
        || !tensorrt_without_use(dir.path())
        || !build(dir.path(), "claim.so", claim)
    {
        return;
    }
    let (claim, memory) = (dir.path().join("claim.so"), Path::new("2048"));
    let world = [("LD_LIBRARY_PATH", dir.path()), ("LD_PRELOAD", claim.as_path())];
    for device in ["cuda", "tensorrt"] {
        let mut variables = world.to_vec();
        variables.extend([
            ("CLIPSEEK__MODEL__GPU_MEMORY_MIB", memory),
            ("CLIPSEEK__MODEL__DEVICE_INDEX", Path::new("1")),
            ("CLIPSEEK__MODEL__CUDA_GRAPHS", Path::new("true")),
        ]);
        if device == "tensorrt" {
            variables.push(("CLIPSEEK__MODEL__TENSORRT_WORKSPACE_MIB", memory));
        }
        let ran = verify(device, &variables);
        assert_eq!(ran.out.matches(&format!("device {device}: CUDA failure")).count(), 2, "{ran:?}");
    }
    let ninth = [&world[..], &[("CLIPSEEK__MODEL__DEVICE_INDEX", Path::new("9"))]].concat();
    assert!(verify("cuda", &ninth).out.contains("see `model.device_index`"));
}

#[test]
fn a_missing_library_is_named() {
    let Some(libraries) = gpu_libraries() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut runtime = PathBuf::new();
    for entry in std::fs::read_dir(&libraries).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("libonnxruntime") {
            let link = dir.path().join(&name);
            std::os::unix::fs::symlink(entry.path(), &link).unwrap();
            if name.starts_with("libonnxruntime.so") {
                runtime = link;
            }
        }
    }
    let ran = verify("cuda", &[("ORT_DYLIB_PATH", &runtime)]);
    let named = ran.out.contains("CUDA's libcublasLt.so.13 is not there: `make build GPU=cuda`");
    // Where CUDA is installed in the system, or a GPU is there, that is used.
    assert!(named || !ran.out.contains("CUDA's"), "{ran:?}");

    std::fs::remove_file(dir.path().join("libonnxruntime_providers_cuda.so")).unwrap();
    let ran = verify("cuda", &[("ORT_DYLIB_PATH", &runtime)]);
    assert!(ran.out.contains("libonnxruntime_providers_cuda.so belongs beside ONNX Runtime"), "{ran:?}");
}

#[test]
fn doctor_tells_of_gpus() {
    let report = World::new().json(&["doctor", "--json"]);
    for what in ["GPU", "CUDA", "TensorRT"] {
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["what"] == what);
        assert!(check.is_some_and(|check| !check["found"].as_str().unwrap().is_empty()), "{report}");
    }
}

#[test]
fn the_encoders_rate_is_measured_without_footage() {
    let world = World::new();
    let rate = world.json(&["bench", "--encoder", "--model", "shapes", "--seconds", "0.3", "--json"]);
    assert!(rate["frames_per_s"].as_f64().unwrap() > 1.0, "{rate}");
    assert_eq!(rate["frames"].as_u64().unwrap() % rate["batch_frames"].as_u64().unwrap(), 0, "{rate}");
    assert_eq!(world.run(&["bench", "--encoder", "x.mp4"]).code, 2);
    assert_eq!(world.run(&["bench", "--encoder", "--seconds", "0"]).code, 2);
}
