//! The folders where TensorRT caches its engines.
//!
//! An engine is valid only for the graph, batch, precision, GPU and library versions it was built with. The file names
//! that ONNX Runtime chooses depend on the names in a graph and the compute capability, but not on the weights or
//! TensorRT's version. So every combination has a folder: `ENGINES/BUNDLE/ROLE-KEY`, with the parts of the key in
//! `key.txt`. Folders may be deleted at any time; the engines are then rebuilt.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use crate::embed::digest::sha256_of_text;

/// Everything that an engine depends on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EngineKey<'a> {
    /// Hash of the bundle, which covers the graphs and their weights.
    pub(super) bundle: &'a str,
    pub(super) role: &'a str,
    pub(super) batch: usize,
    pub(super) float16: bool,
    /// ONNX Runtime's build information: version, commit, build.
    pub(super) onnx_runtime: &'a str,
    /// Names and sizes of TensorRT's and CUDA's libraries, see [`identity`].
    pub(super) libraries: Vec<String>,
    /// Models of the machine's GPUs.
    pub(super) gpus: Vec<String>,
    /// Number of the GPU used.
    pub(super) index: u32,
}

impl EngineKey<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "bundle {}\ngraph {} batch {}", self.bundle, self.role, self.batch);
        let _ = writeln!(text, "precision {}", if self.float16 { "float16" } else { "float32" });
        let _ = writeln!(text, "ONNX Runtime {}", self.onnx_runtime);
        for library in &self.libraries {
            let _ = writeln!(text, "library {library}");
        }
        let gpus = if self.gpus.is_empty() { "unknown".to_owned() } else { self.gpus.join(", ") };
        let _ = writeln!(text, "gpu {} of {gpus}", self.index);
        text
    }

    fn folder(&self) -> PathBuf {
        let key = sha256_of_text(&self.text());
        Path::new(&self.bundle[..self.bundle.len().min(12)]).join(format!("{}-{}", self.role, &key[..12]))
    }

    /// Creates the folder below `engines` and returns its path.
    pub(super) fn open(&self, engines: &Path) -> io::Result<PathBuf> {
        let dir = engines.join(self.folder());
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("key.txt"), self.text())?;
        Ok(dir)
    }
}

/// Whether an engine was built into this folder.
pub(super) fn has_engine(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|extension| extension == "engine"))
}

/// Identifies a library by its file name after following links, and by its size: distributions put the version into the
/// name, Python wheels do not.
pub(super) fn identity(library: &Path) -> String {
    let path = std::fs::canonicalize(library).unwrap_or_else(|_| library.to_owned());
    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    format!("{} {bytes}", path.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EngineKey<'static> {
        EngineKey {
            bundle: "98a2b58ea1701bfb52512c45",
            role: "frame",
            batch: 8,
            float16: true,
            onnx_runtime: "1.31.1",
            libraries: vec!["libnvinfer.so.10 600".to_owned()],
            gpus: vec!["NVIDIA L4".to_owned()],
            index: 0,
        }
    }

    #[test]
    fn whatever_an_engine_depends_on_changes_its_folder() {
        let folder = key().folder();
        assert!(folder.starts_with("98a2b58ea170"), "{folder:?}");
        assert_eq!(folder, key().folder());
        let others = [
            EngineKey { bundle: "98a2b58ea1701bfb52512c46", ..key() },
            EngineKey { role: "video", ..key() },
            EngineKey { batch: 16, ..key() },
            EngineKey { float16: false, ..key() },
            EngineKey { onnx_runtime: "1.32.0", ..key() },
            EngineKey { libraries: vec!["libnvinfer.so.10 601".to_owned()], ..key() },
            EngineKey { gpus: vec!["NVIDIA L40".to_owned()], ..key() },
            EngineKey { index: 1, ..key() },
        ];
        for other in others {
            assert_ne!(other.folder(), folder, "{other:?}");
        }
    }

    #[test]
    fn the_folder_says_what_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let folder = key().open(dir.path()).unwrap();
        let text = std::fs::read_to_string(folder.join("key.txt")).unwrap();
        assert!(text.contains("precision float16\n") && text.contains("gpu 0 of NVIDIA L4\n"), "{text}");
        assert_eq!(key().open(dir.path()).unwrap(), folder);
        assert!(!has_engine(&folder));
        std::fs::write(folder.join("TensorrtExecutionProvider_0_sm89.engine"), "").unwrap();
        assert!(has_engine(&folder));
    }

    #[test]
    fn a_library_is_known_by_what_its_links_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("libnvinfer.so.10.16.1"), "12345").unwrap();
        std::os::unix::fs::symlink("libnvinfer.so.10.16.1", dir.path().join("libnvinfer.so.10")).unwrap();
        assert_eq!(identity(&dir.path().join("libnvinfer.so.10")), "libnvinfer.so.10.16.1 5");
    }
}
