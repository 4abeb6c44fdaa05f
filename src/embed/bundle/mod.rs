//! A bundle on disk: reads and checks its manifest and files, and finds bundles in the folders that hold them. Does not
//! know how graphs are run.

pub mod manifest;
mod tables;

use std::io;
use std::path::{Path, PathBuf};

use manifest::Manifest;

use super::BundleError;
use super::digest::sha256_of;
use super::scope::Scope;
use crate::decode::PixelSpec;
use crate::source::{file_uri, path_of_uri};

pub const MANIFEST_FILE: &str = "bundle.toml";

/// A bundle's manifest, without checking its files: enough to know its collection and how media are sampled.
#[derive(Clone, Debug)]
pub struct Outline {
    dir: PathBuf,
    manifest: Manifest,
    hash: String,
}

impl Outline {
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        let manifest = read_manifest(dir)?;
        Ok(Self { dir: dir.to_owned(), hash: manifest.hash(), manifest })
    }

    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn dim(&self) -> usize {
        self.manifest.dim
    }

    /// Identifies what the bundle computes, see [`Manifest::hash`].
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Name of the collection that holds only this bundle's vectors.
    pub fn collection(&self) -> String {
        format!("clipseek_{}_{}", self.manifest.name, &self.hash[..12])
    }

    pub fn pixel_spec(&self) -> PixelSpec {
        self.manifest.pixel_spec()
    }

    /// An error about this bundle.
    pub(super) fn error(&self, problem: impl Into<String>) -> BundleError {
        BundleError { bundle: self.manifest.name.clone(), problem: problem.into() }
    }
}

/// A bundle whose manifest is consistent and whose files are present and unchanged.
#[derive(Clone, Debug)]
pub struct Bundle {
    outline: Outline,
    bytes: u64,
    scope: Option<Scope>,
}

impl std::ops::Deref for Bundle {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}

impl Bundle {
    /// Reads and checks the folder, hashing every file. The error names all problems.
    pub fn load(dir: &Path) -> Result<Self, BundleError> {
        Self::check(Outline::read(dir)?)
    }

    /// Checks the files of a bundle whose manifest has been read, see [`load`](Self::load).
    pub fn check(outline: Outline) -> Result<Self, BundleError> {
        let (dir, manifest) = (outline.dir(), outline.manifest());
        let mut bytes = 0;
        let mut problems = Vec::new();
        for (role, file, sha256) in manifest.files() {
            match check_file(&dir.join(file), sha256) {
                Ok(length) => bytes += length,
                Err(problem) => problems.push(format!("{role} {file}: {problem}")),
            }
        }
        if !problems.is_empty() {
            return Err(outline.error(format!("{} (in {})", problems.join("; "), dir.display())));
        }
        let scope = match &manifest.scope {
            None => None,
            Some(entry) => Some(
                std::fs::read_to_string(dir.join(&entry.stats))
                    .map_err(|e| e.to_string())
                    .and_then(|json| Scope::parse(&json, manifest.feature_dim()))
                    .map_err(|e| outline.error(format!("scope {}: {e}", entry.stats)))?,
            ),
        };
        Ok(Self { outline, bytes, scope })
    }

    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Bytes of all files beside the manifest.
    pub fn total_bytes(&self) -> u64 {
        self.bytes
    }
}

/// One line of `model verify`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub what: String,
    pub outcome: Result<String, String>,
}

/// Checks manifest and files in a folder, with one result each.
pub fn verify_files(dir: &Path) -> Vec<Check> {
    let what = MANIFEST_FILE.to_owned();
    let manifest = match read_manifest(dir) {
        Ok(manifest) => manifest,
        Err(error) => return vec![Check { what, outcome: Err(error.problem) }],
    };
    let mut checks = vec![Check { what, outcome: Ok(format!("hash {}", manifest.hash())) }];
    for (role, file, sha256) in manifest.files() {
        let outcome = check_file(&dir.join(file), sha256).map(|bytes| format!("{bytes} bytes, sha256 as recorded"));
        checks.push(Check { what: format!("{role} {file}"), outcome });
    }
    checks
}

pub(super) fn read_manifest(dir: &Path) -> Result<Manifest, BundleError> {
    let path = dir.join(MANIFEST_FILE);
    let fail = |problem: String| BundleError { bundle: dir.display().to_string(), problem };
    let text = std::fs::read_to_string(&path).map_err(|e| fail(format!("cannot read {MANIFEST_FILE}: {e}")))?;
    Manifest::parse(&text).map_err(|e| fail(format!("{MANIFEST_FILE}: {e}")))
}

/// Length of the file if its SHA-256 is the expected one.
fn check_file(path: &Path, expected: &str) -> Result<u64, String> {
    let (found, bytes) = sha256_of(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "missing".to_owned(),
        _ => format!("cannot read: {e}"),
    })?;
    if found != expected {
        return Err(format!("sha256 is {found}, the manifest says {expected}: damaged or changed"));
    }
    Ok(bytes)
}

/// Folders that contain bundle folders. If two bundles have the same name, the first one counts.
#[derive(Clone, Debug)]
pub struct Bundles {
    dirs: Vec<PathBuf>,
}

/// A folder with a manifest. Its files are not checked.
#[derive(Debug)]
pub struct Listed {
    pub dir: PathBuf,
    pub manifest: Result<Manifest, BundleError>,
}

impl Bundles {
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    /// The user's imported bundles (`DATA/models`) and the shipped ones.
    pub fn standard(data: &Path) -> Self {
        let mut dirs = vec![data.join("models")];
        dirs.extend(shipped_dirs());
        Self::new(dirs)
    }

    pub fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = Vec::new();
        for dir in &self.dirs {
            let Ok(entries) = std::fs::read_dir(dir) else { continue };
            let mut folders: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
            folders.sort();
            // Folders that begin with a dot are imports in progress.
            folders.retain(|f| f.join(MANIFEST_FILE).is_file() && !file_name(f).starts_with('.'));
            for folder in folders {
                let manifest = read_manifest(&folder);
                let name = |m: &Result<Manifest, BundleError>| m.as_ref().ok().map(|m| m.name.clone());
                if name(&manifest).is_none() || listed.iter().all(|l| name(&l.manifest) != name(&manifest)) {
                    listed.push(Listed { dir: folder, manifest });
                }
            }
        }
        listed
    }

    /// Finds a bundle by its name, or by the path or `file://` URI of its folder. Files are not checked.
    pub fn outline(&self, name: &str) -> Result<Outline, BundleError> {
        Outline::read(&self.dir_of(name)?)
    }

    /// Finds the folder of a bundle, even if the bundle is damaged.
    pub fn dir_of(&self, name: &str) -> Result<PathBuf, BundleError> {
        let listed = self.list();
        let named = |l: &&Listed| l.manifest.as_ref().is_ok_and(|m| m.name == name);
        // A bundle with an unreadable manifest is found by the name of its folder.
        let broken = |l: &&Listed| l.manifest.is_err() && file_name(&l.dir) == name;
        if let Some(found) = listed.iter().find(named).or_else(|| listed.iter().find(broken)) {
            return Ok(found.dir.clone());
        }
        let path = path_of_uri(name).unwrap_or_else(|| PathBuf::from(name));
        if path.is_dir() {
            return Ok(path);
        }
        let mut names: Vec<&str> =
            listed.iter().filter_map(|l| Some(l.manifest.as_ref().ok()?.name.as_str())).collect();
        names.sort_unstable();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let dirs: Vec<String> = self.dirs.iter().map(|d| d.display().to_string()).collect();
        let problem = format!("no such model and no such folder; there is: {there} (looked in {})", dirs.join(", "));
        Err(BundleError { bundle: name.to_owned(), problem })
    }
}

/// The name by which [`Bundles::dir_of`] finds a folder from anywhere: its absolute path, or its URI if the path is not
/// UTF-8.
pub fn name_of_dir(dir: &Path) -> std::io::Result<String> {
    let dir = std::path::absolute(dir)?;
    Ok(dir.to_str().map_or_else(|| file_uri(&dir), str::to_owned))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Folders of the shipped bundles: beside the executable, where a package installs them, or in the source tree that the
/// executable was built in.
fn shipped_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Ok(exe) = std::env::current_exe() {
        if let Some(dir) = exe.parent() {
            dirs.push(dir.join("bundles"));
            dirs.push(dir.join("../share/clipseek/bundles"));
        }
        dirs.extend(exe.ancestors().skip(1).take(4).map(|dir| dir.join("models/bundles")));
    }
    dirs.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles"));
    dirs.retain(|dir| dir.is_dir());
    dirs.dedup();
    dirs
}
