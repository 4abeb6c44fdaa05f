//! Where sessions run: the settings, the choice of a device, and the ONNX Runtime library behind it.
//!
//! The library is loaded when the first session is opened, from the first of: `ORT_DYLIB_PATH`; `lib/` beside the
//! executable and the other places of [`library_places`]; the system's library path. Asked for CUDA and not there is
//! an error; `auto` says in the log what it chose.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(feature = "onnx")]
pub(super) use self::library::open_session;
#[cfg(feature = "onnx")]
pub use self::library::{RuntimeInfo, runtime_info};

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// The first GPU where ONNX Runtime can use it, else the processor.
    #[default]
    Auto,
    Cpu,
    /// The first GPU, or an error.
    Cuda,
}

/// What a session runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedSettings {
    pub device: DeviceChoice,
    /// Processor threads of one session; 0: one per core.
    pub threads: usize,
    /// Most frames (or windows, or texts) that go through a graph at once.
    pub batch: usize,
}

impl Default for EmbedSettings {
    fn default() -> Self {
        Self { device: DeviceChoice::Auto, threads: 0, batch: 8 }
    }
}

#[cfg(feature = "onnx")]
mod library {
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    use ort::LoadDynamicError;
    use ort::environment::Environment;
    use ort::ep::cuda::ConvAlgorithmSearch;
    use ort::ep::{CUDA, ExecutionProvider};
    use ort::logging::LogLevel;
    use ort::session::Session;
    use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
    use tracing::info;

    use super::{Device, DeviceChoice, EmbedSettings};
    use crate::embed::EmbedError;

    const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";
    const REMEDY: &str =
        "`make build` puts it into lib/ beside the executable; or set ORT_DYLIB_PATH to a libonnxruntime.so";

    struct Loaded {
        environment: Environment,
        path: PathBuf,
    }

    /// What `doctor` shows.
    #[derive(Clone, Debug)]
    pub struct RuntimeInfo {
        pub path: PathBuf,
        pub build: String,
        /// The library knows CUDA; whether a GPU answers shows when a session is opened.
        pub cuda: bool,
    }

    pub fn runtime_info() -> Result<RuntimeInfo, EmbedError> {
        let (_, path) = environment()?;
        let cuda = CUDA::is_available().map_err(failed)?;
        Ok(RuntimeInfo { path, build: ort::info().to_owned(), cuda })
    }

    /// A session for this graph, and where it runs.
    pub(in crate::embed) fn open_session(
        graph: &Path,
        settings: &EmbedSettings,
    ) -> Result<(Session, Device), EmbedError> {
        let (environment, library) = environment()?;
        if settings.device == DeviceChoice::Cpu {
            return Ok((build(&environment, graph, settings, Device::Cpu)?, Device::Cpu));
        }
        let cuda = if CUDA::is_available().map_err(failed)? {
            build(&environment, graph, settings, Device::Cuda(0)).map_err(|e| e.to_string())
        } else {
            Err(format!(
                "{} is built without CUDA: take the library and providers of the onnxruntime-gpu wheel",
                library.display()
            ))
        };
        match cuda {
            Ok(session) => Ok((session, Device::Cuda(0))),
            Err(problem) if settings.device == DeviceChoice::Cuda => {
                Err(EmbedError::Device { asked: "cuda".to_owned(), problem })
            }
            Err(problem) => {
                info!(%problem, "device auto: running on the processor");
                Ok((build(&environment, graph, settings, Device::Cpu)?, Device::Cpu))
            }
        }
    }

    fn build(env: &Environment, graph: &Path, settings: &EmbedSettings, device: Device) -> Result<Session, EmbedError> {
        let mut builder = builder(env, settings).map_err(failed)?;
        if let Device::Cuda(index) = device {
            // Batches vary in size; an exhaustive search would run anew for each.
            let provider = CUDA::default()
                .with_device_id(index.cast_signed())
                .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
            provider.register(&mut builder).map_err(failed)?;
        }
        builder.commit_from_file(graph).map_err(|e| EmbedError::Runtime(format!("{}: {e}", graph.display())))
    }

    fn builder(environment: &Environment, settings: &EmbedSettings) -> ort::Result<SessionBuilder> {
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let builder = Session::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            // Waiting threads must leave the processor to the decoders.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?;
        Ok(builder)
    }

    /// One per process: ONNX Runtime allows no second one. A failure is not kept, so that the next try may succeed.
    fn environment() -> Result<(Environment, PathBuf), EmbedError> {
        static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.is_none() {
            *loaded = Some(load()?);
        }
        let Loaded { environment, path } = loaded.as_ref().expect("just loaded");
        Ok((environment.clone(), path.clone()))
    }

    fn load() -> Result<Loaded, EmbedError> {
        let places = library_places();
        let named = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = match named.or_else(|| places.iter().find_map(|dir| library_in(dir))) {
            Some(path) => path,
            // A bare name: the system's loader searches.
            None => PathBuf::from("libonnxruntime.so"),
        };
        let environment = load_from(&path, &places)?;
        // Its own chatter below warnings costs formatting for nothing.
        environment.set_log_level(LogLevel::Warning);
        info!(path = %path.display(), "ONNX Runtime loaded");
        Ok(Loaded { environment, path })
    }

    fn load_from(path: &Path, places: &[PathBuf]) -> Result<Environment, EmbedError> {
        let problem = match ort::init_from(path) {
            Ok(builder) => return builder.with_name("clipseek").with_telemetry(false).build().map_err(failed),
            Err(LoadDynamicError::BadVersion { version_str, .. }) => format!(
                "{} is version {version_str}, this program needs 1.{} or newer: {REMEDY}",
                path.display(),
                ort::MINOR_VERSION
            ),
            Err(error) if path.components().count() == 1 => {
                let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
                format!("no library found in {} or the system's path ({error}): {REMEDY}", places.join(", "))
            }
            Err(error) => format!("{error}: {REMEDY}"),
        };
        Err(EmbedError::Runtime(problem))
    }

    /// Folders that may hold the library, in the order of preference.
    fn library_places() -> Vec<PathBuf> {
        let Ok(exe) = std::env::current_exe() else { return Vec::new() };
        let Some(dir) = exe.parent() else { return Vec::new() };
        vec![dir.join("lib"), dir.join("../lib/clipseek"), dir.join("../lib")]
    }

    /// The newest `libonnxruntime.so*` of a folder.
    fn library_in(dir: &Path) -> Option<PathBuf> {
        let entries = std::fs::read_dir(dir).ok()?;
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("libonnxruntime.so"))
            .map(|e| e.path())
            .collect();
        found.sort();
        found.pop()
    }

    fn failed(error: ort::Error) -> EmbedError {
        EmbedError::Runtime(error.to_string())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn newest_library_of_a_folder() {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(library_in(dir.path()), None);
            for name in ["libonnxruntime.so.1.30.0", "libonnxruntime.so.1.31.1", "libonnxruntime_providers_cuda.so"] {
                std::fs::write(dir.path().join(name), "").unwrap();
            }
            assert_eq!(library_in(dir.path()), Some(dir.path().join("libonnxruntime.so.1.31.1")));
        }

        #[test]
        fn missing_library_says_what_to_do() {
            let error =
                load_from(Path::new("libnot-there.so"), &[PathBuf::from("/a"), PathBuf::from("/b")]).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("ONNX Runtime: no library found in /a, /b or the system's path"), "{text}");
            assert!(text.contains("make build"), "{text}");
        }

        #[test]
        fn file_that_is_no_library_is_an_error() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("libonnxruntime.so");
            std::fs::write(&path, "not a library").unwrap();
            let text = load_from(&path, &[]).unwrap_err().to_string();
            assert!(text.contains(&path.display().to_string()) && text.contains("ORT_DYLIB_PATH"), "{text}");
        }

        /// A stand-in that only says an old version; needs a C compiler.
        #[test]
        fn old_library_is_named_with_its_version() {
            let dir = tempfile::tempdir().unwrap();
            let (source, path) = (dir.path().join("old.c"), dir.path().join("libonnxruntime.so"));
            let code = "static const char *version(void) { return \"1.17.3\"; }\n\
                        static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base = {0, version};\n\
                        const void *OrtGetApiBase(void) { return &base; }\n";
            std::fs::write(&source, code).unwrap();
            let built =
                std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(&source).status();
            if !built.is_ok_and(|status| status.success()) {
                eprintln!("skipped: no C compiler");
                return;
            }
            let text = load_from(&path, &[]).unwrap_err().to_string();
            assert!(text.contains("is version 1.17.3, this program needs 1.24 or newer"), "{text}");
        }
    }
}
