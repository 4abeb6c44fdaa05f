//! Loads the ONNX Runtime library when the first session is opened, from the first of: `ORT_DYLIB_PATH`; `lib/` beside
//! the executable and the other folders of [`library_places`]; the system's library path.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;
use tracing::info;

use crate::embed::EmbedError;

const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";
const REMEDY: &str =
    "`make build` puts it into lib/ beside the executable; or set ORT_DYLIB_PATH to a libonnxruntime.so";

#[derive(Clone)]
pub(super) struct Library {
    pub(super) environment: Environment,
    pub(super) path: PathBuf,
}

/// The library, loaded at most once per process, as ONNX Runtime demands. Failures are not cached: the next call tries
/// again.
pub(super) fn library() -> Result<Library, EmbedError> {
    static LOADED: Mutex<Option<Library>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if loaded.is_none() {
        *loaded = Some(load()?);
    }
    Ok(loaded.as_ref().expect("just loaded").clone())
}

fn load() -> Result<Library, EmbedError> {
    let places = library_places();
    let named = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = match named.or_else(|| places.iter().find_map(|dir| library_in(dir))) {
        Some(path) => path,
        // With a name alone, the system's loader searches its own path.
        None => PathBuf::from("libonnxruntime.so"),
    };
    let environment = load_from(&path, &places)?;
    // Formatting messages that nobody sees would cost time.
    environment.set_log_level(LogLevel::Warning);
    info!(path = %path.display(), "ONNX Runtime loaded");
    Ok(Library { environment, path })
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

/// Folders that may hold the library, in order of preference.
fn library_places() -> Vec<PathBuf> {
    let Ok(exe) = std::env::current_exe() else { return Vec::new() };
    let Some(dir) = exe.parent() else { return Vec::new() };
    vec![dir.join("lib"), dir.join("../lib/clipseek"), dir.join("../lib")]
}

/// The `libonnxruntime.so*` in a folder with the highest version.
fn library_in(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("libonnxruntime.so"))
        .map(|e| e.path())
        .collect();
    found.sort_by_key(|path| version(path));
    found.pop()
}

/// The numbers of a name such as `libonnxruntime.so.1.30.0`; none for `libonnxruntime.so`.
fn version(library: &Path) -> Vec<u32> {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

pub(super) fn failed(error: ort::Error) -> EmbedError {
    EmbedError::Runtime(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_library_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(library_in(dir.path()), None);
        for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime_providers_cuda.so"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(library_in(dir.path()), Some(dir.path().join("libonnxruntime.so.1.31.1")));
    }

    #[test]
    fn missing_library_says_what_to_do() {
        let error = load_from(Path::new("libnot-there.so"), &[PathBuf::from("/a"), PathBuf::from("/b")]).unwrap_err();
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

    /// Builds a library that only reports an old version; needs a C compiler.
    #[test]
    fn old_library_is_named_with_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (dir.path().join("old.c"), dir.path().join("libonnxruntime.so"));
        let code = "static const char *version(void) { return \"1.17.3\"; }\n\
                    static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base = {0, version};\n\
                    const void *OrtGetApiBase(void) { return &base; }\n";
        std::fs::write(&source, code).unwrap();
        let built = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(&source).status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler");
            return;
        }
        let text = load_from(&path, &[]).unwrap_err().to_string();
        assert!(text.contains("is version 1.17.3, this program needs 1.24 or newer"), "{text}");
    }
}
